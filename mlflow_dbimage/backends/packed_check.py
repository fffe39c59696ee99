"""Checks images without an engine and without namespaces: their own layers on this machine's system.

What the base brings is not seen: a missing library of the operating system, or an old one.
"""

from __future__ import annotations

from pathlib import Path

from mlflow_dbimage.backends.limited_program import run_limited
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
    """

    how: How = "packed"

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch

    def obstacle(self, image: Image) -> str | None:
        """Say that the image is for other machines, or that its Python is its base's."""
        record = ImageRecord.from_labels(image.labels)
        if record is None:
            return "the image has no record of this project"
        if record.env_layout == "cluster":
            return "the image's Python is its base's, which does not run without its operating system"
        return platform_obstacle(image.platform)

    def check(self, image: Image, limits: CheckLimits) -> CheckRun:
        """Run the image's own check on this machine's system. Memory and processes are not limited.

        Raises:
            ServiceError: `program-failed`, `disk-failed`.
            VerificationError: `digest-mismatch` or `image-invalid`, a layer is not what it should be.
        """
        with disk_errors(), scratch_directory(self._scratch) as folder:
            program = unpack(image, folder) / SCORE_PATH[1:]
            home = folder / "home"
            home.mkdir()
            done = run_limited(
                [str(program), "--check"],
                environment={**_ENVIRONMENT, "HOME": str(home), "TMPDIR": str(home)},
                folder=home,
                seconds=limits.seconds,
                most=MOST_REPORT,
            )
        return CheckRun(
            how=self.how,
            report=read_report(done.output) if done.in_time else None,
            exit_code=done.exit_code,
            messages=tail(done.messages),
            stopped_by=None if done.in_time else "time",
        )
