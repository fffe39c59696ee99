"""The files that a lock is written to: conda's explicit list, `pylock.toml`, and our own record with URLs.

The first two are standard, go into the image, and are the same through every mirror. The record keeps where
everything was found, so that a lock can be installed again without solving; it stays in our cache.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import tomli_w

from mlflow_dbimage.locking.field_checks import checked_conda, checked_decision, checked_lines, checked_wheel
from mlflow_dbimage.locking.locked_packages import ClusterPart, CondaPackage, Decision, LockedWheel, WheelSource

_Value = TypeVar("_Value", CondaPackage, Decision, LockedWheel, WheelSource)


def conda_explicit(packages: Sequence[CondaPackage], platform: str) -> str:
    """Write conda's explicit list, with a sha256 for each package.

    Source: conda's documentation, "Managing environments", explicit specification files; the `#sha256:`
    form is conda's since 23.x and rattler's.

    Args:
        packages: In any order; they are written in the order of their names.
        platform: conda's name of the platform, such as `linux-64`.
    """
    lines = ["# This file may be used to create an environment using:"]
    lines += ["# $ conda create --name <env> --file <this file>", f"# platform: {platform}", "@EXPLICIT"]
    lines += [f"{each.canonical_url}#sha256:{each.sha256}" for each in _by_name(packages)]
    return "\n".join(lines) + "\n"


def pylock(wheels: Sequence[LockedWheel], python: str) -> str:
    """Write `pylock.toml` with wheels by file name and hash.

    It has no URL, so that the index and its mirrors do not change the file: installers look for the wheels
    beside it.

    Source: PEP 751, version 1.0.

    Args:
        wheels: In any order.
        python: The minor version that the wheels are for.
    """
    document = {
        "lock-version": "1.0",
        "requires-python": f"=={python}.*",
        "created-by": "mlflow-dbimage",
        "packages": [
            {"name": each.name, "version": each.version, "wheels": [_pylock_wheel(each)]}
            for each in sorted(wheels, key=lambda wheel: wheel.name)
        ],
    }
    return tomli_w.dumps(document)


def _pylock_wheel(wheel: LockedWheel) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": wheel.file_name, "path": wheel.file_name}
    if wheel.size is not None:
        entry["size"] = wheel.size
    return {**entry, "hashes": {"sha256": wheel.sha256}}


def conda_record(package: CondaPackage) -> dict[str, Any]:
    """Give the JSON form of a conda package."""
    return dataclasses.asdict(package)


def wheel_record(wheel: LockedWheel) -> dict[str, Any]:
    """Give the JSON form of a wheel."""
    return dataclasses.asdict(wheel)


def decision_record(decision: Decision) -> dict[str, Any]:
    """Give the JSON form of a decision."""
    return dataclasses.asdict(decision)


def cluster_record(part: ClusterPart) -> dict[str, Any]:
    """Give the JSON form of what a lock leaves to the base."""
    return {
        "kept": dict(part.kept),
        "superseded": list(part.superseded),
        "builder": [conda_record(package) for package in part.builder],
    }


def read_conda(data: Mapping[str, Any]) -> CondaPackage:
    """Read what `conda_record` gave.

    Raises:
        ValueError: A field is missing or unknown, or has another form than ours.
    """
    return checked_conda(_made(CondaPackage, data))


def read_wheel(data: Mapping[str, Any]) -> LockedWheel:
    """Read what `wheel_record` gave.

    Raises:
        ValueError: A field is missing or unknown, or has another form than ours.
    """
    if not isinstance(data, Mapping) or not isinstance(data.get("omitted", ()), (list, tuple)):
        raise ValueError("not the record of a LockedWheel")
    source = data.get("built_from")
    fields = {
        **data,
        "omitted": tuple(data.get("omitted", ())),
        "built_from": None if source is None else _made(WheelSource, source),
    }
    return checked_wheel(_made(LockedWheel, fields))


def read_decision(data: Mapping[str, Any]) -> Decision:
    """Read the JSON form of a decision.

    Raises:
        ValueError: A field is missing or unknown, or is no line of text.
    """
    return checked_decision(_made(Decision, data))


def read_cluster(data: Mapping[str, Any]) -> ClusterPart:
    """Read what `cluster_record` gave.

    Raises:
        KeyError: A field is missing.
        ValueError: A package of the builder has an unknown field, or a field has another form than ours.
    """
    kept = dict(data["kept"])
    checked_lines((*kept, *kept.values()))
    return ClusterPart(
        kept=kept,
        superseded=checked_lines(data["superseded"]),
        builder=tuple(read_conda(each) for each in data["builder"]),
    )


def identity(conda: Iterable[CondaPackage], wheels: Iterable[LockedWheel]) -> list[list[str]]:
    """Give what identifies the packages of a lock: name, version, build and hash, and never a URL."""
    return [
        *(["conda", each.name, each.version, each.build, each.sha256] for each in _by_name(conda)),
        *(
            ["pip", each.name, each.version, each.sha256, *each.omitted]
            for each in sorted(wheels, key=lambda wheel: wheel.name)
        ),
    ]


def cluster_identity(python: str, part: ClusterPart) -> dict[str, Any]:
    """Give what identifies the base's part of an environment, and what its modules are compiled with."""
    return {
        "python": python,
        "kept": sorted(part.kept.items()),
        "superseded": list(part.superseded),
        "builder": identity(part.builder, ()),
    }


def _by_name(packages: Iterable[CondaPackage]) -> list[CondaPackage]:
    return sorted(packages, key=lambda package: package.name)


def _made(kind: type[_Value], data: Mapping[str, Any]) -> _Value:
    try:
        return kind(**data)
    except TypeError as error:
        raise ValueError(f"not the record of a {kind.__name__}: {error}") from None
