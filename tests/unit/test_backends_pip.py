from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from fakes.package_index import PackageIndex, serve
from mlflow_dbimage.backends.pip import UvResolver
from mlflow_dbimage.backends.pylock_reading import read_resolution
from mlflow_dbimage.backends.source_tree import build_system
from mlflow_dbimage.backends.unpacked_wheels import UnpackedWheels
from mlflow_dbimage.backends.uv_program import (
    UvProgram,
    index_lines,
    own_configuration,
    platform_name,
    wanted_to_build,
)
from mlflow_dbimage.backends.wheels import WheelStore
from mlflow_dbimage.errors import DbimageError
from mlflow_dbimage.locking.environment_solver import IndexAccess, PipRequest
from mlflow_dbimage.locking.locked_packages import WheelSource
from sandboxes import sandbox
from solving import AMD64, ARM64, lines
from toy_wheels import make_sdist, make_wheel

DAY = datetime(2021, 1, 21, tzinfo=timezone.utc)
PYTHON = ".".join(map(str, sys.version_info[:3]))
TAG = f"cp{sys.version_info.major}{sys.version_info.minor}"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    return tmp_path / "model"


def kept_in(folder: Path) -> WheelStore:
    unpacked = folder.parent / "unpacked"
    unpacked.mkdir(exist_ok=True)
    return WheelStore(folder, UnpackedWheels(unpacked))


@pytest.fixture
def resolver(tmp_path: Path) -> UvResolver:
    (tmp_path / "wheels").mkdir()
    return UvResolver(tmp_path / "uv", kept_in(tmp_path / "wheels"), sandbox)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[PackageIndex]:
    directory = tmp_path / "index"
    times = {}
    for name, version, day, requires in (
        ("alpha", "1.0", "2020-01-01", ["beta"]),
        ("alpha", "2.0", "2022-01-01", ["beta"]),
        ("beta", "1.0", "2020-01-01", []),
        ("beta", "2.0", "2020-06-01", []),
    ):
        wheel = make_wheel(directory, name, version, requires=requires)
        times[wheel.name] = f"{day}T00:00:00Z"
    times[make_wheel(directory, "arm", tag=f"{TAG}-{TAG}-manylinux2014_aarch64").name] = "2020-01-01T00:00:00Z"
    make_wheel(directory, "undated", requires=["alpha"])
    with serve(PackageIndex(directory, upload_times=times)) as served:
        yield served


def request(index: PackageIndex, model: Path, *texts: str, **changes: object) -> PipRequest:
    asked = PipRequest(
        access=IndexAccess(directory=model, index_url=index.url),
        lines=lines(*texts, origin="requirements.txt: line "),
        python=PYTHON,
        interpreter=Path(sys.executable),
        platform=AMD64,
        glibc="2.36",
    )
    return replace(asked, **changes)  # type: ignore[arg-type]  # values of a test's choice


def versions(solution) -> dict[str, str | None]:
    return {each.name: each.version for each in solution.distributions}


def test_unpinned_requirements_are_those_of_the_day(resolver, index, model) -> None:
    assert versions(resolver.resolve(request(index, model, "alpha"))) == {"alpha": "2.0", "beta": "2.0"}
    dated = resolver.resolve(request(index, model, "alpha", exclude_newer=DAY))
    assert versions(dated) == {"alpha": "1.0", "beta": "2.0"}
    assert dated.notes == ()


def test_what_has_no_upload_time_is_taken_as_of_today_with_a_note(resolver, index, model) -> None:
    solution = resolver.resolve(request(index, model, "undated", exclude_newer=DAY))
    assert versions(solution) == {"undated": "1.0", "alpha": "1.0", "beta": "2.0"}
    assert solution.notes == ("the index gives no upload times for undated: taken as of today",)


