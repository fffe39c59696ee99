"""Checks images without an engine, in their own root: bubblewrap gives it to a process as a container would.

The root is the whole image's, base included; the process is nobody, in namespaces of its own, without network. All
of its files belong to whoever runs us, so that who may read what is not seen here: `static_check` looks at that.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from mlflow_dbimage.backends.kept_roots import KeptRoots, Root
from mlflow_dbimage.backends.limited_program import Finished, run_limited
from mlflow_dbimage.backends.unpacked_env import platform_obstacle
from mlflow_dbimage.image_check import CHECK_USER, MOST_REPORT, CheckLimits, CheckRun, How, read_report, tail
from mlflow_dbimage.model_layers import MODEL_PATH, SCORE_PATH
from mlflow_dbimage.oci.image import Image

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TEMPORARY = "/tmp"  # noqa: S108  # of the sandbox
_SECONDS_OF_PROBE = 10.0
# Limits the memory that a process and each of its children may write to, and becomes the program.
_LIMIT = 'ulimit -d "$1" && shift && exec "$@"'


class NamespaceChecker:
    """Checks images in namespaces of the kernel.

    Args:
        roots: Where they are unpacked.
    """

    how: How = "namespace"

    def __init__(self, roots: KeptRoots) -> None:
        self._roots = roots

    def obstacle(self, image: Image) -> str | None:
        """Say that bubblewrap or the kernel does not allow it, or that the image is for other machines."""
        return platform_obstacle(image.platform) or self._obstacle

    @cached_property
    def _program(self) -> str | None:
        return shutil.which("bwrap")

    @cached_property
    def _obstacle(self) -> str | None:
        if self._program is None:
            return "there is no `bwrap` (Debian: bubblewrap)"
        probe = self._sandboxed(Root(path=Path("/"), model=None), {}, ["/bin/sh", "-c", ":"])
        done = _run(probe, CheckLimits.of_machine(), _SECONDS_OF_PROBE)
        if done.exit_code == 0 and done.in_time:
            return None
        lines = done.messages.strip().splitlines() or ["it did not answer"]
        return f"bubblewrap cannot make namespaces here: {lines[-1]}"

    def check(self, image: Image, limits: CheckLimits) -> CheckRun:
        """Run the image's own check in its root.

        Raises:
            ServiceError: `program-failed`, `disk-failed`.
            VerificationError: `digest-mismatch` or `image-invalid`, a layer is not what it should be.
        """
        with self._roots.opened(image) as root:
            command = self._sandboxed(root, image.environment, [SCORE_PATH, "--check"])
            done = _run(command, limits, limits.seconds)
        return CheckRun(
            how=self.how,
            report=read_report(done.output) if done.in_time else None,
            exit_code=done.exit_code,
            messages=tail(done.messages),
            stopped_by=None if done.in_time else "time",
        )

    def _sandboxed(self, root: Root, environment: Mapping[str, str], program: Sequence[str]) -> list[str]:
        variables = {"PATH": _PATH, **environment}
        user = str(CHECK_USER)
        return [
            *(self._program or "bwrap", "--unshare-all", "--unshare-user", "--uid", user, "--gid", user),
            *("--die-with-parent", "--new-session", "--cap-drop", "ALL", "--hostname", "dbimage"),
            *("--ro-bind", str(root.path), "/", *_model_bind(root)),
            *("--proc", "/proc", "--dev", "/dev", "--tmpfs", _TEMPORARY),
            "--clearenv",
            *(word for name, value in variables.items() for word in ("--setenv", name, value)),
            *("--chdir", "/", "--", *program),
        ]


def _model_bind(root: Root) -> tuple[str, ...]:
    return () if root.model is None else ("--ro-bind", str(root.model), MODEL_PATH)


def _run(command: Sequence[str], limits: CheckLimits, seconds: float) -> Finished:
    limited = ["/bin/sh", "-c", _LIMIT, "sh", str(limits.memory >> 10), *command]
    return run_limited(limited, environment={"PATH": _PATH}, folder=Path("/"), seconds=seconds, most=MOST_REPORT)
