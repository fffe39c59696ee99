"""Checks images without an engine or their root: by their own layers, on this machine's system, in the sandbox.

What the base brings is not seen: a missing library of the operating system, or an old one.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mlflow_dbimage.backends.kept_roots import KeptRoots, Root
from mlflow_dbimage.backends.layer_unpacking import place_in
from mlflow_dbimage.backends.sandbox import ModelStopped, Sandbox
from mlflow_dbimage.backends.unpacked_env import first_layer, platform_obstacle
from mlflow_dbimage.build_cache import scratch_directory
from mlflow_dbimage.build_receipt import ImageRecord
from mlflow_dbimage.errors import VerificationError
from mlflow_dbimage.image_check import MOST_REPORT, CheckLimits, CheckRun, How, read_report, tail
from mlflow_dbimage.model_layers import MODEL_PATH, SCORE_PATH
from mlflow_dbimage.oci.image import Image

_OURS = "/opt/dbimage"
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
}


class PackedChecker:
    """Checks what images add to their bases.

    Args:
        roots: Where its layers are unpacked.
        scratch: Folder of what checks write; it goes when they are done.
        sandbox: Gives what runs the check, when there is one to run.
    """

    how: How = "packed"

    def __init__(self, roots: KeptRoots, scratch: Path, sandbox: Callable[[], Sandbox]) -> None:
        self._roots = roots
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
        record = ImageRecord.from_labels(image.labels)
        assert record is not None, "an image without one has an obstacle"
        with (
            self._roots.opened(image, first_layer(image, record)) as root,
            scratch_directory(self._scratch) as home,
        ):
            try:
                ended = self._limited(limits).run(
                    [SCORE_PATH, "--check"],
                    scratch=home,
                    environment={**_ENVIRONMENT, "HOME": str(home), "TMPDIR": str(home)},
                    placed=_placed(root, record.environment_prefix),
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


def _placed(root: Root, prefix: str) -> dict[str, Path]:
    """Return what of a root is seen beside this machine's system, each at its own place in the image.

    Raises:
        VerificationError: `image-invalid`, a place leads out of the root.
    """
    places: dict[str, Path] = {}
    for place in (_OURS, prefix):
        if place.startswith(f"{_OURS}/"):
            continue  # seen with the folder above it
        path = place_in(root.path, place)
        if path is None or not path.is_dir() or not place.startswith("/"):
            raise VerificationError("image-invalid", f"`{place}` is no folder of the image")
        places[place] = path
    return places if root.model is None else {**places, MODEL_PATH: root.model}


def _stopped(error: ModelStopped) -> CheckRun:
    return CheckRun(
        how="packed",
        report=None,
        exit_code=-signal.SIGKILL,
        messages=error.message,
        stopped_by=error.excess if error.excess in ("time", "memory") else None,
    )
