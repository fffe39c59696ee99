"""What conda packages install is looked at, however their archives are called."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from test_locking_lock_files import ZLIB

from mlflow_dbimage.backends.conda import RattlerConda
from mlflow_dbimage.backends.conda_contents import ContentCheck
from mlflow_dbimage.errors import InputError
from mlflow_dbimage.locking.environment_solver import CondaRequest
from mlflow_dbimage.progress import SilentProgress
from solving import lines
from toy_channel import ToyPackage, make_toy_channel, toy_python


def _call_otherwise(channel: Path, archive: str, name: str) -> None:
    """Have a channel's index call an archive by another name than its package has."""
    folder = channel / "linux-64"
    index = json.loads((folder / "repodata.json").read_text())
    index["packages"][name] = index["packages"].pop(archive)
    (folder / archive).rename(folder / name)
    for other in (*folder.glob("repodata*"), folder / "shards"):
        shutil.rmtree(other) if other.is_dir() else other.unlink(missing_ok=True)
    (folder / "repodata.json").write_text(json.dumps(index))


@pytest.mark.parametrize("name", ["evil-1.0-0.tar.bz2", "evil-9-0.tar.bz2"])
def test_a_package_is_looked_at_whatever_its_archive_is_called(tmp_path: Path, name: str) -> None:
    channel = tmp_path / "conda-forge"
    evil = ToyPackage(name="evil", files={"conda-meta/evil.json": b"{}"})
    make_toy_channel(channel, [toy_python("3.11.7"), evil])
    _call_otherwise(channel, "evil-1.0-0.tar.bz2", name)
    asked = CondaRequest(
        python="3.11.7",
        requirements=lines("evil"),
        channels=("conda-forge",),
        channel_map={"conda-forge": channel.as_uri()},
        platform="linux-64",
        glibc="2.36",
        exclude_newer=None,
        offline=False,
    )
    conda = RattlerConda(tmp_path / "cache")
    packages = conda.solve(asked).packages
    assert name in [each.file_name for each in packages]
    with pytest.raises(InputError, match="would change conda's records") as caught:
        conda.install(packages, tmp_path / "env", "linux-64", offline=False, progress=SilentProgress())
    assert caught.value.code == "model-unsafe"
    assert not (tmp_path / "env/conda-meta/evil.json").exists()


def test_what_nobody_could_look_at_is_refused(tmp_path: Path) -> None:
    check = ContentCheck(tmp_path, [replace(ZLIB, version="2")])
    check.look(ZLIB.name)
    with pytest.raises(InputError, match="nobody could look at it"):
        check.refuse()
