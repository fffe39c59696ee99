"""What a base's wheels become in an environment on top of it: taken, replaced, or left beside what is resolved.

The rule is that of conda's packages: what the model asks for and what that needs is resolved, with the base's
versions before all others. What else the base has stays as it is, even where it asks for other versions than the
model has. A note says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from packaging.utils import canonicalize_name

from mlflow_dbimage.locking.locked_packages import LockedWheel
from mlflow_dbimage.locking.package_owners import InstalledConda, ResolvedDistribution, WheelContents
from mlflow_dbimage.target_markers import allows, applying


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedWheels:
    """What a base's wheels are for."""

    serving: tuple[LockedWheel, ...]
    """Those that are what was resolved to."""
    beside: tuple[LockedWheel, ...]
    """Those of which nothing was resolved."""


def share(
    resolved: Sequence[ResolvedDistribution], kept: Sequence[LockedWheel], installed: InstalledConda
) -> SharedWheels:
    """Share a base's wheels out; those that are replaced are in neither part.

    What a conda package of the environment brings is not left as a wheel. Who installs which path is settled
    anew.
    """
    wanted = {each.name: each for each in resolved}
    serving: list[LockedWheel] = []
    beside: list[LockedWheel] = []
    for wheel in kept:
        fresh = replace(wheel, omitted=())
        distribution = wanted.get(wheel.name)
        if distribution is None and wheel.name not in installed.distributions:
            beside.append(fresh)
        elif distribution is not None and not distribution.direct and distribution.version == wheel.version:
            serving.append(fresh)
    return SharedWheels(serving=tuple(serving), beside=tuple(beside))


def contradictions(
    beside: Sequence[tuple[LockedWheel, WheelContents]],
    before: Mapping[str, str],
    after: Mapping[str, str],
    markers: Mapping[str, str],
) -> tuple[str, ...]:
    """Say which of the base's wheels no longer have what they need, and had it in the base.

    Args:
        beside: Wheels that were left as they are, and what is in them.
        before: By name, the versions in the base.
        after: By name, the versions in the environment.
        markers: Of the target; requirements may depend on them.
    """
    changed = {name for name in before.keys() & after.keys() if before[name] != after[name]}
    return tuple(
        f"the base's {wheel.name} {wheel.version} needs `{requirement}`, and the model has {after[name]}:"
        " it stays as it is, and may not work"
        for wheel, contents in beside
        for requirement in applying(contents.requirements, markers)
        if (name := canonicalize_name(requirement.name)) in changed
        and allows(requirement, before[name])
        and not allows(requirement, after[name])
    )
