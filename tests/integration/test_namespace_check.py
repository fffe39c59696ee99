"""Checks of images in namespaces of this machine's kernel."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from mlflow_dbimage.backends.kept_roots import KeptRoots
from mlflow_dbimage.backends.namespace_check import NamespaceChecker
from mlflow_dbimage.build_cache import BuildCache
from mlflow_dbimage.errors import VerificationError
from mlflow_dbimage.image_check import CHECK_USER, CheckLimits
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import Image, RunConfig, append
from score_images import score_image

pytestmark = pytest.mark.namespaces

LIMITS = CheckLimits(seconds=60, memory=256 << 20, processes=50)
REPORT = 'echo "{\\"version\\": 1, \\"arguments\\": \\"$*\\"}"\n'


@pytest.fixture
def checker(tmp_path: Path) -> NamespaceChecker:
    return NamespaceChecker(KeptRoots(BuildCache(tmp_path / "cache")))


def _image(folder: Path, script: str, **files: bytes) -> Image:
    return score_image(folder / "blobs", "#!/bin/sh\n" + script, files)


def test_the_report_comes_back_and_the_root_goes(checker: NamespaceChecker, tmp_path: Path):
    image = _image(tmp_path, "echo loading >&2\n" + REPORT)
    assert checker.obstacle(image) is None
    run = checker.check(image, LIMITS)
    assert run.report == {"version": 1, "arguments": "--check"}
    assert (run.how, run.exit_code, run.messages, run.stopped_by) == ("namespace", 0, "loading", None)
    assert not os.listdir(tmp_path / "cache" / "work")


def test_it_is_nobody_without_a_network_on_a_root_that_it_cannot_change(checker: NamespaceChecker, tmp_path: Path):
    script = (
        "id -u >&2; id -g >&2\n"
        "(echo x > /opt/dbimage/x) 2>/dev/null && echo root is writable >&2\n"
        "echo x > /tmp/x && echo temporary is writable >&2\n"
        "cat /proc/net/dev >&2\n" + REPORT
    )
    lines = checker.check(_image(tmp_path, script), LIMITS).messages.splitlines()
    assert lines[:3] == [str(CHECK_USER), str(CHECK_USER), "temporary is writable"]
    assert [line.split(":")[0].strip() for line in lines[5:]] == ["lo"]


def test_it_sees_the_images_root_and_variables_alone(
    checker: NamespaceChecker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "swordfish")
    image = _image(tmp_path, 'export >&2\ncat /opt/note /etc/passwd >&2\necho "$GREETING" >&2\n' + REPORT)
    greeting = append(image, [], RunConfig(environment={"GREETING": "hello; world"}))
    messages = checker.check(greeting, LIMITS).messages
    assert "swordfish" not in messages
    assert "/etc/passwd: No such file" in messages
    assert messages.splitlines()[-1] == "hello; world"


def test_a_check_that_takes_too_long_is_ended(checker: NamespaceChecker, tmp_path: Path):
    run = checker.check(_image(tmp_path, REPORT + "sleep 984\n"), replace(LIMITS, seconds=1))
    assert (run.report, run.stopped_by) == (None, "time")


def test_memory_has_an_end(checker: NamespaceChecker, tmp_path: Path):
    run = checker.check(_image(tmp_path, "a=xxxxxxxxxxxxxxxx\nwhile :; do a=$a$a; done\n"), LIMITS)
    assert (run.report, run.stopped_by) == (None, None)
    assert run.exit_code != 0


def test_a_layer_that_is_not_what_it_should_be_is_refused(checker: NamespaceChecker, tmp_path: Path):
    image = _image(tmp_path, REPORT)
    lying = replace(image.layers[-1], diff_id=Digest.of(b"another"))
    with pytest.raises(VerificationError) as caught:
        checker.check(replace(image, layers=(*image.layers[:-1], lying)), LIMITS)
    assert caught.value.code == "digest-mismatch"
    assert not os.listdir(tmp_path / "cache" / "work")


def test_without_bubblewrap_it_is_said(checker: NamespaceChecker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    image = _image(tmp_path, REPORT)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert checker.obstacle(image) == "there is no `bwrap` (Debian: bubblewrap)"


def test_where_the_kernel_does_not_allow_it_that_is_said(
    checker: NamespaceChecker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # What bubblewrap says on kernels that keep namespaces from users.
    program = tmp_path / "bin" / "bwrap"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    obstacle = checker.obstacle(_image(tmp_path, REPORT))
    assert obstacle == "bubblewrap cannot make namespaces here: bwrap: No permissions to create new namespace"
