"""Twenty models whose answer is known: which runtime an image of each gets, and how each of its pins agrees."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

import pytest

from mlflow_dbimage.environment_spec import Requirement
from mlflow_dbimage.model_reference import parse
from mlflow_dbimage.model_spec import ModelSpec, read
from mlflow_dbimage.runtime_match import match
from mlflow_dbimage.runtimes import Catalogue
from plain_model import MODERN, write_model

CATALOGUE = Catalogue.load()
TODAY = date(2026, 11, 24)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model, and what is known of it."""

    name: str
    python: str
    pip: tuple[str, ...] = ()
    conda: tuple[str, ...] = ()
    logged_on: str | None = None
    wanted: str | None = None
    runtime: str
    spark_version: str
    pins: dict[str, str] = field(default_factory=dict)


CASES = (
    Case(
        name="the pins of 15.4",
        python="3.11.11",
        pip=("numpy==1.23.5", "pandas==1.5.3", "scikit-learn==1.3.0"),
        runtime="15.4-lts",
        spark_version="15.4.x-scala2.12",
        pins={"numpy": "same", "pandas": "same", "scikit-learn": "same"},
    ),
    Case(
        name="the pins of 16.4, though 17.3 is supported longer",
        python="3.12.3",
        pip=("numpy==1.26.4", "pandas==1.5.3", "scikit-learn==1.4.2"),
        runtime="16.4-lts",
        spark_version="16.4.x-scala2.12",
        pins={"numpy": "same", "pandas": "same", "scikit-learn": "same"},
    ),
    Case(
        name="the pins of 17.3",
        python="3.12.1",
        pip=("numpy==2.1.3", "pandas==2.2.3", "scikit-learn==1.6.1", "cloudpickle==3.0.0"),
        runtime="17.3-lts",
        spark_version="17.3.x-scala2.13",
        pins={"numpy": "same", "pandas": "same", "scikit-learn": "same", "cloudpickle": "same"},
    ),
    Case(
        name="most pins of 16.4, one of 17.3",
        python="3.12.3",
        pip=("numpy==1.26.4", "pandas==1.5.3", "scipy==1.15.1"),
        runtime="16.4-lts",
        spark_version="16.4.x-scala2.12",
        pins={"numpy": "same", "pandas": "same", "scipy": "changed"},
    ),
    Case(
        name="patches apart count as agreeing",
        python="3.12.3",
        pip=("numpy==1.26.2", "pandas==1.5.1", "scipy==1.15.1"),
        runtime="16.4-lts",
        spark_version="16.4.x-scala2.12",
        pins={"numpy": "compatible", "pandas": "compatible", "scipy": "changed"},
    ),
    Case(
        name="as many agree with each, more are the same with 16.4",
        python="3.12.3",
        pip=("numpy==1.26.4", "scipy==1.15.0"),
        runtime="16.4-lts",
        spark_version="16.4.x-scala2.12",
        pins={"numpy": "same", "scipy": "changed"},
    ),
    Case(
        name="no pins: the one supported longest",
        python="3.12.3",
        runtime="17.3-lts",
        spark_version="17.3.x-scala2.13",
    ),
    Case(
        name="pins that both have: the one supported longest",
        python="3.12",
        pip=("psutil==5.9.0", "setuptools==74.0.0"),
        runtime="17.3-lts",
        spark_version="17.3.x-scala2.13",
        pins={"psutil": "same", "setuptools": "same"},
    ),
    Case(
        name="ranges",
        python="3.12.3",
        pip=("numpy>=1.26,<2", "pydantic>=2,<2.9", "requests"),
        runtime="16.4-lts",
        spark_version="16.4.x-scala2.12",
        pins={"numpy": "compatible", "pydantic": "compatible", "requests": "compatible"},
    ),
    Case(
        name="what no runtime has",
        python="3.11.7",
        pip=("lightgbm==4.3.0", "acme-features==7"),
        runtime="15.4-lts",
        spark_version="15.4.x-scala2.12",
        pins={"lightgbm": "missing", "acme-features": "missing"},
    ),
    Case(
        name="logged on a runtime for machine learning, whose clusters take no images",
        python="3.11.11",
        pip=("lightgbm==4.3.0", "torch==2.3.1", "mlflow-skinny==2.19.0"),
        logged_on="15.4.x-cpu-ml-scala2.12",
        runtime="15.4-lts-ml",
        spark_version="15.4.x-scala2.12",
        pins={"lightgbm": "same", "torch": "same", "mlflow-skinny": "same"},
    ),
    Case(
        name="logged on a runtime, whatever agrees better",
        python="3.12.3",
        pip=("numpy==1.26.4",),
        logged_on="17.3",
        runtime="17.3-lts",
        spark_version="17.3.x-scala2.13",
        pins={"numpy": "changed"},
    ),
    Case(
        name="logged on one whose Python the model does not want",
        python="3.12.3",
        pip=("numpy==1.26.4",),
        logged_on="15.4",
        runtime="16.4-lts",
        spark_version="16.4.x-scala2.12",
        pins={"numpy": "same"},
    ),
    Case(
        name="asked for, whatever agrees better",
        python="3.12.3",
        pip=("numpy==1.26.4", "pandas==1.5.3"),
        wanted="17.3.x-scala2.13",
        runtime="17.3-lts",
        spark_version="17.3.x-scala2.13",
        pins={"numpy": "changed", "pandas": "changed"},
    ),
    Case(
        name="asked for with GPUs: a build for another CUDA is of the same release line",
        python="3.11.11",
        pip=("torch==2.3.1+cpu", "transformers==4.41.2"),
        wanted="15.4-lts-ml-gpu",
        runtime="15.4-lts-ml-gpu",
        spark_version="15.4.x-scala2.12",
        pins={"torch": "compatible", "transformers": "same"},
    ),
    Case(
        name="the conda part of a model of conda",
        python="3.11.7",
        conda=("numpy=1.23.5=py311h43_0", "scikit-learn>=1.2,<1.4", "pytorch=2.3", "libgomp"),
        wanted="15.4-lts-ml",
        runtime="15.4-lts-ml",
        spark_version="15.4.x-scala2.12",
        pins={"numpy": "same", "scikit-learn": "compatible", "torch": "compatible", "libgomp": "missing"},
    ),
    Case(
        name="pyspark is the cluster's",
        python="3.11.7",
        pip=("pyspark==3.5.0", "pandas==1.5.3"),
        runtime="15.4-lts",
        spark_version="15.4.x-scala2.12",
        pins={"pyspark": "same", "pandas": "same"},
    ),
    Case(
        name="markers count for the runtime's Python",
        python="3.10.12",
        pip=("numpy==1.23.5; python_version < '3.11'", "numpy==1.26.4; python_version >= '3.11'"),
        runtime="14.3-lts",
        spark_version="14.3.x-scala2.12",
        pins={"numpy": "same"},
    ),
    Case(
        name="a runtime without support is chosen only if it is asked for",
        python="3.10.12",
        pip=("numpy==1.21.5", "pandas==1.4.4"),
        runtime="14.3-lts",
        spark_version="14.3.x-scala2.12",
        pins={"numpy": "changed", "pandas": "changed"},
    ),
    Case(
        name="and then it is",
        python="3.10.12",
        pip=("numpy==1.21.5", "pandas==1.4.4"),
        wanted="13.3",
        runtime="13.3-lts",
        spark_version="13.3.x-scala2.12",
        pins={"numpy": "same", "pandas": "same"},
    ),
)


