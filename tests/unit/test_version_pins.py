"""Requirement lines of pip and conda as pins: which distribution, which version, which range."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from mlflow_dbimage.environment_spec import Requirement
from mlflow_dbimage.version_pins import Pin, read_conda, read_pip


def line(text: str) -> Requirement:
    return Requirement(text=text, origin="here")


def pip(text: str, python: str = "3.11.7") -> Pin | None:
    return read_pip(line(text), python)


@pytest.mark.parametrize(
    ("text", "name", "wanted", "exact", "package"),
    [
        ("numpy==1.23.5", "numpy", "==1.23.5", "1.23.5", "numpy==1.23.5"),
        ("NumPy == 1.23.5", "numpy", "==1.23.5", "1.23.5", "NumPy==1.23.5"),
        ("typing_extensions", "typing-extensions", "", None, "typing_extensions"),
        ("pandas>=1.5,<2", "pandas", ">=1.5,<2", None, "pandas<2,>=1.5"),
        ("numpy==1.26.*", "numpy", "==1.26.*", None, "numpy==1.26.*"),
        ("mlflow[databricks]==2.11.4", "mlflow", "==2.11.4", "2.11.4", "mlflow[databricks]==2.11.4"),
        ("hyperopt==0.2.5.db1", "hyperopt", "==0.2.5.db1", "0.2.5.db1", "hyperopt==0.2.5.db1"),
        ("sparkdl===2.1.0-db5", "sparkdl", "===2.1.0-db5", "2.1.0-db5", "sparkdl===2.1.0-db5"),
        ("torch==2.3.1+cpu", "torch", "==2.3.1+cpu", "2.3.1+cpu", "torch==2.3.1+cpu"),
        ("six==1.16.0 --hash=sha256:abc", "six", "==1.16.0", "1.16.0", "six==1.16.0"),
        ("six==1.16.0; python_version >= '3.8'", "six", "==1.16.0", "1.16.0", "six==1.16.0"),
        (
            "code/vat_rules-1.2-py3-none-any.whl",
            "vat-rules",
            "==1.2 from vat_rules-1.2-py3-none-any.whl",
            "1.2",
            None,
        ),
        ("vat @ https://u:secret@host/vat-1.2.tar.gz", "vat", "from vat-1.2.tar.gz", None, None),
        ("vat @ git+https://host/ours/vat.git@main", "vat", "from vat.git@main", None, None),
    ],
)
def test_pip_lines(text: str, name: str, wanted: str, exact: str | None, package: str | None) -> None:
    pin = pip(text)
    assert pin is not None
    assert (pin.name, pin.wanted, pin.exact, pin.package) == (name, wanted, exact, package)
    assert (pin.manager, pin.origin) == ("pip", "here")
    assert "secret" not in repr(pin)


@pytest.mark.parametrize(
    ("text", "python"),
    [
        ("-r more.txt", "3.11"),
        ("--extra-index-url https://index.example/simple", "3.11"),
        ("tomli; python_version < '3.11'", "3.11.7"),
        ("hyperopt==0.2.5.db1; python_version < '3.8'", "3.11"),
        ("pywin32; sys_platform == 'win32'", "3.11"),
    ],
)
def test_what_is_no_pin_on_a_runtime(text: str, python: str) -> None:
    assert pip(text, python) is None


@pytest.mark.parametrize("text", ["./source", "git+https://host/vat.git", "numpy==1.2 or so", "??"])
def test_a_line_that_names_no_distribution(text: str) -> None:
    with pytest.raises(ValueError, match="names no distribution"):
        pip(text)


@pytest.mark.parametrize(
    ("text", "name", "wanted", "exact", "accepts", "refuses"),
    [
        ("numpy", "numpy", "", None, ["1", "2.3"], []),
        ("numpy=1.23.5", "numpy", "=1.23.5", "1.23.5", ["1.23.5", "1.23.5.1"], ["1.23.4"]),
        ("numpy=1.23", "numpy", "=1.23", "1.23", ["1.23", "1.23.9"], ["1.24"]),
        ("numpy=1.23.*", "numpy", "=1.23.*", None, ["1.23.9"], ["1.24"]),
        ("numpy 1.23*", "numpy", "1.23*", None, ["1.23.9"], ["1.24"]),
        ("numpy==1.23.5", "numpy", "==1.23.5", "1.23.5", ["1.23.5"], ["1.23.5.1"]),
        ("numpy 1.23.5 py311_0", "numpy", "1.23.5 py311_0", "1.23.5", ["1.23.5"], ["1.23.5.1"]),
        ("numpy=1.23.5=py311_0", "numpy", "=1.23.5=py311_0", "1.23.5", ["1.23.5"], ["1.23.5.1"]),
        ("numpy >=1.20, <2", "numpy", ">=1.20,<2", None, ["1.20", "1.99"], ["2.0", "1.19"]),
        ("numpy>=1.20,!=1.21.*", "numpy", ">=1.20,!=1.21.*", None, ["1.20"], ["1.21.3"]),
        ("numpy 1.20|1.23.*", "numpy", "1.20|1.23.*", None, ["1.20", "1.23.5"], ["1.21"]),
        ("conda-forge::pytorch=2.3", "torch", "=2.3", "2.3", ["2.3.1"], ["2.4"]),
        ("conda-forge/linux-64::numpy[version='>=1.2,<2',build=py*]", "numpy", ">=1.2,<2", None, ["1.5"], ["2"]),
        ("typing_extensions=4.10", "typing-extensions", "=4.10", "4.10", ["4.10.0"], []),
        ("_libgcc_mutex=0.1=main", "_libgcc_mutex", "=0.1=main", "0.1", ["0.1"], []),
        ("openssl=1.1.1k=h27cfd23_0", "openssl", "=1.1.1k=h27cfd23_0", "1.1.1k", [], ["1.1.1"]),
    ],
)
def test_conda_specifications(
    text: str, name: str, wanted: str, exact: str | None, accepts: list[str], refuses: list[str]
) -> None:
    pin = read_conda(line(text))
    assert (pin.name, pin.wanted, pin.exact, pin.manager) == (name, wanted, exact, "conda")

    def accepted(version: str) -> bool:
        return any(each.contains(Version(version)) for each in pin.accepted)

    assert all(accepted(version) for version in accepts)
    assert not any(accepted(version) for version in refuses)


@given(st.text(max_size=60))
def test_any_text_is_a_pin_or_is_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert read_conda(line(text)).name
    with contextlib.suppress(ValueError):
        pin = pip(text)
        assert pin is None or pin.name
