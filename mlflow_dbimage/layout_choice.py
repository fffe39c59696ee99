"""Where an environment lies: alone beside what the base has, over a golden base's, or in the cluster's Python.

A layout decides what is solved: alone, with the versions that a golden base has, or beside those of the
cluster's Python. So the choice and the lock are made together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from mlflow_dbimage import base_environment, lock_changes
from mlflow_dbimage.base_environment import BaseEnvironment
from mlflow_dbimage.base_image import BaseImage
from mlflow_dbimage.base_record import BaseRecord
from mlflow_dbimage.cluster_lock import ClusterLock
from mlflow_dbimage.cluster_python import CLUSTER_PREFIX, ClusterPython, packages_place
from mlflow_dbimage.environment_spec import EnvironmentSpec
from mlflow_dbimage.errors import MatchError
from mlflow_dbimage.lock_changes import LockChanges
from mlflow_dbimage.locked_env import LockedEnv
from mlflow_dbimage.locking.locked_packages import Decision
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.packed_env import IMAGE_PREFIX


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutWish:
    """What a layout is chosen for."""

    wanted: str
    """`auto`, `isolated`, `overlay` or `cluster`."""
    environment: EnvironmentSpec
    base: BaseImage
    platform: Platform


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentLayout:
    """Where the environment lies, and the lock that was solved for there."""

    kind: str
    """`isolated`, `overlay` or `cluster`."""
    prefix: str
    """Where it is in the image."""
    locked: LockedEnv
    base: BaseEnvironment | None = None
    """What the base has of the environment already; None where it has nothing."""
    cluster: ClusterPython | None = None
    """The cluster's own Python, where the environment goes into it."""
    changes: LockChanges | None = None
    """How the lock differs from the base's."""
    hidden: tuple[str, ...] = ()
    """Paths of the base, relative to its root, that would be seen in the environment and are not of it."""
    notes: tuple[str, ...] = ()

    @property
    def brought(self) -> LockedEnv:
        """The lock without what the base has: what the layers of the image hold."""
        there = set(self.changes.kept) if self.changes is not None else set()
        return replace(
            self.locked,
            conda=tuple(each for each in self.locked.conda if each.name not in there),
            wheels=tuple(each for each in self.locked.wheels if each.name not in there),
        )

    @property
    def in_base(self) -> Mapping[str, str]:
        """By name, the versions of what the environment finds in the base beside what is locked."""
        found = self.cluster.distributions if self.cluster is not None else {}
        return {name: each.version for name, each in found.items()}

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Who owns what more than one package brings; that the base's own stays is none."""
        there = set(self.changes.kept) if self.changes is not None else set()
        return tuple(
            each for each in self.locked.decisions if each.owner != "conda" or each.distribution not in there
        )

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form of a plan."""
        described: dict[str, Any] = {"kind": self.kind, "prefix": self.prefix}
        return described if self.changes is None else {**described, **self.changes.to_dict()}


class LockFor(Protocol):
    """Solves the model's environment."""

    def __call__(self, kept: LockedEnv | None) -> LockedEnv:
        """Solve with the packages of `kept` in it, as far as the model lets them be; None for alone."""


class LockInCluster(Protocol):
    """Solves the model's environment beside what the cluster's own Python has."""

    def __call__(self) -> ClusterLock:
        """Solve.

        Raises:
            MatchError: `layout-impossible`, and as `cluster_lock.lock`.
        """


def choose(wish: LayoutWish, lock: LockFor, lock_in_cluster: LockInCluster) -> EnvironmentLayout:
    """Choose where the environment lies and solve it for there.

    `auto` is the overlay on a golden base that fits and of which most is kept, and else isolated.

    Raises:
        MatchError: `layout-impossible`, the base has nothing that the wanted layout needs; and as `lock`.
        InputError: `base-invalid`, the base says that it is a golden base, and its inventory cannot be read.
    """
    if wish.wanted == "isolated":
        return _isolated(wish, lock)
    if wish.wanted == "overlay":
        return _overlay(wish, lock)
    if wish.wanted == "cluster":
        return _in_cluster(lock_in_cluster())
    return _overlay_or_isolated(wish, lock)