def test_what_uv_is_configured_with_is_an_input(tmp_path, monkeypatch) -> None:
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    plain = own_configuration()
    monkeypatch.setenv("UV_INDEX_URL", "https://ann:secret@x.example/simple")
    one = own_configuration()
    monkeypatch.setenv("UV_INDEX_URL", "https://bob:other@x.example/simple")
    assert own_configuration() == one != plain
    monkeypatch.setenv("UV_INDEX_URL", "https://y.example/simple")
    assert own_configuration() not in (plain, one)
    monkeypatch.delenv("UV_INDEX_URL")
    (tmp_path / "uv").mkdir()
    (tmp_path / "uv" / "uv.toml").write_text('index-url = "https://ann:secret@x.example/simple"\n')
    filed = own_configuration()
    (tmp_path / "uv" / "uv.toml").write_text('index-url = "https://bob:other@x.example/simple"\n')
    assert own_configuration() == filed not in (plain, one)


def test_condas_versions_hold(resolver, index, model) -> None:
    held = request(index, model, "alpha", constraints={"beta": "beta==1.0"})
    assert versions(resolver.resolve(held))["beta"] == "1.0"


def test_paths_are_relative_to_the_model(resolver, index, model) -> None:
    make_wheel(model / "wheels", "mine", requires=["beta"])
    (model / "constraints.txt").write_text("beta<2\n")
    (model / "more.txt").write_text("alpha\n")
    solution = resolver.resolve(
        request(index, model, "wheels/mine-1.0-py3-none-any.whl", "-c constraints.txt", "-r more.txt")
    )
    assert versions(solution) == {"mine": "1.0", "alpha": "2.0", "beta": "1.0"}
    mine = next(each for each in solution.distributions if each.name == "mine")
    assert mine.direct
    assert [(wheel.path, wheel.url) for wheel in mine.wheels] == [("wheels/mine-1.0-py3-none-any.whl", None)]


def test_the_configuration_of_a_models_project_is_not_read(resolver, index, model) -> None:
    (model / "uv.toml").write_text('index-url = "http://127.0.0.1:9/evil"\n')
    (model / "pyproject.toml").write_text('[tool.uv]\nindex-url = "http://127.0.0.1:9/evil"\n')
    assert versions(resolver.resolve(request(index, model, "beta"))) == {"beta": "2.0"}


def test_a_configured_index_replaces_the_models_and_stands_beside_its_others(resolver, index, model) -> None:
    asked = request(index, model, "--index-url http://127.0.0.1:9/gone", "beta")
    assert versions(resolver.resolve(asked)) == {"beta": "2.0"}
    own = replace(asked, access=IndexAccess(directory=model), lines=lines(f"--index-url {index.url}", "beta"))
    assert versions(resolver.resolve(own)) == {"beta": "2.0"}


@pytest.mark.parametrize(
    ("texts", "code", "told"),
    [
        (("beta", "nosuch-thing>=2"), "package-not-found", "nosuch-thing"),
        (("beta", "alpha==9"), "package-not-found", "alpha==9"),
        (("beta", "alpha==1.0", "alpha==2.0"), "unsolvable", "alpha==1.0"),
        (("beta", "!!!"), "model-environment-invalid", "!!!"),
        (("beta", "wheels/lost-1.0-py3-none-any.whl"), "model-environment-invalid", "lost-1.0"),
        (("beta", "-r lost.txt"), "model-environment-invalid", "lost.txt"),
    ],
)
def test_what_cannot_be_resolved_says_why_and_which_line(resolver, index, model, texts, code, told) -> None:
    with pytest.raises(DbimageError) as caught:
        resolver.resolve(request(index, model, *texts))
    assert (caught.value.code, told in caught.value.message) == (code, True), caught.value.message
    if "lost-1.0" not in told:
        assert f"requirements.txt: line [1]: {texts[1]}" in caught.value.message
    assert "line [0]" not in caught.value.message
    assert len(caught.value.message.splitlines()) <= 16


