"""Tools are made when they are first used."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_dbimage.backends import sandbox as sandboxes
from mlflow_dbimage.backends.toolbox import Toolbox
from mlflow_dbimage.errors import ServiceError
from mlflow_dbimage.progress import SilentProgress
from mlflow_dbimage.settings import Settings


def test_no_sandbox_is_looked_for_before_something_runs_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setattr(sandboxes, "reasons", lambda: asked.append(1) or ("limits", ()))
    tools = Toolbox(Settings(cache_dir=tmp_path), SilentProgress()).tools()
    assert not asked
    assert (tools.makers.python.confinement, asked) == ("limits", [1])


def test_one_that_is_required_is_looked_for_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sandboxes, "reasons", lambda: ("limits", ("bubblewrap: `bwrap` is not installed",)))
    with pytest.raises(ServiceError) as caught:
        Toolbox(Settings(cache_dir=tmp_path, sandbox="required"), SilentProgress()).tools()
    assert caught.value.code == "no-sandbox"
