"""Runs code that came with models, where it can harm nothing: no network, one folder to write to, and limits.

How far this machine can do that is its `confinement`: by bubblewrap; by the same namespaces of the kernel, made
by `sandbox_launcher`; or, where the kernel lets us make none (many containers do not), by limits alone. What
each keeps out is in docs/security.md.
"""

from __future__ import annotations

import functools
import marshal
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from mlflow_dbimage.backends import sandbox_launcher, sandbox_usage
from mlflow_dbimage.backends.sandbox_output import Lines, tail
from mlflow_dbimage.backends.sandbox_view import View
from mlflow_dbimage.errors import InputError, ServiceError

if TYPE_CHECKING:
    import socket

Confinement = Literal["bubblewrap", "namespaces", "limits"]
#: What a program had too much of.
Excess = Literal["time", "memory", "disk", "processes"]

_LOOK_EVERY = 0.05
#: Looks take a twentieth of a core at most, where a program writes thousands of files, which each look measures.
_LOOKS_TAKE = 20
_MOST_PROCESSES = 1024
_BUBBLEWRAP = (
    "--unshare-user",
    "--unshare-pid",
    "--unshare-ipc",
    "--unshare-uts",
    "--unshare-cgroup-try",
    "--unshare-net",
    "--die-with-parent",
    "--new-session",
    "--cap-drop",
    "ALL",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a program may use, with all that it starts."""

    seconds: float = 900.0
    memory: int | None = None
    """In bytes; None for three quarters of the machine's."""
    disk: int = 10 * 2**30
    """In bytes, in the folder that it may write to."""

    @property
    def memory_bytes(self) -> int:
        """The limit of memory as a number."""
        return self.memory or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 3 // 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a program ended."""

    code: int
    """As shells tell it."""
    errors: str
    """The end of what it wrote to its standard output and error, as `printable` makes it."""
    output: bytes = b""
    """The beginning of its standard output alone, where that was asked for; `errors` lacks it then."""


class ModelStopped(InputError):
    """A program used more than it may.

    Args:
        reason: What it did.
        excess: What it had too much of.
        key: The setting that is its limit, where there is one.
    """

    def __init__(self, reason: str, excess: Excess, key: str | None = None) -> None:
        hint = (
            f"if that is right for this model, raise `{key}`"
            if key
            else "look at what the model does when it is loaded"
        )
        super().__init__("model-stopped", f"the model's code was stopped: it {reason}", hint=hint)
        self.excess = excess


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """A way of running programs."""

    confinement: Confinement
    limits: Limits = Limits()
    readable: tuple[Path, ...] = ()
    """What every program may read, besides the system's own programs and what each is given."""

    @classmethod
    def find(cls, limits: Limits, *, required: bool = False) -> Sandbox:
        """Return the strongest sandbox that works here.

        Raises:
            ServiceError: `no-sandbox`, one is required and there is none.
        """
        confinement, missing = reasons()
        if required and confinement == "limits":
            raise ServiceError(
                "no-sandbox",
                "this machine allows no sandbox for the code of models:\n  " + "\n  ".join(missing),
                hint="install bubblewrap, allow user namespaces, or let `sandbox` be `auto`",
            )
        return cls(confinement=confinement, limits=limits)

    def run(
        self,
        command: Sequence[str],
        *,
        scratch: Path,
        environment: Mapping[str, str],
        readable: Sequence[Path] = (),
        placed: Mapping[str, Path] = MappingProxyType({}),
        text: str = "",
        most_output: int = 0,
        report: Callable[[str], None] | None = None,
        handed: Sequence[socket.socket] = (),
    ) -> Ended:
        """Run a program to its end, in its scratch folder.

        Args:
            command: The program, by its absolute path, and its arguments.
            scratch: A folder of its own; nobody else may use it meanwhile.
            environment: All its variables.
            readable: Folders and files that it may read.
            placed: Folders that it may read elsewhere than where they are, by where; not with limits alone.
            text: Its standard input.
            most_output: Bytes of its standard output to return apart from what it wrote to standard error.
            report: Told each line that it writes to standard error, as it comes.
            handed: Sockets that it gets, under the numbers that they have here, where they are closed.

        Raises:
            ModelStopped: `model-stopped`, it used more than it may.
            ServiceError: `program-failed`, it could not be started.
        """
        assert not placed or self.confinement != "limits", "nothing is elsewhere without namespaces"
        with ExitStack() as files:
            stdin, stderr = (files.enter_context(tempfile.TemporaryFile()) for _ in range(2))
            stdout = files.enter_context(tempfile.TemporaryFile()) if most_output else stderr
            stdin.write(text.encode())
            stdin.seek(0)
            view = View.of((*self.readable, *readable), scratch, placed)
            files.callback(_close, handed)
            process = _started(
                self._wrapped(command, view),
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                cwd=scratch,
                env=dict(environment),
                pass_fds=[each.fileno() for each in handed],
            )
            _close(handed)
            lines = Lines(stderr, report)
            with _ended_at_last(process):
                self._watch(process, scratch, lines)
            lines.pass_on(last=True)
            self._check(process.pid, scratch)
            output = os.pread(stdout.fileno(), most_output, 0)
            return Ended(code=process.returncode, errors=tail(stderr), output=output)

    def _wrapped(self, command: Sequence[str], view: View) -> list[str]:
        plan: dict[str, Any] = {"limits": self._limits(), "mode": "supervise"}
        inner = list(command)
        if self.confinement == "bubblewrap":
            plan["mode"] = "exec"
            program = shutil.which("bwrap") or "bwrap"
            inner = [program, *_BUBBLEWRAP, *view.bubblewrap_arguments(), "--", *command]
        elif self.confinement == "namespaces":
            plan["mode"] = "namespaces"
            plan["links"] = view.links
            plan["binds"] = [(bind.source, bind.target, bind.writable) for bind in view.binds]
        return [sys.executable, "-I", "-S", str(sandbox_launcher.__file__), marshal.dumps(plan).hex(), *inner]

    def _limits(self) -> dict[str, int]:
        limits = {"RLIMIT_CORE": 0, "RLIMIT_FSIZE": self.limits.disk}
        threads = _threads_of_machine()
        return limits | ({"RLIMIT_NPROC": threads + _MOST_PROCESSES} if threads else {})

    def _watch(self, process: subprocess.Popen[bytes], scratch: Path, lines: Lines) -> None:
        end, pause = time.monotonic() + self.limits.seconds, _LOOK_EVERY
        while not _ends(process, pause):
            lines.pass_on()
            began = time.monotonic()
            self._check(process.pid, scratch)
            now = time.monotonic()
            pause = max(_LOOK_EVERY, _LOOKS_TAKE * (now - began))
            if now > end:
                raise ModelStopped(f"took more than {self.limits.seconds:,.0f} s", "time", "model_seconds")

    def _check(self, process: int, scratch: Path) -> None:
        """Stop what uses more than it may."""
        started = sandbox_usage.descendants(process)
        if len(started) > _MOST_PROCESSES:
            raise ModelStopped(f"started more than {_MOST_PROCESSES} processes", "processes")
        memory = self.limits.memory_bytes
        if sandbox_usage.memory_of(started, memory) > memory:
            raise ModelStopped(f"used more than {_size(memory)} of memory", "memory", "model_memory")
        try:
            used = sandbox_usage.disk_of(scratch, self.limits.disk)
        except ValueError as error:
            raise ModelStopped(f"left {error}", "disk") from error
        if used > self.limits.disk:
            raise ModelStopped(f"wrote more than {_size(self.limits.disk)}", "disk", "model_disk")
        exhausted = sandbox_usage.is_exhausted(scratch, used)
        if exhausted:
            raise ModelStopped(f"was running when the machine had nearly no {exhausted} left", exhausted)


def _started(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(command, start_new_session=True, **options)
    except OSError as error:
        raise ServiceError("program-failed", f"the sandbox cannot be started: {error.strerror}") from error


def _close(sockets: Sequence[socket.socket]) -> None:
    for each in sockets:
        each.close()


def _ends(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for a program's end for so long; `Popen.wait` with a limit looks again only after a while."""
    with suppress(AttributeError, OSError):  # not Linux, or an old one
        descriptor = os.pidfd_open(process.pid)
        try:
            waiter = select.poll()
            waiter.register(descriptor, select.POLLIN)
            waiter.poll(seconds * 1000)
        finally:
            os.close(descriptor)
        return process.poll() is not None
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    return process.returncode is not None


@functools.cache
def reasons() -> tuple[Confinement, tuple[str, ...]]:
    """Tell the strongest confinement that works here, and why each stronger one does not."""
    missing: list[str] = []
    for confinement in ("bubblewrap", "namespaces"):
        reason = _reason_against(confinement)
        if reason is None:
            return confinement, tuple(missing)
        missing.append(f"{confinement}: {reason}")
    return "limits", tuple(missing)


def _reason_against(confinement: Confinement) -> str | None:
    """Try it, and say what stands against it."""
    if sys.platform != "linux":
        return "only Linux has it"
    if confinement == "bubblewrap" and shutil.which("bwrap") is None:
        return "`bwrap` is not installed"
    with tempfile.TemporaryDirectory(prefix="dbimage-sandbox-") as scratch:
        sandbox = Sandbox(confinement=confinement, limits=Limits(seconds=10))
        try:
            ended = sandbox.run(
                ["/bin/sh", "-c", ":"], scratch=Path(scratch), environment={"PATH": "/usr/bin:/bin"}
            )
        except (InputError, ServiceError) as error:
            return error.message
    return None if ended.code == 0 else " ".join(ended.errors.split())[:200] or f"exit code {ended.code}"


@contextmanager
def _ended_at_last(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End a program with all that it started, whatever happens."""
    try:
        yield
    finally:
        if process.poll() is None:
            sandbox_usage.end(process.pid)
            process.kill()
            process.wait()


def _threads_of_machine() -> int:
    """Return how many threads this machine runs now: the kernel's limit is of all that a user runs."""
    try:
        return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
    except (OSError, ValueError, IndexError):
        return 0


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
