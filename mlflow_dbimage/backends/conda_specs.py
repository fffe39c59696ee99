"""What rattler is asked: specifications, from the most exact on, and the target as virtual packages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import rattler
from rattler.exceptions import InvalidMatchSpecError

from mlflow_dbimage.backends.conda_records import Channel
from mlflow_dbimage.errors import InputError
from mlflow_dbimage.locking.environment_solver import CondaRequest

#: The names that conda and wheels have for processors, by conda platform.
_ARCHSPEC = {
    "linux-64": "x86_64",
    "linux-aarch64": "aarch64",
    "linux-ppc64le": "ppc64le",
    "linux-s390x": "s390x",
}

#: Of the kernel; no package that models use asks for a newer one.
_LINUX = "5.10"


def attempts(request: CondaRequest) -> Iterator[tuple[str, datetime | None, str | None]]:
    """Yield Python specification, time, and the note to make if it works, from the most exact on."""
    minor = ".".join(request.python.split(".")[:2])
    pythons = [request.python] if request.python == minor else [request.python, minor]
    if request.kept_python is not None:
        pythons = [request.kept_python, *(python for python in pythons if python != request.kept_python)]
    times = [request.exclude_newer] if request.exclude_newer is None else [request.exclude_newer, None]
    for newest in times:
        for python in pythons:
            notes = []
            if python == request.kept_python:
                if request.python not in (python, minor):
                    notes.append(
                        f"the base's Python {python} is kept, where the model was made with {request.python}"
                    )
            elif python != request.python:
                notes.append(f"no channel fits Python {request.python}; another {minor} is taken")
            if newest != request.exclude_newer:
                notes.append(
                    f"conda packages are solved as of today: none fit as of {request.exclude_newer:%Y-%m-%d}"
                )
            yield f"python {python}.*", newest, "; ".join(notes) or None


def specifications(request: CondaRequest, channels: Sequence[Channel]) -> list[str]:
    """Return the requirements as rattler reads them, with the URL of a channel in the place of its name.

    What the base's own installers meet is left out.

    Raises:
        InputError: `model-environment-invalid`.
    """
    specs: list[str] = []
    problems: list[str] = []
    for requirement in request.requirements:
        channel, mark, rest = requirement.text.rpartition("::")
        url = next((each.url for each in channels if each.name == channel), None)
        text = f"{url}::{rest}" if mark and url else requirement.text
        try:
            if not _is_met(rattler.MatchSpec(text), request.kept_installers):
                specs.append(text)
        except InvalidMatchSpecError as error:
            reason = str(error).splitlines()[0]
            problems.append(f"{requirement.origin}: `{requirement.text}`: {reason}")
    if problems:
        raise InputError(
            "model-environment-invalid", "conda cannot understand these lines:\n  " + "\n  ".join(problems)
        )
    return specs


def _is_met(spec: rattler.MatchSpec, installers: Mapping[str, str]) -> bool:
    name = spec.name
    version = None if name is None else installers.get(name.normalized)
    if name is None or version is None:
        return False
    build = rattler.BuildString("0")
    return bool(spec.matches(rattler.PackageRecord(name.normalized, version, build, 0, "noarch")))


def virtual_packages(request: CondaRequest) -> list[rattler.GenericVirtualPackage]:
    """Describe the target, as the base image has it, and nothing of this machine."""
    described = [
        ("__glibc", request.glibc, "0"),
        ("__linux", _LINUX, "0"),
        ("__unix", "0", "0"),
        ("__archspec", "1", _ARCHSPEC[request.platform]),
    ]
    return [
        rattler.GenericVirtualPackage(
            rattler.PackageName(name), rattler.Version(version), rattler.BuildString(build)
        )
        for name, version, build in described
    ]
