"""Workers beside a door: they stop when it ends, and what keeps them from working is told."""

from __future__ import annotations

from mlflow_dbimage.backends.worker_process import WorkerProcess


def test_a_worker_stops_when_its_door_ends(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    ended: list[int] = []
    worker = WorkerProcess(ended.append)
    worker.stop()
    worker.wait()
    assert ended == [0]
    out, err = capfd.readouterr()
    assert (out, "waits for builds" in err) == ("", True)


def test_what_a_worker_cannot_use_is_told(monkeypatch, capfd):
    monkeypatch.setenv("DBIMAGE_SERVICE_DATABASE", "sqlite:////nowhere/at/all/x.db")
    ended: list[int] = []
    WorkerProcess(ended.append).wait()
    assert ended == [5]
    assert "error: the service's database failed" in capfd.readouterr().err
