"""What a command costs: wall time, CPU time, memory of all its processes, bytes written."""

from __future__ import annotations

import os
import resource
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
_SECONDS_BETWEEN_LOOKS = 0.03


class CommandFailed(Exception):
    """A command of the benchmark ended as it should not; the text has the end of what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What something cost."""

    seconds: float
    cpu: float
    """CPU seconds of the command and of all that it started and waited for."""
    machine: float
    """CPU seconds of the whole machine meanwhile: a registry's and an engine's too, and any neighbour's."""
    memory: int | None
    """Peak of the resident bytes of all its processes together; pages that they share count once. None where this
    process did it, which holds other things too."""
    written: int | None
    """Bytes that the command's processes sent to disks; None where the kernel does not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A command that ended well."""

    usage: Usage
    output: str
    said: str
    """What it wrote to the standard error."""


def run(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    cores: frozenset[int] | None = None,
) -> Finished:
    """Run a command to its end.

    Args:
        command: Its words.
        environment: Its variables; by default this process's.
        directory: Its working folder.
        cores: The cores that it may run on; by default all.

    Raises:
        CommandFailed: It did not end with 0.
    """
    process = subprocess.Popen(
        command,
        env=environment,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=None if cores is None else lambda: os.sched_setaffinity(0, cores),  # noqa: PLW1509
    )
    with metered(process.pid) as usages:
        output, said = process.communicate()
    if process.returncode != 0:
        words = " ".join(command)
        raise CommandFailed(f"`{words[:300]}` ended with {process.returncode}:\n{(said + output)[-3000:]}")
    return Finished(usage=usages[0], output=output, said=said)


@contextmanager
def metered(process: int | None = None) -> Iterator[list[Usage]]:
    """Measure what is done in the context; the usage is in the list after it.

    Args:
        process: A child that does it, and is waited for in the context; by default this process does it.
    """
    usages: list[Usage] = []
    watch = None if process is None else _MemoryWatch(process)
    whose = (resource.RUSAGE_CHILDREN,) if process else (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    before, machine, written, started = _cpu(whose), _machine_cpu(), _written(), time.monotonic()
    if watch is not None:
        watch.start()
    try:
        yield usages
    finally:
        seconds = time.monotonic() - started
        if watch is not None:
            watch.stop()
        now_written = _written()
        usages.append(
            Usage(
                seconds=seconds,
                cpu=_cpu(whose) - before,
                machine=_machine_cpu() - machine,
                memory=None if watch is None else watch.peak,
                written=None if written is None or now_written is None else now_written - written,
            )
        )


def together(*usages: Usage) -> Usage:
    """Add up steps that were done one after another."""
    written = [each.written for each in usages if each.written is not None]
    return Usage(
        seconds=sum(each.seconds for each in usages),
        cpu=sum(each.cpu for each in usages),
        machine=sum(each.machine for each in usages),
        memory=max((each.memory for each in usages if each.memory is not None), default=None),
        written=sum(written) if len(written) == len(usages) else None,
    )


def _cpu(whose: Sequence[int]) -> float:
    """Return CPU seconds of this process, or of its children that ended, or both."""
    spent = (resource.getrusage(who) for who in whose)
    return sum(each.ru_utime + each.ru_stime for each in spent)


def _machine_cpu() -> float:
    try:
        words = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return 0.0
    user, nice, system, _idle, _waiting, hard, soft = (int(word) for word in words[:7])
    return (user + nice + system + hard + soft) / _TICKS


def _written() -> int | None:
    """Return bytes that this process and its children that ended sent to disks: the kernel adds theirs to ours."""
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return None
    counts = dict(line.split(": ") for line in lines)
    return int(counts["write_bytes"]) - int(counts["cancelled_write_bytes"])


class _MemoryWatch(threading.Thread):
    """Looks at the memory of a process and all that it started, again and again."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self._process = process
        self._stopped = threading.Event()

    def run(self) -> None:
        """Look until told to stop."""
        while not self._stopped.wait(_SECONDS_BETWEEN_LOOKS):
            self.peak = max(self.peak, resident(self._process))

    def stop(self) -> None:
        """End."""
        self._stopped.set()
        self.join()


def resident(process: int) -> int:
    """Return the resident bytes of a process and all that it started; the most that one shares counts once."""
    own, shared = 0, [0]
    waiting = [process]
    while waiting:
        each = waiting.pop()
        try:
            words = Path(f"/proc/{each}/statm").read_text().split()
            for task in Path(f"/proc/{each}/task").iterdir():
                waiting += [int(child) for child in (task / "children").read_text().split()]
        except (OSError, ValueError):
            continue  # it ended meanwhile
        own += int(words[1]) - int(words[2])
        shared.append(int(words[2]))
    return (own + max(shared)) * _PAGE