def test_an_index_that_refuses_is_named_without_its_password(resolver, tmp_path, model) -> None:
    make_wheel(tmp_path / "closed", "one")
    with serve(PackageIndex(tmp_path / "closed", password="s3cret")) as closed:
        known = request(closed, model, "one")
        open_access = replace(known.access, index_url=closed.url_with_password)
        assert versions(resolver.resolve(replace(known, access=open_access))) == {"one": "1.0"}
        wrong = replace(known.access, index_url=closed.url_with_password.replace("s3cret", "wr0ng"))
        with pytest.raises(DbimageError) as caught:
            resolver.resolve(replace(known, access=wrong, lines=lines("two")))
    assert caught.value.code in ("index-failed", "package-not-found")
    assert "wr0ng" not in str(caught.value)


@pytest.mark.parametrize("name", ["beta", "two words"])
def test_a_password_in_a_line_is_in_no_error(resolver, index, model, name) -> None:
    line = f"{name} @ http://me:s3cret@127.0.0.1:{index.port}/files/lost"
    with pytest.raises(DbimageError) as caught:
        resolver.resolve(request(index, model, line))
    assert "requirements.txt: line [0]" in caught.value.message
    assert "s3cret" not in str(caught.value)


def test_a_password_is_in_no_cache_and_no_process_list(
    resolver, tmp_path, model, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(tmp_path / "closed", "one")
    started: list[list[str]] = []
    run = subprocess.run

    def spy(command, **options):
        started.append([*command, *options["env"].values()])
        return run(command, **options)

    monkeypatch.setattr(subprocess, "run", spy)
    with serve(PackageIndex(tmp_path / "closed", password="s3cret")) as closed:
        access = IndexAccess(directory=model, index_url=closed.url_with_password)
        solution = resolver.resolve(replace(request(closed, model, "one"), access=access))
    assert "s3cret" not in repr(solution)
    assert started
    assert not any("s3cret" in word for words in started for word in words)
    cached = [path for path in (tmp_path / "uv").rglob("*") if path.is_file()]
    assert cached
    assert not [path for path in cached if b"s3cret" in path.read_bytes()]


def test_an_index_that_is_down_is_a_failure_of_the_index(resolver, model, monkeypatch) -> None:
    monkeypatch.setenv("UV_HTTP_TIMEOUT", "1")
    down = IndexAccess(directory=model, index_url="http://127.0.0.1:9/simple")
    asked = PipRequest(
        access=down,
        lines=lines("six"),
        python=PYTHON,
        interpreter=Path(sys.executable),
        platform=AMD64,
        glibc="2.36",
    )
    with pytest.raises(DbimageError) as caught:
        resolver.resolve(asked)
    assert caught.value.code == "index-failed"


def test_offline_a_warm_cache_does_and_a_cold_one_says_what_is_missing(resolver, index, model, tmp_path) -> None:
    asked = request(index, model, "alpha")
    online = resolver.resolve(asked)
    offline = replace(asked, access=replace(asked.access, offline=True))
    assert resolver.resolve(offline) == online
    cold = UvResolver(tmp_path / "cold", kept_in(tmp_path / "wheels"), sandbox)
    with pytest.raises(DbimageError) as caught:
        cold.resolve(offline)
    assert caught.value.code == "offline"
    assert "alpha" in caught.value.message


def test_another_processor_takes_its_own_wheels_and_builds_nothing(resolver, index, model) -> None:
    make_sdist(index.directory, "srconly")
    foreign = request(index, model, "arm", platform=ARM64, interpreter=None)
    assert versions(resolver.resolve(foreign)) == {"arm": "1.0"}
    with pytest.raises(DbimageError) as caught:
        resolver.resolve(request(index, model, "srconly", platform=ARM64, interpreter=None))
    assert caught.value.code == "wrong-platform", caught.value.message
    with pytest.raises(DbimageError) as caught:
        resolver.build(WheelSource(kind="sdist", location="https://x/srconly-1.0.tar.gz"), foreign)
    assert caught.value.code == "wrong-platform"


@pytest.fixture(scope="module")
def setuptools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that almost every build requires."""
    folder = tmp_path_factory.mktemp("setuptools")
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "setuptools", "-d", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.iterdir())


SPYING = """
import os, socket
def tried(action, *arguments):
    try:
        return action(*arguments) or True
    except OSError:
        return None
found = [
    [value for value in os.environ.values() if "s3cret" in value or "pl4nted" in value],
    [tried(open, place) for place in ({secret!r}, "/etc/shadow")],
    tried(socket.create_connection, ("127.0.0.1", {port}), 1),
    tried(open, {secret!r} + ".harm", "w") and os.path.exists({secret!r}),
]
open("srconly.py", "w").write(repr(found))
from setuptools import setup
setup(name="srconly", version="1.0", py_modules=["srconly"])
"""
NOTHING = "[[], [None, None], None, None]"


@pytest.mark.slow
@pytest.mark.sandbox
def test_a_source_distribution_builds_to_the_same_wheel_and_gets_at_nothing(
    setuptools, index, model, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("PLANTED_TOKEN", "pl4nted")
    secret = tmp_path / "home" / "secret"
    secret.parent.mkdir()
    secret.write_text("s3cret")
    make_sdist(index.directory, "srconly", setup=SPYING.format(secret=str(secret), port=index.port))
    shutil.copy(setuptools, index.directory)
    index.password = "s3cret"
    built = []
    for name in ("one", "a-much-longer-name-of-a-cache-folder"):
        (tmp_path / name).mkdir()
        store = kept_in(tmp_path / name)
        resolver = UvResolver(tmp_path / name / "uv", store, sandbox)
        access = IndexAccess(directory=model, index_url=index.url_with_password)
        asked = replace(request(index, model, "srconly"), access=access)
        (found,) = resolver.resolve(asked).distributions
        assert found.source is not None
        wheel = resolver.build(found.source, asked)
        assert store.has(wheel)
        before = len(index.requests)
        assert resolver.build(found.source, replace(asked, access=replace(access, offline=True))) == wheel
        assert len(index.requests) == before
        built.append(wheel.sha256)
    assert built[0] == built[1]
    with zipfile.ZipFile(store.path(wheel)) as archive:
        assert archive.read("srconly.py").decode() == NOTHING
    assert os.listdir(secret.parent) == ["secret"]


CURIOUS = """
import os, socket
def tried(action, *arguments):
    try:
        action(*arguments)
    except OSError:
        return False
    return True
got = [
    tried(socket.create_connection, ("127.0.0.1", {port}), 1),
    tried(os.listdir, {model!r}),
    tried(open, os.path.join({model!r}, "harm"), "w"),
]
from setuptools import setup
needs = ["caught"] if any(got) else ["alpha", "beta"]
setup(name={name!r}, version="1.0", install_requires=needs, extras_require={{"old": ["beta<2"]}})
"""


@pytest.mark.sandbox
@pytest.mark.parametrize("line", ["curious[old]", "-e ./code/curious[old]", "-r lists/more.txt"])
def test_resolving_runs_the_code_of_a_source_distribution_in_the_sandbox_alone(
    setuptools, resolver, index, model, line: str
) -> None:
    """It has no network and sees nothing; uv itself builds nothing, and is told what is required."""
    shutil.copy(setuptools, index.directory)
    setup = CURIOUS.format(port=index.port, model=str(model), name="curious")
    make_sdist(index.directory, "curious", setup=setup)
    (model / "code" / "curious").mkdir(parents=True)
    (model / "code" / "curious" / "setup.py").write_text(setup)
    (model / "lists").mkdir()
    (model / "lists" / "more.txt").write_text("-c limits.txt\n./code/curious\n")
    (model / "lists" / "limits.txt").write_text("beta<2\n")
    found = versions(resolver.resolve(request(index, model, line)))
    assert found.pop("curious") in ("1.0", None)
    assert found == {"alpha": "2.0", "beta": "1.0"}
    assert not (model / "harm").exists()


def test_uv_builds_nothing(index, model, tmp_path) -> None:
    make_sdist(index.directory, "srconly")
    uv = UvProgram(tmp_path / "cache")
    (tmp_path / "cache" / "builds-v0").mkdir(parents=True)  # as versions before had it
    text = f"--index-url {index.url}\nsrconly\n"
    command = ["pip", "compile", "--python", sys.executable, "-"]
    assert wanted_to_build(uv.run(command, request(index, model).access, folder=tmp_path, text=text))


def test_a_source_that_is_built_to_another_distribution_is_refused(setuptools, resolver, index, model) -> None:
    shutil.copy(setuptools, index.directory)
    make_sdist(index.directory, "six", setup="from setuptools import setup\nsetup(name='seven', version='1.0')\n")
    with pytest.raises(DbimageError, match=r"`six==1.0` is built to seven 1.0") as caught:
        resolver.resolve(request(index, model, "six"))
    assert caught.value.code == "unsolvable"


def test_what_the_user_has_uv_configured_with_counts_beside_what_it_is_told(
    setuptools, resolver, index, model, tmp_path, monkeypatch
) -> None:
    shutil.copy(setuptools, index.directory)
    for name in ("srconly", "told"):
        make_sdist(index.directory, name)
    own = tmp_path / "own.toml"
    own.write_text(
        '[[dependency-metadata]]\nname = "told"\nversion = "1.0"\nrequires-dist = ["beta"]\n'
        '[pip]\nresolution = "lowest"\n'
    )
    monkeypatch.setenv("UV_CONFIG_FILE", str(own))
    found = versions(resolver.resolve(request(index, model, "srconly", "told", "alpha")))
    assert found == {"srconly": "1.0", "told": "1.0", "alpha": "1.0", "beta": "1.0"}


@pytest.mark.slow
def test_folders_and_git_repositories_are_built_and_the_model_stays_as_it_was(resolver, model, tmp_path) -> None:
    def git(*words: str) -> None:
        who = ["-c", "user.name=x", "-c", "user.email=x@example.com"]
        subprocess.run(["git", "-C", str(tmp_path / "repo"), *who, *words], check=True, capture_output=True)

    project = '[project]\nname = "{}"\nversion = "1.0"\n[build-system]\nrequires = ["setuptools"]\n'
    for folder, name in ((model / "code/local", "local"), (tmp_path / "repo", "cloned")):
        folder.mkdir(parents=True)
        (folder / "pyproject.toml").write_text(
            project.format(name) + 'build-backend = "setuptools.build_meta"\n'
            f'[tool.setuptools]\npy-modules = ["{name}"]\n'
        )
        (folder / f"{name}.py").write_text("x = 1\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    asked = PipRequest(
        access=IndexAccess(directory=model),
        lines=lines("./code/local", f"cloned @ git+file://{tmp_path}/repo"),
        python=PYTHON,
        interpreter=Path(sys.executable),
        platform=AMD64,
        glibc="2.36",
    )
    before = sorted(model.rglob("*"))
    sources = [each.source for each in resolver.resolve(asked).distributions]
    wheels = [resolver.build(source, asked) for source in sources if source is not None]
    assert [(wheel.name, wheel.version) for wheel in wheels] == [("cloned", "1.0"), ("local", "1.0")]
    assert [source.kind for source in sources if source] == ["git", "path"]
    assert sorted(model.rglob("*")) == before


def test_what_does_not_build_says_why(resolver, index, model) -> None:
    make_sdist(index.directory, "broken", setup="raise SystemExit('this cannot be built')")
    source = WheelSource(kind="sdist", location=f"http://127.0.0.1:{index.port}/files/broken-1.0.tar.gz")
    asked = replace(request(index, model), access=IndexAccess(directory=model))
    with pytest.raises(DbimageError) as caught:
        resolver.build(source, asked)
    assert caught.value.code == "unsolvable"
    assert "this cannot be built" in caught.value.message


def test_source_outside_the_model_is_refused(resolver, index, model) -> None:
    with pytest.raises(DbimageError) as caught:
        resolver.build(WheelSource(kind="path", location="../elsewhere"), request(index, model))
    assert caught.value.code == "model-unsafe"


def test_indexes_of_the_users_environment_are_told_to_uv_alone(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "main=https://me:s3cret@index.example/simple")
    monkeypatch.setenv("UV_INDEX", "https://one.example/simple two=https://two.example/simple")
    assert index_lines(IndexAccess()) == [
        "--index-url https://me:s3cret@index.example/simple",
        "--extra-index-url https://one.example/simple",
        "--extra-index-url https://two.example/simple",
    ]
    configured = IndexAccess(index_url="https://x.example/simple", extra_index_urls=("https://y.example/simple",))
    assert index_lines(configured) == [
        "--index-url https://x.example/simple",
        "--extra-index-url https://y.example/simple",
    ]
    result = UvProgram(tmp_path).run(["--version"], IndexAccess(), folder=tmp_path)
    assert result.output.startswith("uv ")


def test_credentials_stay_out_of_what_is_read_from_uv() -> None:
    a, b = "a" * 64, "b" * 64
    text = f"""
    [[packages]]
    name = "One_Two"
    version = "1.0"
    wheels = [
        {{ url = "https://me:s3cret@x.example/one_two-1.0-py3-none-any.whl#x", hashes = {{ sha256 = "{a}" }} }}
    ]
    sdist = {{ url = "https://me:s3cret@x.example/one_two-1.0.tar.gz", hashes = {{ sha256 = "{b}" }} }}
    """
    (found,) = read_resolution(text)
    assert found.name == "one-two"
    assert found.wheels[0].url == "https://x.example/one_two-1.0-py3-none-any.whl"
    assert found.source == WheelSource(
        kind="sdist", location="https://x.example/one_two-1.0.tar.gz", sha256="b" * 64
    )


@pytest.mark.parametrize("kind", ["wheels", "sdist"])
def test_a_hash_that_is_none_is_the_indexs_failure(kind: str) -> None:
    entry = '{ url = "https://x.example/a-1-py3-none-any.whl", hashes = { sha256 = "../../victim" } }'
    value = f"[{entry}]" if kind == "wheels" else entry.replace("-py3-none-any.whl", ".tar.gz")
    with pytest.raises(DbimageError, match="'../../victim' as the sha256") as caught:
        read_resolution(f'[[packages]]\nname = "a"\nversion = "1"\n{kind} = {value}\n')
    assert caught.value.code == "index-failed"


def test_build_requirements_are_read_without_running_anything(tmp_path: Path) -> None:
    assert build_system(make_sdist(tmp_path, "old")).requires == ("setuptools>=40.8.0",)
    (tmp_path / "tree").mkdir()
    assert build_system(tmp_path / "tree").requires == ("setuptools>=40.8.0",)
    (tmp_path / "tree/pyproject.toml").write_text('[build-system]\nrequires = ["flit-core<4"]\n')
    assert build_system(tmp_path / "tree").requires == ("flit-core<4",)


def test_one_of_several_indexes_that_refuses_is_named(resolver, index, tmp_path, model) -> None:
    """A model that names indexes has uv look at all of them, which then says nothing of refusals."""
    make_wheel(tmp_path / "closed", "gamma")
    with serve(PackageIndex(tmp_path / "closed", password="s3cret")) as closed:
        asked = request(index, model, f"--extra-index-url {closed.url}", "alpha", "gamma")
        with pytest.raises(DbimageError) as caught:
            resolver.resolve(asked)
    assert caught.value.code == "index-failed"
    assert closed.url in caught.value.message
    assert "401" in caught.value.message


@pytest.mark.parametrize(("minor", "known"), [(0, 17), (17, 17), (27, 17), (30, 28), (31, 31), (40, 40), (99, 40)])
def test_a_platform_is_the_newest_that_uv_knows_and_the_library_runs(minor: int, known: int) -> None:
    assert platform_name("amd64", minor) == f"x86_64-manylinux_2_{known}"
