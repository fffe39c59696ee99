"""A runtime beside what is to run on it: notes, the string for the cluster, support, and the JSON form."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from mlflow_dbimage.environment_spec import Requirement
from mlflow_dbimage.model_reference import parse
from mlflow_dbimage.model_spec import read
from mlflow_dbimage.runtime_fit import RuntimeFit, Subject, examine
from mlflow_dbimage.runtimes import Catalogue
from plain_model import write_model

CATALOGUE = Catalogue.load()
TODAY = date(2026, 11, 24)
BARE = Subject(noun="model", python=None)


def lines(*texts: str) -> tuple[Requirement, ...]:
    return tuple(Requirement(text=text, origin="conda.yaml: dependencies[2]") for text in texts)


def fit(key: str, subject: Subject = BARE) -> RuntimeFit:
    return examine(CATALOGUE.get(key), subject, CATALOGUE, TODAY)


@pytest.mark.parametrize(
    ("key", "subject", "note"),
    [
        ("15.4", replace(BARE, python="3.11.7"), "the model asks for Python 3.11.7, and `15.4-lts` has 3.11.11"),
        ("15.4", replace(BARE, mlflow="3.17.2"), "MLflow 3.17.2 logged the model, and `15.4-lts` has 2.11.4"),
        (
            "13.3",
            replace(BARE, cloudpickle="1.6.0"),
            "cloudpickle 1.6.0 made the model's pickle, and `13.3-lts` has none that is known",
        ),
        (
            "15.4",
            replace(BARE, pip=lines("pyspark[connect]>=3")),
            "clusters of `15.4-lts` bring Spark 3.5.0: a model's pyspark is never put into their own Python",
        ),
        (
            "15.4.x-gpu-ml-scala2.12",
            BARE,
            "clusters of `15.4-lts-ml-gpu` take no container images: give them the `spark_version`"
            " `15.4.x-scala2.12`",
        ),
        ("10.4", BARE, "the list of `10.4-lts` is not whole: it may have what is missing here"),
        (
            "15.4",
            replace(BARE, pip=lines("./source")),
            "`./source` (conda.yaml: dependencies[2]) names no distribution, and was not compared",
        ),
    ],
)
def test_what_people_should_know(key: str, subject: Subject, note: str) -> None:
    assert fit(key, subject).notes == (note,)


def test_where_all_is_well_there_is_nothing_to_know() -> None:
    subject = replace(BARE, python="3.11.11", mlflow="2.11.4", cloudpickle="2.2.1", pip=lines("numpy==1.23.5"))
    assert fit("15.4", subject).notes == ()
    assert fit("15.4", replace(subject, python="3.11")).notes == ()


@pytest.mark.parametrize(
    ("key", "spark_version", "image"),
    [
        ("15.4", "15.4.x-scala2.12", "databricksruntime/standard:15.4-LTS"),
        ("15.4-lts-ml", "15.4.x-scala2.12", "databricksruntime/standard:15.4-LTS"),
        ("17.3-lts-ml-gpu", "17.3.x-scala2.13", "databricksruntime/standard:17.3-LTS"),
        ("17.1-ml", "17.1.x-scala2.13", None),
        ("7.6-ml", "7.6.x-scala2.12", None),
    ],
)
def test_what_a_cluster_is_given(key: str, spark_version: str, image: str | None) -> None:
    found = fit(key)
    assert (found.spark_version, found.dcs_image) == (spark_version, image)


@pytest.mark.parametrize(
    ("python", "python_range", "takes", "refuses"),
    [
        ("3.11.7", "", "15.4", "16.4"),
        ("3.11", "", "15.4", "16.4"),
        (None, ">=3.12", "16.4", "15.4"),
        (None, ">=3.12.4", "17.1", "16.4"),  # the patch of 17.1 is not known, that of 16.4 is 3.12.3
        (None, "<3.12", "15.4", "16.4"),
        (None, "", "7.6-ml", None),
    ],
)
def test_which_python_will_do(python: str | None, python_range: str, takes: str, refuses: str | None) -> None:
    subject = Subject(noun="environment", python=python, python_range=python_range)
    assert subject.takes_python_of(CATALOGUE.get(takes))
    assert refuses is None or not subject.takes_python_of(CATALOGUE.get(refuses))


def test_a_model_is_taken_with_the_lists_that_it_names(tmp_path: Path) -> None:
    conda = "dependencies:\n- python=3.11.7\n- numpy=1.23.5\n- pip:\n  - -r more.txt\n  - -c limits.txt\n  - six\n"
    write_model(
        tmp_path / "m",
        conda_DOT_yaml=conda,
        more_DOT_txt="pandas\n-r deeper/list.txt\n",
        deeper__list_DOT_txt="scipy==1.11.1\n",
        limits_DOT_txt="pandas==2.0.0\nunused==1\n",
    )
    subject = Subject.of_model(read(parse("models:/churn/3"), tmp_path / "m"))
    assert (subject.python, subject.mlflow, subject.cloudpickle) == ("3.11.7", "3.17.2", "3.1.2")
    assert [line.text for line in subject.pip] == ["pandas", "scipy==1.11.1", "six"]
    pins = [(each.pin.name, each.pin.wanted, each.agreement) for each in fit("15.4", subject).comparison.pins]
    assert pins == [
        ("numpy", "=1.23.5", "same"),
        ("pandas", "", "compatible"),
        ("pandas", "==2.0.0", "changed"),
        ("scipy", "==1.11.1", "same"),
        ("six", "", "compatible"),
    ]


def test_the_json_form_says_everything() -> None:
    subject = replace(BARE, python="3.11.7", mlflow="2.11.4", pip=lines("numpy==1.26.4"))
    data = json.loads(json.dumps(fit("15.4", subject).to_dict()))
    assert data["runtime"] == "15.4-lts"
    assert data["python"] == {"model": "3.11.7", "runtime": "3.11.11"}
    assert data["mlflow"] == {"model": "2.11.4", "runtime": "2.11.4"}
    assert (data["end_of_support"], data["days_left"]) == ("2027-08-19", 268)
    assert data["counts"] == {"same": 0, "compatible": 0, "changed": 1, "missing": 0}
    assert data["pins"] == [
        {
            "package": "numpy",
            "manager": "pip",
            "wanted": "==1.26.4",
            "runtime": "1.23.5",
            "agreement": "changed",
            "origin": "conda.yaml: dependencies[2]",
        }
    ]
