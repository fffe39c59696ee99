"""Checks images without an engine or their root: by their own layers, on this machine's system, in the sandbox.

What the base brings is not seen: a missing library of the operating system, or an old one.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mlflow_dbimage.backends.sandbox import ModelStopped, Sandbox
from mlflow_dbimage.backends.unpacked_env import platform_obstacle, unpack
from mlflow_dbimage.build_cache import scratch_directory
from mlflow_dbimage.build_receipt import ImageRecord
from mlflow_dbimage.errors import disk_errors
from mlflow_dbimage.image_check import MOST_REPORT, CheckLimits, CheckRun, How, read_report, tail
from mlflow_dbimage.model_layers import SCORE_PATH
from mlflow_dbimage.oci.image import Image

_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
}


class PackedChecker:
    """Checks what images add to their bases.

    Args:
        scratch: Folder in which layers are unpacked; they go when the check is done.
        sandbox: Gives what runs the check, when there is one to run.
    """

    how: How = "packed"

    def __init__(self, scratch: Path, sandbox: Callable[[], Sandbox]) -> None:
        self._scratch = scratch
        self._sandbox = sandbox

    def obstacle(self, image: Image) -> str | None:
        """Say that the image is for other machines, that its Python is its base's, or that nothing confines it."""
        record = ImageRecord.from_labels(image.labels)
        if record is None:
            return "the image has no record of this project"
        if record.env_layout == "cluster":
            return "the image's Python is its base's, which does not run without its operating system"
        return platform_obstacle(image.platform) or self._unconfined()

    def _unconfined(self) -> str | None:
        """An image may be anybody's: where it could read what we can, it is not run."""
        if self._sandbox().confinement != "limits":
            return None
        return "this machine allows no sandbox for the code of images"

    def check(self, image: Image, limits: CheckLimits) -> CheckRun:
        """Run the image's own check on this machine's system, in the sandbox.

        Raises:
            ServiceError: `program-failed`, `disk-failed`.
            VerificationError: `digest-mismatch` or `image-invalid`, a layer is not what it should be.
        """
        with disk_errors(), scratch_directory(self._scratch) as folder:
            root = unpack(image, folder)
            home = folder / "home"
            home.mkdir()
            try:
                ended = self._limited(limits).run(
                    [str(root / SCORE_PATH[1:]), "--check"],
                    scratch=home,
                    environment={**_ENVIRONMENT, "HOME": str(home), "TMPDIR": str(home)},
                    readable=[root],
                    most_output=MOST_REPORT,
                )
            except ModelStopped as error:
                return _stopped(error)
        return CheckRun(
            how=self.how,
            report=read_report(ended.output),
            exit_code=ended.code,
            messages=tail(ended.errors),
        )

    def _limited(self, limits: CheckLimits) -> Sandbox:
        sandbox = self._sandbox()
        return replace(sandbox, limits=replace(sandbox.limits, seconds=limits.seconds, memory=limits.memory))


def _stopped(error: ModelStopped) -> CheckRun:
    return CheckRun(
        how="packed",
        report=None,
        exit_code=-signal.SIGKILL,
        messages=error.message,
        stopped_by=error.excess if error.excess in ("time", "memory") else None,
    )
