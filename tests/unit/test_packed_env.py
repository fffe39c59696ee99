"""The packed environment: files go with the distribution that owns them, and forget where they were installed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from mlflow_dbimage.errors import VerificationError
from mlflow_dbimage.oci.tar import TarEntry, file_entry
from mlflow_dbimage.packed_env import IMAGE_PREFIX, PackedEnv, RecordedFiles, all_modules, pack, with_bytecode

SITE = "lib/python3.11/site-packages"


class EveryFile:
    """Finds files as they lie on disk."""

    def entries(self, prefix: Path, image_prefix: str, *, verbatim: frozenset[str]) -> Iterator[TarEntry]:
        self.verbatim = verbatim
        for path in sorted(prefix.rglob("*")):
            if path.is_file():
                yield file_entry(path.relative_to(prefix).as_posix(), path, 0o644)


class Shouting:
    """Compiles to upper case."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def compile(self, prefix: Path, image_prefix: str, sources: Iterable[str]) -> Mapping[str, Path]:
        self.sources, directory = list(sources), self.directory
        written = {}
        for source in self.sources:
            folder, _, name = source.rpartition("/")
            target = f"{folder}/__pycache__/{name.removesuffix('.py')}.cpython-311.pyc"
            (directory / target).parent.mkdir(parents=True, exist_ok=True)
            (directory / target).write_text((prefix / source).read_text().upper())
            written[target] = directory / target
        return written


def conda_package(prefix: Path, name: str, files: Mapping[str, str], **meta: object) -> None:
    for path, text in files.items():
        (prefix / path).parent.mkdir(parents=True, exist_ok=True)
        (prefix / path).write_text(text)
    record = {"name": name, "version": "1.0", "build": "h1_0", "files": list(files), **meta}
    (prefix / "conda-meta").mkdir(exist_ok=True)
    (prefix / "conda-meta" / f"{name}-1.0-h1_0.json").write_text(json.dumps(record))


def wheel(prefix: Path, name: str, files: Mapping[str, str], installer: str = "dbimage") -> None:
    info = f"{SITE}/{name}-2.0.dist-info"
    listed = {**{f"{SITE}/{path}": text for path, text in files.items()}, f"{info}/INSTALLER": installer}
    for path, text in listed.items():
        (prefix / path).parent.mkdir(parents=True, exist_ok=True)
        (prefix / path).write_text(text)
    (prefix / "bin").mkdir(exist_ok=True)
    (prefix / "bin" / name).write_text("#!")
    rows = [path.removeprefix(f"{SITE}/") for path in listed]
    rows += [f"{name}-2.0.dist-info/RECORD", f"../../../bin/{name}"]
    (prefix / info / "RECORD").write_text("".join(f"{row},,\n" for row in rows))


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    conda_package(tmp_path, "python", {"bin/python": "elf", "lib/python3.11/os.py": "import sys"})
    wheel(tmp_path, "numpy", {"numpy/__init__.py": "x = 1", "numpy/core.so": "elf"})
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "stray").write_text("nobody's")
    return tmp_path


def packed(prefix: Path, urls: Mapping[str, str] | None = None) -> PackedEnv:
    return pack(prefix, EveryFile(), IMAGE_PREFIX, channel_urls=urls or {})


def test_each_file_goes_with_its_owner(prefix: Path) -> None:
    env = packed(prefix)
    owned = {each.name: (each.manager, [entry.path for entry in each.entries]) for each in env.distributions}
    assert owned["python"] == (
        "conda",
        [
            "opt/dbimage/env/bin/python",
            "opt/dbimage/env/conda-meta/python-1.0-h1_0.json",
            "opt/dbimage/env/lib/python3.11/os.py",
        ],
    )
    assert owned["numpy"][0] == "pip"
    assert "opt/dbimage/env/bin/numpy" in owned["numpy"][1]
    assert owned[""] == ("none", ["opt/dbimage/env/etc/stray"])


