"""Causes, read from what this machine's own loader, Python and libraries say."""

from __future__ import annotations

import ctypes
import errno
import pickle
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mlflow_dbimage.check_report import CheckError, CheckReport, Raised
from mlflow_dbimage.failure_causes import PACKAGES, cause_in_text, cause_of

REPORT = CheckReport(
    python="3.11.7",
    directory="/opt/dbimage/model",
    watched=True,
    load_seconds=None,
    predict_seconds=None,
    peak_memory=1,
    loaded_size=1,
    imports=(),
    modules={},
    distributions={},
    network=("db.example",),
    writes=("state/log.txt",),
    example=None,
    predictions=None,
    repeated=None,
    error=None,
)


def cause(*chain: Raised, stage: str = "load") -> str:
    return cause_of(CheckError(stage=stage, chain=chain, traceback=()), REPORT)


def raised(act: Callable[[], object]) -> Raised:
    """Return what an act raises, as a self-check tells it."""
    with pytest.raises(BaseException) as caught:
        act()
    return Raised(type=caught.type.__name__, message=str(caught.value))


needs_compiler = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")


def library(folder: Path, name: str, source: str, *options: str) -> Path:
    (folder / "source.c").write_text(source)
    path = folder / name
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", path, folder / "source.c", *options], check=True)
    return path


@needs_compiler
@pytest.mark.parametrize(
    ("name", "more"),
    [("libgomp.so.1", ": Debian's package `libgomp1` has it"), ("libnobody.so.7", "")],
)
def test_a_missing_library_and_the_package_that_has_it(name: str, more: str, tmp_path: Path) -> None:
    # Linked with one of that name, which is then taken away; libgomp may well be on this machine, under its own
    # name, so it is wanted by its path here.
    needed = library(tmp_path, name, "int answer(void) { return 42; }", f"-Wl,-soname,{tmp_path}/{name}")
    user = library(tmp_path, "user.so", "int answer(void); int ask(void) { return answer(); }", str(needed))
    needed.unlink()
    found = raised(lambda: ctypes.CDLL(str(user)))
    assert cause(found) == f"the shared library `{name}` is missing{more}"
    assert cause_in_text(f"importing `x`: OSError: {found.message}") == cause(found)


@needs_compiler
def test_a_library_of_another_version(tmp_path: Path) -> None:
    user = library(tmp_path, "user.so", "int answer(void); int ask(void) { return answer(); }")
    found = raised(lambda: ctypes.CDLL(str(user), mode=0x2))  # RTLD_NOW
    assert cause(found) == "version mismatch: `user.so` finds no `answer` in its libraries"


@needs_compiler
def test_a_library_that_needs_a_newer_c_library(tmp_path: Path) -> None:
    def libc9(version: str) -> Path:
        (tmp_path / "versions.map").write_text(f"{version} {{ global: answer; }};\n")
        options = f"-Wl,--version-script={tmp_path}/versions.map,-soname,libc9.so"
        return library(tmp_path, "libc9.so", "int answer(void) { return 42; }", options)

    source, path = "int answer(void); int ask(void) { return answer(); }", f"-Wl,-rpath,{tmp_path}"
    user = library(tmp_path, "user.so", source, str(libc9("GLIBC_9.99")), path)
    libc9("GLIBC_9.98")
    found = raised(lambda: ctypes.CDLL(str(user)))
    assert cause(found) == (
        "version mismatch: `user.so` needs `GLIBC_9.99`, which the image's library is too old to have"
    )


def test_modules_and_names_that_are_not_there() -> None:
    def module() -> None:
        import a_module_that_is_nowhere  # noqa: F401

    def name() -> None:
        from json import ThatClassOfTomorrow  # noqa: F401

    def attribute() -> None:
        pickle.loads(b"cjson\nThatClassOfTomorrow\n.")

    def protocol() -> None:
        pickle.loads(b"\x80\x09.")

    assert cause(raised(module)) == "the module `a_module_that_is_nowhere` is missing"
    assert cause(raised(name)) == "version mismatch: `json` has no `ThatClassOfTomorrow`"
    assert cause(raised(attribute)).startswith("version mismatch: Can't get attribute 'ThatClassOfTomorrow' on")
    assert cause(raised(protocol)) == "version mismatch: unsupported pickle protocol: 9"


MODEL = "/opt/dbimage/model"
WRITES = "the model writes to its own directory"


@pytest.mark.parametrize(
    ("number", "path", "text"),
    [
        (errno.EROFS, f"{MODEL}/x", f"{WRITES}: `x`"),
        (errno.EACCES, f"{MODEL}/state/log.txt", f"{WRITES}: `state/log.txt`"),
        (errno.EACCES, "state/log.txt", f"{WRITES}: `state/log.txt`"),
        (errno.EACCES, f"{MODEL}/data.bin", "the model's file `data.bin` cannot be read by the user that scores"),
        (errno.ENOENT, f"{MODEL}/data.bin", "the model's file `data.bin` is missing"),
        (errno.EROFS, "/var/x", "the model writes to a place that cannot be written in an image: `/var/x`"),
        (errno.ENOENT, "/etc/site.conf", "the model does not load: OSError: no"),
        (errno.EACCES, f"{MODEL}-of-another/x", "the model does not load: OSError: no"),
    ],
)
def test_files(number: int, path: str, text: str) -> None:
    assert cause(Raised(type="OSError", message="no", errno=number, path=path)) == text


def test_what_came_first_is_nearer_to_the_cause() -> None:
    found = cause(
        Raised(type="MlflowException", message="Failed to load"),
        Raised(
            type="ImportError", message="libGL.so.1: cannot open shared object file: No such file or directory"
        ),
    )
    assert found == "the shared library `libGL.so.1` is missing: Debian's package `libgl1` has it"


@pytest.mark.parametrize(
    ("stage", "text"),
    [
        ("import", "MLflow cannot be imported: E: a b"),
        ("load", "the model does not load: E: a b"),
        ("input", "the example does not fit the model's signature: E: a b"),
        ("predict", "the model fails while predicting: E: a b"),
    ],
)
def test_what_has_no_known_cause_is_told_in_one_line(stage: str, text: str) -> None:
    assert cause(Raised(type="E", message="a\n  b"), stage=stage) == text


def test_an_exception_without_text_is_its_type() -> None:
    assert cause(Raised(type="MemoryError", message="")) == "the model needs more memory than it had"
    assert cause(Raised(type="AssertionError", message="")) == "the model does not load: AssertionError"


def test_the_table_of_packages_is_sorted_out() -> None:
    assert all(".so." in name for name in PACKAGES)
    assert all(name == name.strip() and name.islower() for name in PACKAGES.values())
