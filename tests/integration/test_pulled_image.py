"""What was pushed to a registry is pulled by a Docker engine, and scores there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import docker
import pandas
import pytest

import sample_models

pytestmark = [
    pytest.mark.slow,
    pytest.mark.base,
    pytest.mark.channel,
    pytest.mark.engine,
    pytest.mark.registry,
]

SAMPLE = "pyfunc-rules"
DBIMAGE = str(Path(sys.executable).with_name("dbimage"))


def test_a_pulled_image_scores(models, site: Path, registry, engine_found, tmp_path: Path) -> None:
    command = [
        DBIMAGE,
        "build",
        str(models(SAMPLE)),
        "--name",
        "rules",
        "--json",
        "-t",
        f"//{registry.host}/pulled",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    receipt = json.loads(done.stdout)
    client = docker.from_env()
    try:
        pulled = client.images.pull(f"{registry.host}/pulled/rules", tag="deployed")
        assert pulled.attrs["RepoDigests"] == [f"{registry.host}/pulled/rules@{receipt['digest']}"]
        rows = next(sample_models.folder(SAMPLE).glob("input.*"))
        (tmp_path / rows.name).write_bytes(rows.read_bytes())
        client.containers.run(
            pulled.id,
            ["--input", f"/data/{rows.name}", "--output", "/data/scored.csv"],
            volumes={str(tmp_path): {"bind": "/data", "mode": "rw"}},
            network_mode="none",
            read_only=True,
            tmpfs={"/tmp": ""},
            remove=True,
        )
    finally:
        client.close()
    expected = pandas.read_csv(sample_models.folder(SAMPLE) / "expected.csv")
    pandas.testing.assert_frame_equal(pandas.read_csv(tmp_path / "scored.csv"), expected, rtol=1e-6)
