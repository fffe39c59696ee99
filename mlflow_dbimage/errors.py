"""What can go wrong, as one family of plain exceptions.

    DbimageError              base of all; never raised itself
    ├── UsageError            the request is malformed: unknown key, bad value, bad location          exit 2
    ├── InputError            what the request names is wrong: model, base, name, configuration       exit 3
    ├── MatchError            no runtime, package or solution fits                                    exit 4
    ├── ServiceError          a registry, channel, index, engine, disk or program failed              exit 5
    └── VerificationError     what was made is not what it should be                                  exit 6

Any other exception that reaches a door is a bug and exits with 1.

Each error carries a stable `code` of `CODES`, so that programs need not read texts. The text says what is
wrong, which thing it is, why, and `hint` what to do next. The core never names a flag: hints speak of the
thing ("name another base image"), and a door may add its own words.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

#: Every stable error code and what it means; `docs/errors.md` has the same table.
CODES: dict[str, str] = {
    # UsageError
    "unknown-key": "a configuration key that does not exist",
    "bad-value": "a value that its key cannot take",
    "bad-location": "an image location of no known form",
    "bad-name": "a deployment name that no tag or repository can hold",
    "bad-model-uri": "a model URI of no known form",
    "not-supported": "an operation that this plugin does not offer",
    # InputError
    "bad-config-file": "a configuration file that cannot be read",
    "model-not-found": "the model, version, alias, stage or run does not exist",
    "model-invalid": "the model directory is not a readable MLflow model",
    "model-unsafe": "the model directory holds what must not go into an image, or leaves its directory",
    "model-stopped": "the model's code used more time, memory or disk than it may",
    "model-environment-missing": "the model names no environment",
    "model-environment-invalid": "the model's environment file cannot be understood",
    "model-pickle-mismatch": "the environment lacks the Python or cloudpickle that made the model's pickle",
    "environment-file-invalid": "an environment file cannot be understood",
    "already-deployed": "a deployment of that name exists",
    "no-evidence": "the image has no bill of materials, statement or signature of that kind",
    "not-deployed": "no deployment of that name exists",
    "base-not-found": "the base image does not exist",
    "base-invalid": "the base image cannot be read",
    "base-platform": "the base image has no variant for the wanted platform",
    "bad-advisories": "advisories that cannot be read",
    "bad-key": "a key for signatures that cannot be read",
    "cannot-rebase": "the image cannot be laid on another base as it is",
    "cannot-reproduce": "the image cannot be built again from what it says of itself",
    "cannot-run-on-cluster": "no Databricks cluster can pull or run the image",
    "bad-package-list": "a list of packages that cannot be understood, or pins them loosely",
    "event-invalid": "a registry's event cannot be read",
    "secret-missing": "a file that should have a secret has none",
    "webhook-not-found": "the tracking server has no webhook with that ID",
    "build-not-found": "no build of the service has that number",
    "bad-expected-output": "expected predictions that cannot be read",
    "scoring-input": "the rows to score cannot be read or do not fit the model",
    # MatchError
    "unknown-runtime": "a runtime that the catalogue does not have",
    "runtime-mismatch": "the runtime does not fit the model",
    "layout-impossible": "the base or the model does not fit the wanted place of the environment",
    "unsolvable": "no set of packages satisfies the requirements",
    "package-not-found": "no channel or index has a package",
    "base-drift": "packages of a golden base cannot be had as they are listed",
    "wrong-platform": "a package cannot be had for the wanted platform",
    "ownership-conflict": "two packages would write the same file",
    # ServiceError
    "registry-unreachable": "the container registry cannot be reached",
    "registry-denied": "the container registry refused the credentials",
    "registry-failed": "the container registry answered with an error",
    "channel-failed": "a conda channel cannot be read",
    "index-failed": "a package index cannot be read",
    "store-failed": "MLflow's store cannot be read",
    "engine-failed": "the Docker engine failed or is missing",
    "program-failed": "a program that was started failed or is missing",
    "no-sandbox": "code of models cannot be kept apart from this machine",
    "signing-failed": "the service that keeps a key did not sign",
    "advisories-failed": "the service of advisories does not answer",
    "disk-failed": "a file cannot be written",
    "listen-failed": "the service cannot listen where it shall",
    "database-failed": "the service's database cannot be reached, read or written",
    "queue-failed": "the service's queue cannot be reached",
    "worker-lost": "the process of a build, or its worker, ended without a word",
    "build-timeout": "a build took longer than it may",
    "offline": "something is needed that no cache has, and the network may not be used",
    # VerificationError
    "digest-mismatch": "bytes do not have the digest that they should have",
    "image-invalid": "an image breaks a rule of its format",
    "not-trusted": "the image does not meet a demand of the policy",
    "vulnerable": "the image has vulnerabilities of the severity that was given, or worse",
    "scoring-failed": "the image ran but did not score",
    "not-proven": "the image did not pass its verification, so no name was moved to it",
    "not-reproduced": "the image differs from what its record and lock files give",
    "contract-broken": "an image lacks what clusters of its runtime need",
}


class DbimageError(Exception):
    """Base of all errors of this project.

    Args:
        code: A key of `CODES`.
        message: What is wrong, with which thing, and why; one line without a full stop, or several lines. It may
            name what others named: what commands terminals is taken out.
        hint: What to do next, or None.
        details: What programs may want to know besides, by name, as JSON takes it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self, code: str, message: str, *, hint: str | None = None, details: Mapping[str, Any] | None = None
    ) -> None:
        assert code in CODES, f"undeclared error code {code!r}"
        self.message = "".join(each if each.isprintable() or each in "\n\t" else "\ufffd" for each in message)
        super().__init__(self.message)
        self.code = code
        self.hint = hint
        self.details = dict(details or {})

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n\nhint: {self.hint}"


class UsageError(DbimageError):
    """The request is malformed."""

    exit_code = 2


class InputError(DbimageError):
    """What the request names is wrong."""

    exit_code = 3


class MatchError(DbimageError):
    """Nothing fits: no runtime, no package, no solution."""

    exit_code = 4


class ServiceError(DbimageError):
    """A service or program outside failed."""

    exit_code = 5


class VerificationError(DbimageError):
    """What was made or read is not what it should be."""

    exit_code = 6


#: What the operating system says when it is the disk, not us: full, over quota, read-only, forbidden, broken.
_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO})

_DISK_WORDS = re.compile(r"No space left on device|Disk quota exceeded|Read-only file system")
_DISK_HINT = "free some space, or move the cache to another disk"


def said_of_disk(text: str) -> ServiceError | None:
    """Return the error that a program or library means when it says that the disk is full or read-only."""
    line = next((line for line in text.splitlines() if _DISK_WORDS.search(line)), None)
    if line is None:
        return None
    return ServiceError("disk-failed", f"cannot write: {line.strip()}", hint=_DISK_HINT)


@contextmanager
def disk_errors() -> Iterator[None]:
    """Turn what the operating system says of the disk into a `ServiceError`; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        place = f" at `{error.filename}`" if error.filename else ""
        raise ServiceError(
            "disk-failed",
            f"cannot write{place}: {error.strerror}",
            hint=_DISK_HINT,
        ) from error
