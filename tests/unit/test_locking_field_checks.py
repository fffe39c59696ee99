"""What a lock of somebody else says: each field that is of another form is refused, and names no file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_locking_lock_files import SIX, ZLIB

from mlflow_dbimage.backends.unpacked_wheels import UnpackedWheels
from mlflow_dbimage.backends.wheels import WheelStore
from mlflow_dbimage.locked_env import LockedEnv
from mlflow_dbimage.locking import lock_files
from mlflow_dbimage.oci.descriptor import Platform

PATHS = ("../../victim", "/victim", "..", ".", "", "a\0b", "a\nb")
NO_HASHES = (*PATHS, "a" * 63, "A" * 64, "a" * 64 + "\n", None, 7, ["a" * 64])
NO_NAMES = (*PATHS, "a b", "a/b", "a\\b", ".wh.a", None, 7)
NO_URLS = (
    *PATHS,
    "--upload-pack=touch victim",
    "ext::sh -c true",
    "data:,x",
    "https://x.example/a/..",
    "https://[",
    "https://me:secret@x.example/six-1.16.0-py3-none-any.whl",
    "https://me@x.example/six-1.16.0-py3-none-any.whl",
    None,
)
SDIST = {"kind": "sdist", "location": "https://x.example/six-1.16.0.tar.gz"}
GIT = {"kind": "git", "location": "https://x.example/six.git", "commit": "a" * 40}
PYTHON_PATH = "python_site_packages_path"

WHEEL_ATTACKS = [
    *(("sha256", value) for value in NO_HASHES),
    *(("file_name", value) for value in (*NO_NAMES, "six-1.16.0.tar.gz", "six-1.16.0-1/../../../x-none-any.whl")),
    *(("name", value) for value in (*NO_NAMES, "Six", "a--b", "six\n")),
    *(("version", value) for value in (*NO_NAMES, "1.16.0\n", "one")),
    *(("size", value) for value in (-1, 1.5, "3", True)),
    *(("url", value) for value in NO_URLS if value is not None),
    *(("path", value) for value in ("../x.whl", "/x.whl", "", 7)),
    *(("omitted", value) for value in (["../x"], ["/x"], [7], ["\x1b[2J"], "bin", None)),
    *(("built_from", SDIST | {"location": value}) for value in NO_URLS),
    *(("built_from", SDIST | {"sha256": value}) for value in NO_HASHES if value is not None),
    *(("built_from", SDIST | {"subdirectory": value}) for value in ("../x", "/x", 7)),
    *(("built_from", GIT | {"location": value}) for value in (*NO_URLS, "https://x.example/a?b=/..")),
    *(("built_from", GIT | {"commit": value}) for value in ("--force", "a" * 39, None)),
    *(("built_from", {"kind": "path", "location": value}) for value in ("../x", "/x")),
    ("built_from", SDIST | {"kind": "shell"}),
    ("built_from", SDIST | {"commit": "--force"}),
    ("built_from", 7),
]
CONDA_ATTACKS = [
    *(("sha256", value) for value in NO_HASHES),
    *(("file_name", value) for value in (*NO_NAMES, "z-1.conda", "z-1-h0.zip", "../z-1-h0.conda")),
    *(("name", value) for value in (*NO_NAMES, "Zlib")),
    *(("version", value) for value in (*NO_NAMES, "1..2", "1.")),
    *(("build", value) for value in (*NO_NAMES, "h0-1")),
    *(("build_number", value) for value in (-1, "1", True, None)),
    *(("subdir", value) for value in (*NO_NAMES, "linux")),
    *(("channel", value) for value in ("", "a\nb", 7)),
    *((key, value) for key in ("url", "canonical_url") for value in (*NO_URLS, "https://x.example/[a]/zlib-1.3-h0_1.conda")),
    *((key, "https://x.example/linux-64/other-1.3-h0_1.conda") for key in ("url", "canonical_url")),
    *(("metadata", {"md5": value}) for value in ("", "a" * 31, "../../victim", 7)),
    *(("metadata", {PYTHON_PATH: value}) for value in ("../../victim", "/victim", 7)),
    *(("metadata", {"depends": value}) for value in ("x", [" "], [7])),
    *(("metadata", {"noarch": value}) for value in ("python2", [])),
    *(("metadata", {"timestamp": value}) for value in (10**18, -1, "now")),
    ("metadata", {"track_features": [7]}),
    ("metadata", {"license": 7}),
    ("metadata", []),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), WHEEL_ATTACKS)
def test_a_wheel_that_names_another_file_is_refused(field: str, value: object) -> None:
    record = json.loads(json.dumps(lock_files.wheel_record(SIX)))
    assert lock_files.read_wheel(record) == SIX
    with pytest.raises(ValueError) as caught:
        lock_files.read_wheel({**record, field: value})
    assert str(caught.value).isprintable()
    assert "secret" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(("field", "value"), CONDA_ATTACKS)
def test_a_conda_package_that_names_another_file_is_refused(field: str, value: object) -> None:
    record = json.loads(json.dumps(lock_files.conda_record(ZLIB)))
    assert lock_files.read_conda(record) == ZLIB
    with pytest.raises(ValueError) as caught:
        lock_files.read_conda({**record, field: value})
    assert str(caught.value).isprintable()


def locked(**changes: object) -> dict[str, object]:
    env = LockedEnv(platform=Platform("linux", "amd64"), python="3.11.7", conda=(ZLIB,), wheels=(SIX,))
    return {**json.loads(json.dumps(env.to_record())), **changes}


@pytest.mark.parametrize(
    "changes",
    [
        {"python": "../../3"},
        {"python": 3.11},
        {"platform": 7},
        {"notes": [7]},
        {"notes": {"x": 7}},
        {"notes": ["\x1b[2J"]},
        {"wheels": [7]},
        {"conda": [[]]},
        {"wheels": locked()["wheels"] * 2},  # type: ignore[operator]
        {"conda": locked()["conda"] * 2},  # type: ignore[operator]
        {"decisions": [{"distribution": "x", "owner": [], "reason": "x"}]},
        {"cluster": {"kept": {"x": 7}, "superseded": [], "builder": []}},
        {"cluster": {"kept": {}, "superseded": [7], "builder": []}},
        {"as_of": 7},
    ],
)
def test_a_lock_that_is_none_is_refused(changes: dict[str, object]) -> None:
    assert LockedEnv.from_record(locked()).wheels == (SIX,)
    with pytest.raises(ValueError):
        LockedEnv.from_record(locked(**changes))


def test_a_user_of_git_is_no_secret() -> None:
    source = GIT | {"location": "ssh://git@x.example/six.git"}
    lock_files.read_wheel({**lock_files.wheel_record(SIX), "built_from": source})
    with pytest.raises(ValueError, match="has credentials"):
        lock_files.read_wheel(
            {**lock_files.wheel_record(SIX), "built_from": {**source, "location": "ssh://git:x@x.example/six.git"}}
        )


@pytest.mark.parametrize(
    "file_name",
    [
        "_libgcc_mutex-0.1-main.conda",
        "lib-x-y-1!2.0-h0_1.tar.bz2",
        "r-x-1.0_2-r41h0.conda",
        "openssl-1.1.1w-h_0.conda",
    ],
)
def test_names_of_real_conda_packages_are_taken(file_name: str) -> None:
    name, version, build = file_name.removesuffix(".conda").removesuffix(".tar.bz2").rsplit("-", 2)
    url = f"https://conda.example/linux-64/{file_name}"
    package = replace(
        ZLIB, name=name, version=version, build=build, file_name=file_name, url=url, canonical_url=url
    )
    assert lock_files.read_conda(lock_files.conda_record(package)) == package


HOSTILE = st.one_of(
    st.text(alphabet="./\\-_aA0~\0\n %:?#[]", max_size=80), st.text(max_size=70), st.none(), st.integers()
)


@given(sha256=HOSTILE, file_name=HOSTILE | HOSTILE.map(lambda text: f"a-1-{text}-none-any.whl"))
def test_whatever_is_read_is_kept_below_the_store(sha256: object, file_name: object) -> None:
    record = lock_files.wheel_record(SIX)
    for changes in ({"sha256": sha256}, {"file_name": file_name}, {"sha256": sha256, "file_name": file_name}):
        try:
            wheel = lock_files.read_wheel({**record, **changes})
        except ValueError:
            continue
        path = WheelStore(Path("/store"), UnpackedWheels(Path("/unpacked"))).path(wheel)
        assert path.parent == Path("/store") / wheel.sha256
        assert len(wheel.sha256) == 64
        assert path.resolve().name == wheel.file_name