def launcher_place(base: BaseImage) -> str | None:
    """Return where the launcher of jobs is laid, as a path in the image: into the cluster's own Python.

    None where the base has no such Python, or where it has the launcher already.
    """
    golden = BaseRecord.from_labels(base.image.labels)
    has_one = golden is not None and any(layer.kind == "launcher" for layer in golden.layers)
    return None if has_one else packages_place(base.parents)


def hidden_by_isolated(base: BaseImage) -> tuple[str, ...]:
    """Return what an isolated environment hides, as paths in the image: what a golden base has at its place."""
    golden = BaseRecord.from_labels(base.image.labels)
    return (IMAGE_PREFIX[1:],) if golden is not None and golden.environment_prefix == IMAGE_PREFIX else ()


def _isolated(wish: LayoutWish, lock: LockFor, notes: tuple[str, ...] = ()) -> EnvironmentLayout:
    """Lay the environment out alone."""
    return EnvironmentLayout(
        kind="isolated",
        prefix=IMAGE_PREFIX,
        locked=lock(None),
        hidden=hidden_by_isolated(wish.base),
        notes=notes,
    )


def _overlay(wish: LayoutWish, lock: LockFor) -> EnvironmentLayout:
    """Lay over the base's environment what differs, however much it is."""
    found = base_environment.read(wish.base.image)
    why_not = _why_no_overlay(wish, found)
    if found is None or why_not is not None:
        raise MatchError(
            "layout-impossible",
            f"no overlay can be laid on the base `{wish.base.reference}`: {why_not}",
            hint="name a golden base for the model's Python, build one, or let the environment be isolated",
        )
    return _laid_over(found, lock(found.locked))


def _overlay_or_isolated(wish: LayoutWish, lock: LockFor) -> EnvironmentLayout:
    found = base_environment.read(wish.base.image)
    if found is None:
        return _isolated(wish, lock)
    why_not = _why_no_overlay(wish, found)
    if why_not is not None:
        return _isolated(wish, lock, (f"the environment is isolated: {why_not}",))
    try:
        over = _laid_over(found, lock(found.locked))
    except MatchError as error:
        return _isolated_after(error, wish, lock)
    if over.changes is not None and _is_most(over.changes):
        return _isolated(wish, lock, (f"the environment is isolated: {_most(over.changes)}",))
    return over


def _isolated_after(error: MatchError, wish: LayoutWish, lock: LockFor) -> EnvironmentLayout:
    first = error.message.splitlines()[0]
    try:
        return _isolated(wish, lock, (f"the environment is isolated, since an overlay failed: {first}",))
    except MatchError:
        raise error from None  # what was wanted first is what people can mend


def _in_cluster(made: ClusterLock) -> EnvironmentLayout:
    return EnvironmentLayout(
        kind="cluster",
        prefix=CLUSTER_PREFIX,
        locked=made.locked,
        cluster=made.python,
        changes=made.changes,
        hidden=made.hidden,
    )


def _why_no_overlay(wish: LayoutWish, found: BaseEnvironment | None) -> str | None:
    if found is None:
        return "it is no golden base"
    if found.locked.python_minor != wish.environment.python_minor:
        return f"it has Python {found.locked.python_minor}, and the model needs {wish.environment.python_minor}"
    if not wish.platform.accepts(found.locked.platform):
        return f"its environment is for {found.locked.platform}, and {wish.platform} is wanted"
    return None


def _laid_over(found: BaseEnvironment, locked: LockedEnv) -> EnvironmentLayout:
    changes = lock_changes.changes(found.locked, locked)
    return EnvironmentLayout(
        kind="overlay",
        prefix=found.prefix,
        locked=locked,
        base=found,
        changes=changes,
        notes=(_most(changes),) if _is_most(changes) else (),
    )


def _is_most(changes: LockChanges) -> bool:
    return 2 * changes.replaced > changes.base_packages


def _most(changes: LockChanges) -> str:
    return (
        f"the model changes {changes.replaced} of the {changes.base_packages} packages of the golden base,"
        " so that little of it is of use"
    )
