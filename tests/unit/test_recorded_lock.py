"""Lock files read back: what `lock_files` wrote, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import tomli_w
from test_locking_field_checks import WHEEL_ATTACKS

from mlflow_dbimage.locking import lock_files
from mlflow_dbimage.locking.locked_packages import CondaPackage, LockedWheel
from mlflow_dbimage.recorded_lock import ListedConda, read_conda, read_wheels

HASH = "a" * 64


def package(name: str, version: str, channel: str) -> CondaPackage:
    file_name = f"{name}-{version}-h0_1.conda"
    url = f"{channel}/linux-64/{file_name}"
    return CondaPackage(
        name=name,
        version=version,
        build="h0_1",
        build_number=1,
        subdir="linux-64",
        file_name=file_name,
        sha256=HASH,
        size=10,
        channel="any",
        canonical_url=url,
        url=url,
    )


@pytest.mark.parametrize(
    ("channel", "name"),
    [
        ("https://conda.anaconda.org/conda-forge", "conda-forge"),
        ("https://repo.anaconda.com/pkgs/main", "defaults"),
        ("https://channels.example/own", "https://channels.example/own"),
        ("https://conda.anaconda.org/label/dev", "https://conda.anaconda.org/label/dev"),
    ],
)
def test_the_explicit_list_comes_back_with_its_channel(channel: str, name: str) -> None:
    written = package("lib-x-y", "1!2.0", channel)
    (found,) = read_conda(lock_files.conda_explicit([written], "linux-64"))
    assert found == ListedConda(name="lib-x-y", version="1!2.0", url=written.canonical_url, sha256=HASH)
    assert found.channel == name


@pytest.mark.parametrize(
    "line",
    [
        "https://conda.anaconda.org/conda-forge/linux-64/zlib-1.3-h0_1.conda",
        f"https://conda.anaconda.org/conda-forge/linux-64/zlib-1.3-h0_1.conda#md5:{HASH}",
        f"https://conda.anaconda.org/conda-forge/linux-64/zlib.conda#sha256:{HASH}",
        f"zlib-1.3-h0_1.conda#sha256:{HASH}",
    ],
)
def test_a_line_without_its_hash_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="is no package with its sha256"):
        read_conda(f"@EXPLICIT\n{line}\n")


def test_wheels_come_back_without_a_place() -> None:
    wheel = LockedWheel(
        name="six",
        version="1.16.0",
        file_name="six-1.16.0-py3-none-any.whl",
        sha256=HASH,
        size=3,
        url="https://x/y",
    )
    unsized = LockedWheel(name="a", version="1", file_name="a-1-py3-none-any.whl", sha256=HASH, size=None)
    text = lock_files.pylock([wheel, unsized], "3.11")
    assert read_wheels(text) == (unsized, wheel.without_place())
    assert read_wheels(lock_files.pylock([], "3.11")) == ()


@pytest.mark.parametrize("text", ["packages = 1", "[[packages]]\nname = 'a'", "packages = ["])
def test_another_lock_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read_wheels(text)


@pytest.mark.parametrize(
    "line",
    [
        f"ftp://x.example/linux-64/zlib-1.3-h0_1.conda#sha256:{HASH}",
        f"https://x.example/linux-64/..-1.3-h0_1.conda#sha256:{HASH}",
        f"https://x.example/linux-64/%2e%2e%2fzlib-1.3-h0_1.conda#sha256:{HASH}",
        f"https://x.example/linux-64/zlib-1..3-h0_1.conda#sha256:{HASH}",
        f"https://x.example/a[b]/linux-64/zlib-1.3-h0_1.conda#sha256:{HASH}",
        f"https://x.example/linux-64/python-x-h0_1.conda#sha256:{HASH}",
        "\n".join([f"https://x.example/linux-64/zlib-1.3-h0_1.conda#sha256:{HASH}"] * 2),
    ],
)
def test_a_line_that_names_another_file_is_refused(line: str) -> None:
    with pytest.raises(ValueError):
        read_conda(f"@EXPLICIT\n{line}\n")


IN_LOCK_FILES = ("name", "version", "file_name", "sha256", "size")


@pytest.mark.parametrize(
    ("field", "value"),
    [(field, value) for field, value in WHEEL_ATTACKS if field in IN_LOCK_FILES and value is not None],
)
def test_a_wheel_that_names_another_file_is_refused_in_a_lock_file_too(field: str, value: object) -> None:
    fields = {
        "name": "six",
        "version": "1.16.0",
        "file_name": "six-1.16.0-py3-none-any.whl",
        "sha256": HASH,
        "size": 3,
    }

    def text(of: Mapping[str, object]) -> str:
        wheel = {"name": of["file_name"], "hashes": {"sha256": of["sha256"]}, "size": of["size"]}
        return tomli_w.dumps({"packages": [{"name": of["name"], "version": of["version"], "wheels": [wheel]}]})

    assert read_wheels(text(fields))
    with pytest.raises(ValueError):
        read_wheels(text({**fields, field: value}))
