"""One owner for every path of an environment that conda packages and wheels fill together.

A path that a wheel and a conda package bring with the same content stays conda's; with other content it is
refused. Of two wheels that bring a path, the one that is installed later keeps it, as with pip: a
distribution comes after those that it needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from mlflow_dbimage.errors import MatchError
from mlflow_dbimage.locking.locked_packages import Decision, LockedWheel
from mlflow_dbimage.locking.package_owners import InstalledConda, WheelContents

_MOST_CONFLICTS_SHOWN = 20

Placed = Sequence[tuple[LockedWheel, WheelContents]]


def settle_paths(
    placed: Placed, installed: InstalledConda
) -> tuple[tuple[LockedWheel, ...], tuple[Decision, ...]]:
    """Return the wheels with the paths that each does not install, and what was decided.

    Args:
        placed: Each wheel and what is in it.
        installed: The conda part, without the packages that were left out.

    Raises:
        MatchError: `ownership-conflict`, with every conflict.
    """
    conflicts = list(_conflicts(placed, installed))
    if conflicts:
        raise MatchError("ownership-conflict", _conflict_text(conflicts), hint=_CONFLICT_HINT)
    contents = {wheel.name: each for wheel, each in placed}
    keepers = {file.path: (name, file) for name in _installation_order(contents) for file in contents[name].files}
    settled: list[LockedWheel] = []
    lost: dict[tuple[str, str], list[str]] = {}
    for wheel, each in placed:
        theirs = [file for file in each.files if file.path not in installed.paths]
        loses = [file for file in theirs if keepers[file.path][0] != wheel.name]
        for file in loses:
            keeper, kept = keepers[file.path]
            if kept.sha256 != file.sha256:
                lost.setdefault((keeper, wheel.name), []).append(file.path)
        omitted = {file.path for file in each.files if file.path in installed.paths}
        omitted |= {file.path for file in loses}
        settled.append(replace(wheel, omitted=tuple(sorted(omitted))))
    return tuple(settled), _decisions(lost)


def _conflicts(placed: Placed, installed: InstalledConda) -> Iterator[str]:
    for wheel, contents in placed:
        for file in contents.files:
            package, sha256 = installed.paths.get(file.path, (None, None))
            if package is not None and (file.sha256 is None or file.sha256 != sha256):
                yield f"`{file.path}`: of conda's {package} and of pip's {wheel.name} {wheel.version}"


_CONFLICT_HINT = "take these packages from conda only, or from pip only, in the model's environment file"


def _conflict_text(conflicts: Sequence[str]) -> str:
    shown = "\n  ".join(conflicts[:_MOST_CONFLICTS_SHOWN])
    more = len(conflicts) - _MOST_CONFLICTS_SHOWN
    rest = f"\n  and {more} more" if more > 0 else ""
    return f"conda and pip packages would write the same files:\n  {shown}{rest}"


def _decisions(lost: Mapping[tuple[str, str], Sequence[str]]) -> tuple[Decision, ...]:
    return tuple(
        Decision(
            distribution=paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more files",
            owner=keeper,
            reason=f"{loser} brings other content, and is installed before",
        )
        for (keeper, loser), paths in sorted(lost.items())
    )


def _installation_order(wheels: Mapping[str, WheelContents]) -> list[str]:
    """Return the names so that each comes after what it needs; in a circle, and else, by name."""
    order: dict[str, None] = {}
    begun: set[str] = set()
    stack = [(name, False) for name in sorted(wheels, reverse=True)]
    while stack:
        name, needs_done = stack.pop()
        if needs_done:
            order.setdefault(name)
        elif name not in begun:
            begun.add(name)
            needed = sorted(wheels[name].requires & wheels.keys() - begun, reverse=True)
            stack += [(name, True), *((each, False) for each in needed)]
    return list(order)
