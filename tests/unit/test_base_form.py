"""Where the environment of a golden base lies, and what the image sets around it, runtime by runtime."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mlflow_dbimage.base_form import BaseForm, System, form_of
from mlflow_dbimage.errors import InputError, UsageError
from mlflow_dbimage.package_list import PackageList, of_runtime
from mlflow_dbimage.runtimes import Catalogue

CATALOGUE = Catalogue.load()
FILE = PackageList(title="ours", runtime=None, python="3.11.7", channels=(), conda=(), pip=())
UTF8 = {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
ALONE = "/opt/dbimage/env"


BARE = System(environment={}, directories=())


def of(key: str, prefix: str | None = None, directories: tuple[str, ...] = (), **variables: str) -> BaseForm:
    runtime = CATALOGUE.get(key)
    system = System(environment=variables, directories=directories)
    return form_of(of_runtime(runtime, CATALOGUE.conda_list(runtime.key)), runtime, prefix, system)


@pytest.mark.parametrize(
    ("key", "prefix", "root"),
    [
        ("7.3-lts", "/databricks/conda/envs/dcs-minimal", "dcs-minimal"),
        ("7.3-lts-ml", "/databricks/conda/envs/databricks-ml", "databricks-ml"),
        ("7.6-ml", "/databricks/conda/envs/databricks-ml", "databricks-ml"),
    ],
)
def test_old_runtimes_have_conda_s_root_environment(key: str, prefix: str, root: str) -> None:
    form = of(key, PATH="/usr/bin")
    assert (form.prefix, form.is_conda_root, form.needs_libraries_user) == (prefix, True, False)
    assert form.environment == UTF8 | {
        "DEFAULT_DATABRICKS_ROOT_CONDA_ENV": root,
        "DATABRICKS_ROOT_CONDA_ENV": root,
        "PATH": f"{prefix}/bin:/usr/bin",
    }


@pytest.mark.parametrize(
    ("key", "more"),
    [
        ("9.1-lts", {}),
        ("15.4-lts-ml", {}),
        ("16.4-lts", {"OPENSSL_FORCE_FIPS_MODE": "0"}),
        ("17.3-lts-ml-gpu", {"OPENSSL_FORCE_FIPS_MODE": "0"}),
    ],
)
def test_newer_ones_lie_alone_and_leave_the_cluster_s_python(key: str, more: dict[str, str]) -> None:
    form = of(key, PATH="/usr/bin")
    assert (form.prefix, form.is_conda_root, form.needs_libraries_user) == (ALONE, False, True)
    assert form.environment == UTF8 | more


def test_spark_is_told_of_the_cluster_s_python_where_the_system_does_not() -> None:
    folders = ("databricks/python3",)
    assert of("15.4-lts", directories=folders).environment["PYSPARK_PYTHON"] == "/databricks/python3/bin/python3"
    assert "PYSPARK_PYTHON" not in of("15.4-lts", directories=folders, PYSPARK_PYTHON="/own").environment
    assert "PYSPARK_PYTHON" not in of("15.4-lts").environment
    assert "PYSPARK_PYTHON" not in of("7.6-ml", directories=folders).environment


@pytest.mark.parametrize(
    ("key", "folder"), [("15.4-lts", "databricks/python3"), ("7.6-ml", "databricks/conda/conda-meta")]
)
def test_what_clusters_need_and_packages_cannot_bring_is_told(key: str, folder: str) -> None:
    (note,) = of(key).notes
    assert f"the system has no `/{folder}`" in note
    assert of(key, directories=(folder,)).notes == ()


def test_without_a_path_the_system_s_own_is_named() -> None:
    assert (
        of("7.6-ml").environment["PATH"].endswith(":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    )


def test_a_file_lies_alone_unless_it_is_databricks_conda() -> None:
    assert form_of(FILE, None, None, BARE).prefix == ALONE
    form = form_of(replace(FILE, prefix="/home/ada/miniconda3/envs/ours"), None, None, BARE)
    assert form.prefix == ALONE
    assert "/home/ada/miniconda3/envs/ours" in form.notes[0]
    own = "/databricks/conda/envs/ours"
    assert form_of(replace(FILE, prefix=own), None, None, BARE).prefix == own


@pytest.mark.parametrize("prefix", ["/opt/company/env", "/databricks/conda/envs/ours", ALONE, "/databricks/ours"])
def test_a_prefix_that_is_given_is_taken(prefix: str) -> None:
    assert of("15.4-lts", prefix).prefix == prefix


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "/",
        "/opt",
        "opt/env",
        "/opt/../etc",
        "/opt/a b",
        "/usr/local",
        "/databricks/python3",
        "/databricks/python3/lib",
        "/opt/dbimage",
        "/opt/dbimage/model",
        "/databricks/conda",
        "/databricks/conda/envs/a/b",
        "/opt/" + "a" * 200,
    ],
)
def test_a_prefix_where_nothing_may_lie_is_refused(prefix: str) -> None:
    with pytest.raises(UsageError) as caught:
        of("15.4-lts", prefix)
    assert caught.value.code == "bad-value"


def test_a_bad_prefix_of_a_file_is_the_file_s_fault() -> None:
    with pytest.raises(InputError) as caught:
        form_of(replace(FILE, prefix="/databricks/conda"), None, None, BARE)
    assert caught.value.code == "bad-package-list"