def test_the_packer_is_told_which_files_came_from_wheels(prefix: Path) -> None:
    packer = EveryFile()
    pack(prefix, packer, IMAGE_PREFIX, channel_urls={})
    assert f"{SITE}/numpy/__init__.py" in packer.verbatim
    assert "bin/python" not in packer.verbatim


def test_what_conda_installed_with_dist_info_stays_condas(prefix: Path) -> None:
    wheel(prefix, "six", {"six.py": ""}, installer="conda")
    assert "six" not in {each.name for each in packed(prefix).distributions}


def test_two_owners_of_one_file_are_refused(prefix: Path) -> None:
    conda_package(prefix, "numpy-base", {f"{SITE}/numpy/__init__.py": "x = 1"})
    with pytest.raises(VerificationError, match="numpy/__init__.py` is of numpy-base and of numpy"):
        packed(prefix)


def content(env: PackedEnv, path: str) -> bytes:
    entry = next(entry for each in env.distributions for entry in each.entries if entry.path.endswith(path))
    assert entry.content is not None
    with entry.content() as stream:
        data = stream.read()
    assert len(data) == entry.size
    return data


def test_records_of_conda_forget_machine_and_mirror(prefix: Path) -> None:
    conda_package(
        prefix,
        "libz",
        {"lib/libz.so": "elf"},
        url="https://ann:canary@mirror.example/conda-forge/linux-64/libz-1.0-h1_0.conda",
        channel="https://mirror.example/conda-forge",
        extracted_package_dir="/home/ann/pkgs/libz",
        link={"source": "/home/ann/pkgs/libz", "type": 1},
        requested_spec="libz",
        timestamp=5,
        paths_data={
            "paths_version": 1,
            "paths": [{"_path": "lib/libz.so", "path_type": "hardlink", "sha256_in_prefix": "9"}],
        },
    )
    url = "https://conda.example/conda-forge/linux-64/libz-1.0-h1_0.conda"
    data = content(packed(prefix, {"libz": url}), "conda-meta/libz-1.0-h1_0.json")
    record = json.loads(data)
    assert record["url"] == url
    assert record["fn"] == "libz-1.0-h1_0.conda"
    assert record["timestamp"] == 5
    assert record["paths_data"]["paths"] == [{"_path": "lib/libz.so", "path_type": "hardlink"}]
    assert [each for each in (b"canary", b"mirror.example", b"/home/ann") if each in data] == []


def test_the_history_of_the_prefix_is_emptied(prefix: Path) -> None:
    (prefix / "conda-meta" / "history").write_text("==> 2026-11-24 <==\n# cmd: secret")
    assert content(packed(prefix), "conda-meta/history") == b""


def test_byte_code_goes_with_its_source(prefix: Path, tmp_path: Path) -> None:
    compiler = Shouting(tmp_path / "bytecode")
    modules = frozenset({f"{SITE}/numpy/__init__.py", "lib/python3.11/os.py", "no/such.py"})
    env = with_bytecode(packed(prefix), prefix, modules, compiler)
    assert compiler.sources == [f"{SITE}/numpy/__init__.py", "lib/python3.11/os.py"]
    assert content(env, "numpy/__pycache__/__init__.cpython-311.pyc") == b"X = 1"
    by_name = {each.name: each for each in env.distributions}
    assert any("__pycache__/os." in entry.path for entry in by_name["python"].entries)
    for each in env.distributions:
        assert [entry.path for entry in each.entries] == sorted(entry.path for entry in each.entries)


def test_all_modules_are_the_sources_below_lib_python(prefix: Path) -> None:
    (prefix / "etc" / "setup.py").write_text("")
    assert all_modules(packed(prefix)) == {"lib/python3.11/os.py", f"{SITE}/numpy/__init__.py"}


def test_of_wheels_for_a_clusters_python_nothing_else_is_packed(prefix: Path) -> None:
    cluster = "/databricks/python3"
    env = pack(prefix, RecordedFiles(), cluster, channel_urls={})
    assert {each.manager for each in env.distributions} == {"pip"}
    assert all(entry.path.startswith(cluster[1:]) for each in env.distributions for entry in each.entries)
