from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.errors import MatchError
from mlflow_dbimage.locking.locked_packages import LockedWheel
from mlflow_dbimage.locking.package_owners import InstalledConda, PlacedFile, WheelContents
from mlflow_dbimage.locking.path_owners import settle_paths

NOTHING = InstalledConda(distributions={}, paths={})


def wheel(name: str, files: dict[str, str | None], requires: tuple[str, ...] = ()):
    locked = LockedWheel(name=name, version="1", file_name=f"{name}.whl", sha256="0", size=1)
    placed = tuple(PlacedFile(scheme="purelib", path=path, sha256=sha) for path, sha in files.items())
    return locked, WheelContents(files=placed, requires=frozenset(requires))


def test_the_same_file_of_conda_stays_condas() -> None:
    conda = InstalledConda(distributions={}, paths={"bin/x": ("xpkg", "1")})
    settled, decisions = settle_paths([wheel("a", {"bin/x": "1", "a.py": "2"})], conda)
    assert settled[0].omitted == ("bin/x",)
    assert decisions == ()


def test_every_conflict_with_conda_is_listed() -> None:
    conda = InstalledConda(distributions={}, paths={"x": ("xpkg", "1"), "y": ("ypkg", None)})
    with pytest.raises(MatchError) as caught:
        settle_paths([wheel("a", {"x": "other"}), wheel("b", {"y": None})], conda)
    assert caught.value.code == "ownership-conflict"
    assert "`x`: of conda's xpkg and of pip's a 1" in caught.value.message
    assert "`y`: of conda's ypkg and of pip's b 1" in caught.value.message


def test_what_needs_another_is_installed_after_it_and_keeps_the_path() -> None:
    settled, decisions = settle_paths(
        [wheel("a-whole", {"p": "1", "q": "1"}, ("z-part",)), wheel("z-part", {"p": "2", "q": "1"})], NOTHING
    )
    assert {each.name: each.omitted for each in settled} == {"a-whole": (), "z-part": ("p", "q")}
    assert [(each.distribution, each.owner) for each in decisions] == [("p", "a-whole")]


def test_a_circle_of_requirements_is_settled_by_name() -> None:
    settled, _ = settle_paths([wheel("a", {"p": "1"}, ("b",)), wheel("b", {"p": "2"}, ("a",))], NOTHING)
    assert [each.omitted for each in settled] == [(), ("p",)]


@given(
    st.dictionaries(
        st.sampled_from("abcde"),
        st.tuples(
            st.dictionaries(st.sampled_from("pqrs"), st.sampled_from("12")),
            st.sets(st.sampled_from("abcde")),
        ),
    )
)
def test_every_path_has_exactly_one_owner(drawn) -> None:
    placed = [wheel(name, files, tuple(needs)) for name, (files, needs) in sorted(drawn.items())]
    settled, _ = settle_paths(placed, NOTHING)
    owned = [
        file.path
        for (_, contents), each in zip(placed, settled, strict=True)
        for file in contents.files
        if file.path not in each.omitted
    ]
    assert sorted(owned) == sorted({path for files, _ in drawn.values() for path in files})
