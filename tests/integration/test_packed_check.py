"""Checks of images from their own layers."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mlflow_dbimage.backends.kept_roots import KeptRoots
from mlflow_dbimage.backends.packed_check import PackedChecker
from mlflow_dbimage.backends.sandbox import Limits, Sandbox
from mlflow_dbimage.build_cache import BuildCache
from mlflow_dbimage.image_check import CheckLimits
from mlflow_dbimage.oci.image import Image, RunConfig, append
from sandboxes import SANDBOX, sandbox
from score_images import record, score_image

LIMITS = CheckLimits(seconds=60, memory=256 << 20, processes=50)
REPORT = 'echo "{\\"version\\": 1, \\"arguments\\": \\"$*\\"}"\n'


def _checker(folder: Path, given: Callable[[], Sandbox]) -> PackedChecker:
    cache = BuildCache(folder / "cache")
    return PackedChecker(KeptRoots(cache), cache.directory("work"), given)


@pytest.fixture
def checker(tmp_path: Path) -> PackedChecker:
    return _checker(tmp_path, sandbox)


def _image(folder: Path, script: str) -> Image:
    return score_image(folder / "blobs", "#!/bin/sh\n" + script)


@pytest.mark.sandbox
def test_the_report_comes_back_and_the_layers_go(checker: PackedChecker, tmp_path: Path):
    image = _image(tmp_path, "echo loading >&2\n" + REPORT)
    assert checker.obstacle(image) is None
    run = checker.check(image, LIMITS)
    assert run.report == {"version": 1, "arguments": "--check"}
    assert (run.how, run.exit_code, run.messages, run.stopped_by) == ("packed", 0, "loading", None)
    assert not os.listdir(tmp_path / "cache" / "work")


def test_it_gets_no_credentials_and_a_home_that_goes(
    checker: PackedChecker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "swordfish")
    run = checker.check(_image(tmp_path, 'export >&2\necho x > "$HOME/x"\n' + REPORT), LIMITS)
    assert "swordfish" not in run.messages
    assert str(tmp_path / "cache" / "work") in run.messages


def test_a_check_that_takes_too_long_is_ended(checker: PackedChecker, tmp_path: Path):
    run = checker.check(_image(tmp_path, REPORT + "sleep 983\n"), replace(LIMITS, seconds=1))
    assert (run.report, run.stopped_by) == (None, "time")


def test_one_that_writes_too_much_is_ended(tmp_path: Path):
    small = replace(SANDBOX, limits=Limits(disk=2**16))
    checker = _checker(tmp_path, lambda: small)
    run = checker.check(_image(tmp_path, "for i in 1 2 3; do cp /bin/sh sh$i; done\nsleep 982\n"), LIMITS)
    assert (run.report, run.stopped_by) == (None, None)
    assert "wrote more than" in run.messages


@pytest.mark.sandbox
def test_it_sees_nothing_of_this_machine(checker: PackedChecker, tmp_path: Path):
    (tmp_path / "secret").write_text("swordfish")
    tried = f'cat {tmp_path}/secret /etc/shadow >&2\n(echo x > {tmp_path}/harm)\n(: > "$0")\n'
    run = checker.check(_image(tmp_path, tried + REPORT), LIMITS)
    assert run.report is not None
    assert "swordfish" not in run.messages
    assert "root:" not in run.messages
    assert not (tmp_path / "harm").exists()


def test_where_nothing_confines_it_it_is_not_run(tmp_path: Path):
    checker = _checker(tmp_path, lambda: Sandbox(confinement="limits"))
    assert checker.obstacle(_image(tmp_path, REPORT)) == "this machine allows no sandbox for the code of images"


def test_an_environment_in_the_bases_python_is_not_tried(checker: PackedChecker, tmp_path: Path):
    labels = replace(record(base_layers=1), env_layout="cluster").to_labels()
    image = append(_image(tmp_path, REPORT), [], RunConfig(labels=labels))
    assert "Python is its base's" in str(checker.obstacle(image))


def test_an_image_for_another_machine_is_not_tried(checker: PackedChecker, tmp_path: Path):
    image = _image(tmp_path, REPORT)
    other = replace(image, config=image.config.replace(b'"amd64"', b'"s390x"'))
    assert "s390x" in str(checker.obstacle(other))


def test_an_image_that_is_not_ours_is_not_tried(checker: PackedChecker, tmp_path: Path):
    image = _image(tmp_path, REPORT)
    assert checker.obstacle(replace(image, config=image.config.replace(b"dev.dbimage.record", b"x"))) is not None
