"""What another lock has in the place of a base's: packages kept, changed, added and gone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mlflow_dbimage.locked_env import LockedEnv


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageChange:
    """A package that both locks have, and not the same of it."""

    name: str
    before: str
    """Version of the base's; where only the build differs, with the build."""
    after: str
    size: int | None
    """Of the new archive, in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedPackage:
    """A package that only the new lock has."""

    name: str
    version: str
    size: int | None
    """Of the archive, in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockChanges:
    """How one lock differs from its base; each in the order of the names."""

    kept: tuple[str, ...]
    changed: tuple[PackageChange, ...]
    added: tuple[AddedPackage, ...]
    gone: tuple[str, ...]
    """Name and version."""

    @property
    def size(self) -> int:
        """Bytes of the archives of what is new, as far as they are known."""
        return sum(each.size or 0 for each in self.changed) + sum(each.size or 0 for each in self.added)

    @property
    def base_packages(self) -> int:
        """How many packages the base has."""
        return len(self.kept) + len(self.changed) + len(self.gone)

    @property
    def replaced(self) -> int:
        """How many of the base's packages are changed or gone."""
        return len(self.changed) + len(self.gone)

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        return {
            "kept": len(self.kept),
            "changed": [
                {"name": each.name, "from": each.before, "to": each.after, "size": each.size}
                for each in self.changed
            ],
            "added": [{"name": each.name, "version": each.version, "size": each.size} for each in self.added],
            "gone": list(self.gone),
            "size": self.size,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Package:
    name: str
    version: str
    build: str
    identity: tuple[str, ...]
    size: int | None


def changes(base: LockedEnv, new: LockedEnv) -> LockChanges:
    """Compare two locks, package by package; a package may move from conda to pip."""
    before = {each.name: each for each in _packages(base)}
    after = {each.name: each for each in _packages(new)}
    both = sorted(before.keys() & after.keys())
    same = {name for name in both if before[name].identity == after[name].identity}
    return LockChanges(
        kept=tuple(name for name in both if name in same),
        changed=tuple(_change(before[name], after[name]) for name in both if name not in same),
        added=tuple(
            AddedPackage(name=name, version=after[name].version, size=after[name].size)
            for name in sorted(after.keys() - before.keys())
        ),
        gone=tuple(f"{name} {before[name].version}" for name in sorted(before.keys() - after.keys())),
    )


def _packages(locked: LockedEnv) -> Iterator[_Package]:
    for package in locked.conda:
        identity = ("conda", package.version, package.build, package.sha256)
        build = f"{package.build} of conda"
        yield _Package(
            name=package.name, version=package.version, build=build, identity=identity, size=package.size
        )
    for wheel in locked.wheels:
        of_pip = ("pip", wheel.version, wheel.sha256, *wheel.omitted)
        yield _Package(name=wheel.name, version=wheel.version, build="of pip", identity=of_pip, size=wheel.size)


def _change(before: _Package, after: _Package) -> PackageChange:
    differs = before.version != after.version
    return PackageChange(
        name=after.name,
        before=before.version if differs else f"{before.version} {before.build}",
        after=after.version if differs else f"{after.version} {after.build}",
        size=after.size,
    )
