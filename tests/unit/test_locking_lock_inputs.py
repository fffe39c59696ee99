from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from mlflow_dbimage.environment_spec import EnvironmentSpec
from mlflow_dbimage.locked_env import inputs_key
from mlflow_dbimage.locking.lock_inputs import without_credentials
from solving import lines, make_options, make_solver, make_spec
from toy_channel import make_toy_channel, toy_python


@pytest.mark.parametrize(
    ("url", "bare"),
    [
        ("https://user:secret@host:8080/simple?x=1", "https://host:8080/simple?x=1"),
        ("https://host/t/TOKEN/conda-forge", "https://host/conda-forge"),
        ("conda-forge", "conda-forge"),
        ("file:///srv/t/x", "file:///srv/t/x"),
    ],
)
def test_credentials_leave_a_url(url: str, bare: str) -> None:
    assert without_credentials(url) == bare


@pytest.fixture
def spec(tmp_path: Path) -> EnvironmentSpec:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/constraints.txt").write_text("six<2\n")
    return make_spec(tmp_path / "model", "3.11.7", conda=("pip",), pip=("six", "-c constraints.txt"))


def test_the_key_changes_with_every_input_and_not_with_credentials(spec: EnvironmentSpec, tmp_path: Path) -> None:
    solver = make_solver(tmp_path / "cache")
    channel = tmp_path / "channel"
    url = make_toy_channel(channel, [toy_python("3.11.7")])
    options = make_options(url, index_url="https://me:one@index.example/simple")

    def key(spec: EnvironmentSpec = spec, **changes: object) -> str:
        return inputs_key(spec, replace(options, **changes), solver)  # type: ignore[arg-type]

    assert key(index_url="https://me:two@index.example/simple") == key()
    others = [
        key(replace(spec, python="3.11.8")),
        key(replace(spec, pip=lines("six==1"))),
        key(replace(spec, conda=())),
        key(replace(spec, logged_at=datetime(2021, 1, 20, tzinfo=timezone.utc))),
        key(glibc="2.31"),
        key(channels=("defaults",)),
        key(index_url="https://other.example/simple"),
        key(extra_index_urls=("https://more.example/simple",)),
    ]
    before = key()
    (spec.directory / "constraints.txt").write_text("six<1\n")
    others.append(key())
    (spec.directory / "constraints.txt").write_text("six<2\n")
    assert key() == before
    make_toy_channel(channel, [toy_python("3.11.8")])
    others.append(key())
    assert len({before, *others}) == len(others) + 1
