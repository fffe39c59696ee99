"""What another lock has in the place of a base's."""

from __future__ import annotations

from mlflow_dbimage.lock_changes import changes
from mlflow_dbimage.locked_env import LockedEnv
from mlflow_dbimage.locking.locked_packages import CondaPackage, LockedWheel
from mlflow_dbimage.oci.descriptor import Platform


def conda(name: str, version: str = "1.0", build: str = "0", digit: str = "a") -> CondaPackage:
    file_name = f"{name}-{version}-{build}.conda"
    return CondaPackage(
        name=name,
        version=version,
        build=build,
        build_number=0,
        subdir="noarch",
        file_name=file_name,
        sha256=digit * 64,
        size=10,
        channel="conda-forge",
        canonical_url=f"https://conda.example/noarch/{file_name}",
        url=f"https://mirror.example/noarch/{file_name}",
    )


def wheel(name: str, version: str = "1.0", digit: str = "a", *omitted: str) -> LockedWheel:
    return LockedWheel(
        name=name,
        version=version,
        file_name=f"{name}-{version}-py3-none-any.whl",
        sha256=digit * 64,
        size=100,
        omitted=omitted,
    )


def lock(*packages: CondaPackage | LockedWheel) -> LockedEnv:
    return LockedEnv(
        platform=Platform("linux", "amd64"),
        python="3.11.7",
        conda=tuple(each for each in packages if isinstance(each, CondaPackage)),
        wheels=tuple(each for each in packages if isinstance(each, LockedWheel)),
    )


def test_equal_locks_keep_everything() -> None:
    found = changes(lock(conda("a"), wheel("b")), lock(conda("a"), wheel("b")))
    assert (found.kept, found.replaced, found.size) == (("a", "b"), 0, 0)


def test_every_kind_of_change_is_told() -> None:
    base = lock(conda("same"), conda("rebuilt"), conda("moved"), wheel("newer"), wheel("less"), wheel("gone"))
    new = lock(
        conda("same"),
        conda("rebuilt", build="1"),
        wheel("moved"),
        wheel("newer", "2.0", "b"),
        wheel("less", "1.0", "a", "lib/x.py"),
        wheel("more"),
    )
    found = changes(base, new)
    assert found.kept == ("same",)
    assert [(each.name, each.before, each.after) for each in found.changed] == [
        ("less", "1.0 of pip", "1.0 of pip"),
        ("moved", "1.0 0 of conda", "1.0 of pip"),
        ("newer", "1.0", "2.0"),
        ("rebuilt", "1.0 0 of conda", "1.0 1 of conda"),
    ]
    assert [each.name for each in found.added] == ["more"]
    assert found.gone == ("gone 1.0",)
    assert (found.base_packages, found.replaced, found.size) == (6, 5, 410)
    assert found.to_dict()["gone"] == ["gone 1.0"]
