"""A build that a worker has begun: its process, its lease, its deadline, and how it ends."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass

from mlflow_dbimage.service.build import Build
from mlflow_dbimage.service.build_process import BuildProcess, Done, Failed, Lines, Message, Moved, Naming, Stage
from mlflow_dbimage.service.intake import Service
from mlflow_dbimage.settings import Settings

_LONGEST_WAIT = 1800.0
_RENEW = 1.0  # so soon a build that is to be cancelled is stopped


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a worker may do; all times in seconds."""

    builds: int
    """At a time."""
    lease: float
    timeout: float
    attempts: int
    retry: float
    """Before the second attempt; twice as long before each further one."""
    grace: float
    """For builds to end when the worker is to stop."""

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """Return those of the settings."""
        return cls(
            builds=settings.worker_builds,
            lease=settings.build_lease,
            timeout=settings.build_timeout,
            attempts=settings.build_attempts,
            retry=settings.build_retry,
            grace=settings.worker_grace,
        )


class RunningBuild:
    """One build in the hands of a worker.

    What the process said is kept until the database has it: a database that is away for a while loses nothing.

    Args:
        build: As its worker took it.
        process: That makes it.
        service: The table to report to.
        limits: Of the worker.
        now: Seconds of a clock that only goes forward.
    """

    def __init__(self, build: Build, process: BuildProcess, service: Service, limits: Limits, now: float) -> None:
        self.build = build
        self._process = process
        self._worker = build.worker or ""
        self._service = service
        self._limits = limits
        self._deadline = now + limits.timeout
        self._renew_at = now
        self._unsaid: deque[Message] = deque()
        self._outcome: Message | None = None
        self._is_ours = True
        self._cancelling = False
        self._is_asking = False

    def turn(self, now: float) -> bool:
        """Report what the process said, hold the lease, and say whether the build is over here.

        Raises:
            ServiceError: `database-failed`; the same turn may be taken again.
        """
        self._hear()
        self._check_time(now)
        self._report()
        self._renew(now)
        if not self._process.has_ended() or self._unsaid:
            return False
        if self._is_ours:
            self._end()
        self._process.close()
        return True

    def stop(self) -> None:
        """Have the process end, because the worker does."""
        self._process.stop()

    def is_over(self) -> bool:
        """Whether the process has ended, and all that it said was heard."""
        self._hear()
        return self._process.has_ended()

    def hand_back(self) -> None:
        """Give the build up, for another worker, unless it has just been made.

        Raises:
            ServiceError: `database-failed`.
        """
        self._hear()
        self._report()
        if isinstance(self._outcome, Done):
            self._end()
        else:
            self._service.builds.hand_back(self.build.id, self._worker)
        self._process.close()

    def _hear(self) -> None:
        for message in self._process.heard():
            if isinstance(message, Stage | Lines):
                self._unsaid.append(message)
            elif isinstance(message, Naming):
                self._is_asking = True
            else:
                self._outcome = message

    def _check_time(self, now: float) -> None:
        if now < self._deadline or isinstance(self._outcome, Failed):
            return
        text = f"it took longer than {self._limits.timeout:.0f} seconds"
        self._outcome = self._outcome or Failed(code="build-timeout", text=text, may_pass=False)
        self._process.stop()

    def _report(self) -> None:
        """Tell the table all lines and the last stage."""
        builds = self._service.builds
        stages = [each for each in self._unsaid if isinstance(each, Stage)]
        lines = [each for each in self._unsaid if isinstance(each, Lines)]
        if lines:
            self._service.logs.append(self.build.id, "".join(each.text for each in lines))
        self._unsaid = deque(stages)
        if stages and self._is_ours:
            builds.report_stage(self.build.id, self._worker, stages[-1].text)
        self._unsaid.clear()

    def _renew(self, now: float) -> None:
        if not self._is_ours or (now < self._renew_at and not self._is_asking):
            return
        answer = self._service.builds.renew(self.build.id, self._worker, self._limits.lease)
        self._renew_at = now + min(self._limits.lease / 3, _RENEW)
        if answer == "held":
            if self._is_asking:  # with a lease this fresh, nobody else has begun the build
                self._process.allow()
            self._is_asking = False
            return
        self._is_ours = answer == "cancel"
        self._cancelling = answer == "cancel"
        self._process.stop()

    def _end(self) -> None:
        builds, build, outcome = self._service.builds, self.build, self._outcome
        if isinstance(outcome, Done):
            builds.finish(build.id, self._worker, outcome.receipt)
        elif self._cancelling:
            builds.cancelled(build.id, self._worker)
        elif isinstance(outcome, Moved):
            self._service.logs.append(build.id, f"{outcome.text}\n")
            builds.supersede(build.id, self._worker)
        else:
            self._fail(outcome if isinstance(outcome, Failed) else _DIED)

    def _fail(self, failed: Failed) -> None:
        again = failed.may_pass and self.build.attempts < self._limits.attempts
        wait = self._wait() if again else None
        note = f"; the next try is in {wait:.0f} s" if wait is not None else ""
        self._service.logs.append(self.build.id, f"error: {failed.text} [{failed.code}]{note}\n")
        self._service.builds.fail(self.build.id, self._worker, failed.code, failed.text, retry_in=wait)

    def _wait(self) -> float:
        """How long before the next try, a little at random so that builds that failed together part."""
        doubled = self._limits.retry * 2.0 ** min(self.build.attempts - 1, 20)
        return float(min(doubled, _LONGEST_WAIT) * random.uniform(0.8, 1.2))  # noqa: S311


_DIED = Failed(
    code="worker-lost", text="the process of the build ended without a word: it was killed", may_pass=True
)
