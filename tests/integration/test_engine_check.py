"""Checks of images in a real Docker engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from mlflow_dbimage.backends.docker_engine import DockerEngine
from mlflow_dbimage.backends.engine_check import EngineChecker
from mlflow_dbimage.image_check import CHECK_USER, CheckLimits
from mlflow_dbimage.oci.image import Image
from score_images import score_image

pytestmark = [
    pytest.mark.engine,
    # The Docker SDK leaves sockets of streams to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

LIMITS = CheckLimits(seconds=60, memory=64 << 20, processes=50)
REPORT = 'echo "{\\"version\\": 1, \\"arguments\\": \\"$*\\"}"\n'


@pytest.fixture
def engine(engine_found: object) -> Iterator[DockerEngine]:
    found = DockerEngine.find()
    assert found is not None
    yield found
    found.close()


def _image(folder: Path, script: str) -> Image:
    return score_image(folder / "blobs", "#!/bin/sh\n" + script)


def _names(engine_found) -> set[str]:
    client = docker.DockerClient(base_url=engine_found.host, version="auto")
    try:
        return {str(tag) for image in client.images.list(all=True) for tag in [*image.tags, image.id]}
    finally:
        client.close()


def test_the_report_comes_back_and_the_image_goes(engine: DockerEngine, engine_found, tmp_path: Path):
    before = _names(engine_found)
    image = _image(tmp_path, "echo loading >&2\n" + REPORT)
    run = EngineChecker(lambda: engine).check(image, LIMITS)
    assert run.report == {"version": 1, "arguments": "--check"}
    assert (run.how, run.exit_code, run.messages, run.stopped_by) == ("engine", 0, "loading", None)
    assert _names(engine_found) == before
    assert not docker.DockerClient(base_url=engine_found.host, version="auto").containers.list(all=True)


def test_an_image_that_the_engine_has_stays_as_it_is_called(engine: DockerEngine, engine_found, tmp_path: Path):
    image = _image(tmp_path, REPORT)
    engine.load(image, ("kept:v1",))
    before = _names(engine_found)
    assert EngineChecker(lambda: engine).check(image, LIMITS).report is not None
    assert _names(engine_found) == before
    engine.untag("kept:v1")


def test_it_is_nobody_without_a_network_on_a_root_that_it_cannot_change(engine: DockerEngine, tmp_path: Path):
    script = (
        "id -u >&2; id -g >&2\n"
        "(echo x > /opt/dbimage/x) 2>/dev/null && echo root is writable >&2\n"
        "echo x > /tmp/x && echo temporary is writable >&2\n"
        "cat /proc/net/dev >&2\n" + REPORT
    )
    run = EngineChecker(lambda: engine).check(_image(tmp_path, script), LIMITS)
    lines = run.messages.splitlines()
    assert lines[:3] == [str(CHECK_USER), str(CHECK_USER), "temporary is writable"]
    assert [line.split(":")[0].strip() for line in lines[5:]] == ["lo"]


def test_a_check_that_takes_too_long_is_ended(engine: DockerEngine, tmp_path: Path):
    run = EngineChecker(lambda: engine).check(
        _image(tmp_path, "echo waiting >&2\n" + REPORT + "sleep 600\n"), replace(LIMITS, seconds=1)
    )
    assert (run.report, run.stopped_by, run.messages) == (None, "time", "waiting")


def test_a_check_that_takes_too_much_memory_is_ended(engine: DockerEngine, tmp_path: Path):
    script = "a=xxxxxxxxxxxxxxxx\nwhile :; do a=$a$a; done\n"
    run = EngineChecker(lambda: engine).check(_image(tmp_path, script), replace(LIMITS, memory=32 << 20))
    assert (run.report, run.stopped_by) == (None, "memory")


def test_a_program_that_ends_without_a_report_is_told_of(engine: DockerEngine, tmp_path: Path):
    run = EngineChecker(lambda: engine).check(_image(tmp_path, "echo broken >&2\nexit 4\n"), LIMITS)
    assert (run.report, run.exit_code, run.messages) == (None, 4, "broken")


def test_an_image_for_another_processor_is_not_tried(engine: DockerEngine, tmp_path: Path):
    image = _image(tmp_path, REPORT)
    other = replace(image, config=image.config.replace(b'"amd64"', b'"arm64"'))
    assert EngineChecker(lambda: engine).obstacle(image) is None
    assert "linux/arm64" in str(EngineChecker(lambda: engine).obstacle(other))


def test_without_an_engine_it_is_said(tmp_path: Path):
    assert EngineChecker(lambda: None).obstacle(_image(tmp_path, REPORT)) == "no Docker engine answers"