def test_there_are_twenty() -> None:
    assert len(CASES) == len({case.name for case in CASES}) == 20


@pytest.fixture
def model(tmp_path, request: pytest.FixtureRequest) -> ModelSpec:
    case: Case = request.param
    conda = "".join(f"- {line}\n" for line in (f"python={case.python}", "pip<=26", *case.conda))
    pip = "- pip:\n" + "".join(f'  - "{line}"\n' for line in case.pip) if case.pip else ""
    mlmodel = MODERN + (f"databricks_runtime: '{case.logged_on}'\n" if case.logged_on else "")
    write_model(tmp_path / "m", mlmodel, conda_DOT_yaml=f"dependencies:\n{conda}{pip}")
    return read(parse("models:/churn/3"), tmp_path / "m")


@pytest.mark.parametrize(
    ("case", "model"), [(case, case) for case in CASES], ids=[case.name for case in CASES], indirect=["model"]
)
def test_the_answer_is_known(case: Case, model: ModelSpec) -> None:
    fit = match(model, case.wanted, None, CATALOGUE, {}, today=TODAY).fit
    assert fit is not None
    assert (fit.runtime.key, fit.spark_version) == (case.runtime, case.spark_version)
    assert {each.pin.name: each.agreement for each in fit.comparison.pins} == case.pins
    assert fit.reasons


def test_the_published_list_of_7_6_ml_is_the_same_as_its_runtime() -> None:
    from mlflow_dbimage import safe_yaml
    from mlflow_dbimage.runtime_fit import Subject, examine

    data = safe_yaml.load(CATALOGUE.conda_list("7.6-ml") or b"")
    assert isinstance(data, dict)
    *conda, last = data["dependencies"]
    subject = Subject(
        noun="environment",
        python="3.7.10",
        conda=tuple(Requirement(text=line, origin="") for line in conda),
        pip=tuple(Requirement(text=line, origin="") for line in last["pip"]),
    )
    fit = examine(CATALOGUE.get("7.6-ml"), subject, CATALOGUE, TODAY)
    assert fit.comparison.counts == {"same": 178, "compatible": 0, "changed": 0, "missing": 0}
