"""What markers of requirements ask about: the Python and the machine of the target, never those of this machine.

Source: PEP 508, "Environment markers".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

from mlflow_dbimage.oci.descriptor import Platform

#: What Python and wheel tags call the processors of images.
MACHINES: Mapping[str, str] = {
    "amd64": "x86_64",
    "arm64": "aarch64",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
}


def markers_of(python: str, platform: Platform) -> dict[str, str]:
    """Return the values of all markers, without an extra.

    Args:
        python: Version of the target's Python, with or without its patch.
        platform: Of the target. Which kernel it will have is not known.
    """
    full = python if python.count(".") > 1 else f"{python}.0"
    return {
        "extra": "",
        "implementation_name": "cpython",
        "implementation_version": full,
        "os_name": "posix",
        "platform_machine": MACHINES.get(platform.architecture, platform.architecture),
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": full,
        "python_version": ".".join(python.split(".")[:2]),
        "sys_platform": "linux",
    }


def applies(requirement: Requirement, markers: Mapping[str, str]) -> bool:
    """Whether a requirement counts on the target.

    Raises:
        ValueError: Its marker asks for what no target has, or compares what cannot be compared.
    """
    return requirement.marker is None or requirement.marker.evaluate(dict(markers))


def applying(lines: Iterable[str], markers: Mapping[str, str]) -> Iterator[Requirement]:
    """Yield the requirements of a distribution's metadata that count on the target; what is none is left out."""
    for line in lines:
        try:
            requirement = Requirement(line)
            counts = applies(requirement, markers)
        except (InvalidRequirement, UndefinedEnvironmentName, UndefinedComparison):
            continue  # such as `'a' in extras`, of locks alone, or `os_name ~= 'posix'`
        if counts:
            yield requirement


def allows(requirement: Requirement, version: str) -> bool:
    """Whether a requirement takes a version; one that cannot be compared is not held against it."""
    try:
        return requirement.specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return True
