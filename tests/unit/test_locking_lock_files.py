from __future__ import annotations

import json

import pytest
from packaging.pylock import Pylock
from rattler.explicit_environment import ExplicitEnvironmentSpec

from mlflow_dbimage.locking import lock_files
from mlflow_dbimage.locking.locked_packages import CondaPackage, Decision, LockedWheel, WheelSource

try:
    import tomllib
except ModuleNotFoundError:
    import tomli as tomllib

ZLIB = CondaPackage(
    name="zlib",
    version="1.3",
    build="h0_1",
    build_number=1,
    subdir="linux-64",
    file_name="zlib-1.3-h0_1.conda",
    sha256="a" * 64,
    size=10,
    channel="conda-forge",
    canonical_url="https://conda.anaconda.org/conda-forge/linux-64/zlib-1.3-h0_1.conda",
    url="file:///mirror/linux-64/zlib-1.3-h0_1.conda",
    metadata={"depends": ["x"]},
)
SIX = LockedWheel(
    name="six",
    version="1.16.0",
    file_name="six-1.16.0-py3-none-any.whl",
    sha256="b" * 64,
    size=3,
    url="https://index.example/six-1.16.0-py3-none-any.whl",
    built_from=WheelSource(kind="sdist", location="https://index.example/six-1.16.0.tar.gz", sha256="c" * 64),
    omitted=("bin/six",),
)


def test_the_explicit_list_is_one_that_rattler_reads_and_names_no_mirror() -> None:
    text = lock_files.conda_explicit([ZLIB], "linux-64")
    read = ExplicitEnvironmentSpec.from_str(text)
    assert [package.url for package in read.packages] == [f"{ZLIB.canonical_url}#sha256:{'a' * 64}"]
    assert str(read.platform) == "linux-64"
    assert "mirror" not in text


def test_pylock_is_valid_and_has_no_url() -> None:
    text = lock_files.pylock([SIX], "3.11")
    Pylock.from_dict(tomllib.loads(text)).validate()
    assert "://" not in text
    assert "b" * 64 in text


def test_records_come_back_as_they_were() -> None:
    def through_json(data: object) -> object:
        return json.loads(json.dumps(data))

    decision = Decision(distribution="six", owner="conda", reason="because")
    assert lock_files.read_conda(through_json(lock_files.conda_record(ZLIB))) == ZLIB
    assert lock_files.read_wheel(through_json(lock_files.wheel_record(SIX))) == SIX
    assert lock_files.read_decision(through_json(lock_files.decision_record(decision))) == decision


@pytest.mark.parametrize("read", [lock_files.read_conda, lock_files.read_wheel, lock_files.read_decision])
def test_a_record_of_another_form_is_refused(read) -> None:
    with pytest.raises(ValueError, match="not the record of a"):
        read({"name": "x", "colour": "red"})
