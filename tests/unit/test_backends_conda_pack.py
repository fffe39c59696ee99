"""conda-pack on a real environment: every file is found, and no prefix of this machine is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_dbimage.backends.conda import RattlerConda
from mlflow_dbimage.backends.conda_pack import CondaPack
from mlflow_dbimage.backends.environment_python import EnvironmentPython
from mlflow_dbimage.environment_spec import Requirement
from mlflow_dbimage.errors import ServiceError, VerificationError
from mlflow_dbimage.locking.environment_solver import CondaRequest
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.oci.tar import EntryKind, TarEntry
from mlflow_dbimage.packed_env import IMAGE_PREFIX, all_modules, pack, with_bytecode
from mlflow_dbimage.progress import SilentProgress
from sandboxes import sandbox

pytestmark = pytest.mark.channel


def install(channel_url: str, prefix: Path, cache: Path) -> None:
    conda = RattlerConda(cache)
    request = CondaRequest(
        python="3.11",
        requirements=(Requirement(text="pip", origin="test"),),
        channels=("conda-forge",),
        channel_map={"conda-forge": channel_url},
        platform="linux-64",
        glibc="2.36",
        exclude_newer=None,
        offline=False,
    )
    solution = conda.solve(request)
    conda.install(
        solution.packages,
        prefix,
        "linux-64",
        offline=False,
        progress=SilentProgress(),
        image_prefix=IMAGE_PREFIX,
    )


@pytest.fixture(scope="module")
def prefix(conda_channel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("conda-pack")
    install(conda_channel.url, root / "env", root / "cache")
    return root / "env"


def contents(entries: list[TarEntry]) -> dict[str, bytes]:
    found = {}
    for entry in entries:
        if entry.kind is EntryKind.FILE:
            assert entry.content is not None
            with entry.content() as stream:
                found[entry.path] = stream.read()
            assert len(found[entry.path]) == entry.size, entry.path
    return found


def test_files_and_links_are_all_there_once(prefix: Path) -> None:
    entries = list(CondaPack().entries(prefix, IMAGE_PREFIX, verbatim=frozenset()))
    paths = [entry.path for entry in entries]
    assert len(paths) == len(set(paths))
    on_disk = {path.relative_to(prefix).as_posix() for path in prefix.rglob("*") if not path.is_dir()}
    assert on_disk <= set(paths)
    assert {"bin/activate", "bin/deactivate"} <= set(paths)


def test_no_prefix_of_this_machine_is_left(prefix: Path) -> None:
    env = pack(prefix, CondaPack(), IMAGE_PREFIX, channel_urls={})
    found = contents([entry for each in env.distributions for entry in each.entries])
    leaks = [path for path, data in found.items() if str(prefix).encode() in data]
    assert leaks == []
    scripts = [data for path, data in found.items() if "/env/bin/" in path and data.startswith(b"#!/opt")]
    assert any(data.startswith(f"#!{IMAGE_PREFIX}/bin/python".encode()) for data in scripts)


def test_the_length_of_the_build_prefix_does_not_show(prefix: Path, conda_channel, tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 60)
    deep.mkdir(parents=True)
    install(conda_channel.url, deep / "env", tmp_path / "cache")
    packed = [pack(place, CondaPack(), IMAGE_PREFIX, channel_urls={}) for place in (prefix, deep / "env")]
    images = [contents([entry for each in env.distributions for entry in each.entries]) for env in packed]
    assert images[0].keys() == images[1].keys()
    assert [path for path in images[0] if images[0][path] != images[1][path]] == []


def test_a_deleted_file_is_refused_with_conda_packs_own_words(conda_channel, tmp_path: Path) -> None:
    install(conda_channel.url, tmp_path / "env", tmp_path / "cache")
    next((tmp_path / "env" / "lib").glob("libz.so*")).unlink()
    with pytest.raises(VerificationError, match="deleted"):
        list(CondaPack().entries(tmp_path / "env", IMAGE_PREFIX, verbatim=frozenset()))


def test_byte_code_is_the_same_from_two_prefixes_and_names_its_place_in_the_image(
    prefix: Path, conda_channel, tmp_path: Path
) -> None:
    install(conda_channel.url, tmp_path / "other" / "env", tmp_path / "cache")
    codes = []
    for number, place in enumerate((prefix, tmp_path / "other" / "env")):
        env = pack(place, CondaPack(), IMAGE_PREFIX, channel_urls={})
        compiled = with_bytecode(env, place, all_modules(env), EnvironmentPython(tmp_path / str(number), sandbox))
        entries = [entry for each in compiled.distributions for entry in each.entries]
        codes.append({path: data for path, data in contents(entries).items() if path.endswith(".pyc")})
    assert len(codes[0]) > 500
    assert codes[0] == codes[1]
    code = codes[0]["opt/dbimage/env/lib/python3.11/__pycache__/os.cpython-311.pyc"]
    assert f"{IMAGE_PREFIX}/lib/python3.11/os.py".encode() in code
    assert code[8:12] == (315532801).to_bytes(4, "little")


def test_only_this_machines_programs_are_run(tmp_path: Path) -> None:
    python = EnvironmentPython(tmp_path, sandbox)
    assert not python.can_run(Platform("linux", "s390x"))
    assert not python.can_run(Platform("windows", "amd64"))


def test_an_environment_without_python_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    with pytest.raises(ServiceError, match="no Python"):
        EnvironmentPython(tmp_path / "kept", sandbox).compile(tmp_path, IMAGE_PREFIX, ["a.py"])
