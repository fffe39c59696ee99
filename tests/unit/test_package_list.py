"""Lists of packages: what is pinned is read, and every entry that is not is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.errors import InputError
from mlflow_dbimage.package_list import CondaPin, PackageList, PipPin, of_file, of_runtime
from mlflow_dbimage.runtimes import Catalogue

NAMES = st.from_regex(r"[a-z][a-z0-9]{0,8}(?:-[a-z0-9]{1,6})?", fullmatch=True)
VERSIONS = st.from_regex(r"[0-9]{1,4}(?:\.[0-9]{1,3}){0,3}(?:rc[1-9]|\+cpu)?", fullmatch=True)
BUILDS = st.none() | st.from_regex(r"(?:py3[0-9]{1,2}h?[0-9a-f]{3,8}|h[0-9a-f]{7})_[0-9]", fullmatch=True)


def listed(tmp_path: Path, text: str) -> PackageList:
    path = tmp_path / "environment.yml"
    path.write_text(text)
    return of_file(path)


def refused(tmp_path: Path, text: str) -> str:
    with pytest.raises(InputError) as caught:
        listed(tmp_path, text)
    assert caught.value.code == "bad-package-list"
    return caught.value.message


def test_the_page_s_list_has_all_its_entries() -> None:
    catalogue = Catalogue.load()
    runtime = catalogue.get("7.6-ml")
    found = of_runtime(runtime, catalogue.conda_list(runtime.key))
    assert (found.title, found.runtime, found.python) == ("7.6-ml", "7.6-ml", "3.7.10")
    assert (len(found.conda), len(found.pip), found.count) == (153, 27, 180)
    assert found.prefix == "/databricks/conda/envs/databricks-ml"
    assert found.channels == ("pytorch", "defaults")
    assert CondaPin(name="numpy", version="1.18.1", build="py37h4f9e942_0") in found.conda
    assert PipPin(name="mlflow", version="1.13.1") in found.pip


def test_a_runtime_without_a_conda_list_has_its_python_packages() -> None:
    catalogue = Catalogue.load()
    runtime = catalogue.get("15.4-lts-ml")
    assert catalogue.conda_list(runtime.key) is None
    found = of_runtime(runtime, None)
    assert (found.python, found.conda, len(found.pip)) == ("3.11.11", (), 354)
    assert PipPin(name="numpy", version="1.23.5") in found.pip


def test_a_site_s_folder_may_bring_a_conda_list(tmp_path: Path) -> None:
    (tmp_path / "conda").mkdir()
    (tmp_path / "conda" / "15.4-lts-ml-conda.yml").write_text("name: ours\ndependencies: [python=3.11.9]\n")
    catalogue = Catalogue.load(tmp_path)
    runtime = catalogue.get("15.4-lts-ml")
    found = of_runtime(runtime, catalogue.conda_list(runtime.key))
    assert (found.title, found.runtime, found.python) == ("15.4-lts-ml", "15.4-lts-ml", "3.11.9")


def test_what_conda_writes_is_read(tmp_path: Path) -> None:
    found = listed(
        tmp_path,
        "name: Ours\nchannels: [pytorch, defaults]\ndependencies:\n  - python=3.11.7=h1_0_cpython  # comment\n"
        "  - defaults::NumPy==1.26\n  - pip:\n    - Foo.Bar[extra]==1.0+cpu\n    - hyperopt==0.2.5.db1\n",
    )
    assert found.title == "Ours"
    assert [str(pin) for pin in found.conda] == ["python=3.11.7=h1_0_cpython", "numpy=1.26"]
    assert [str(pin) for pin in found.pip] == ["foo-bar==1.0+cpu", "hyperopt==0.2.5.db1"]


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("- numpy", "line 3: `numpy` is not pinned"),
        ("- numpy>=1.18", "line 3: `numpy>=1.18` is not pinned"),
        ("- numpy=1.18.*", "line 3: `numpy=1.18.*` is not pinned"),
        ("- numpy=1.18|1.19", "is not pinned"),
        ("- numpy=1.18\n- numpy=1.19", "line 4: `numpy` stands twice"),
        ("- pip: [six]", "`six` is not pinned"),
        ("- pip: ['six>=1']", "`six>=1` is not pinned"),
        ("- pip: ['-r more.txt']", "`-r more.txt` is not pinned"),
        ("- pip: ['six==1; python_version<\"3\"']", "is not pinned"),
        ("- pip: ['six==1', 'SIX==2']", "`six` stands twice"),
        ("- pip: [[six]]", "`dependencies[1].pip[0]` is not a text"),
        ("- pip: six==1", "`pip` is not a list"),
        ("- other: [six==1]", "`dependencies[1]` is neither"),
    ],
)
def test_what_is_not_pinned_is_told_with_its_line(tmp_path: Path, entry: str, told: str) -> None:
    assert told in refused(tmp_path, f"dependencies:\n- python=3.11.7\n{entry}\n")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no `dependencies`"),
        ("[]", "no `dependencies`"),
        ("dependencies: []", "no `dependencies`"),
        ("dependencies: [six=1]", "names no Python"),
        ("dependencies: {a: b}", "`dependencies` is not a list"),
        ("dependencies: [python=3.11.7]\nvariables: {A: b}", "`variables` is no field"),
        ("dependencies: [python=3.11.7]\nprefix: C:\\\\envs", "no absolute path"),
        ("dependencies: [python=3.11.7]\nprefix: /a/../b", "no absolute path"),
        ("dependencies: [python=3.11.7]\nchannels: [1, []]", "`channels` is not a list of names"),
        ("dependencies: [python=3.11.7]\nname: []", "`name` is not a text"),
        ("a: [", "line"),
        ("!!python/object:os.system {}", "asks for an object"),
    ],
)
def test_a_broken_file_is_told(tmp_path: Path, text: str, told: str) -> None:
    assert told in refused(tmp_path, text)


def test_all_problems_are_told(tmp_path: Path) -> None:
    message = refused(tmp_path, "dependencies: [a, b>1, python=3.7]\nfoo: 1\nbar: 2\n")
    assert message.count("\n") == 4


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        of_file(tmp_path / "none.yml")


def test_a_password_in_a_line_is_not_repeated(tmp_path: Path) -> None:
    message = refused(tmp_path, "dependencies: [python=3.7, pip: ['http://ada:s3cret@host/six.whl']]")
    assert "***@host" in message
    assert "s3cret" not in message


@given(
    conda=st.lists(
        st.builds(CondaPin, name=NAMES, version=VERSIONS, build=BUILDS), unique_by=lambda pin: pin.name
    ),
    pip=st.lists(st.builds(PipPin, name=NAMES, version=VERSIONS), unique_by=lambda pin: pin.name),
)
def test_pins_survive_a_file(tmp_path_factory, conda: list[CondaPin], pip: list[PipPin]) -> None:
    python = CondaPin(name="python", version="3.11.7")
    conda = [python, *(pin for pin in conda if pin.name != "python")]
    path = tmp_path_factory.mktemp("list") / "environment.yml"
    dependencies = [*map(str, conda), {"pip": [str(pin) for pin in pip]}]
    path.write_text(yaml.safe_dump({"name": "x", "dependencies": dependencies}))
    found = of_file(path)
    assert (list(found.conda), list(found.pip)) == (conda, pip)
