"""What all tests share: a home of their own, the machine's services, and samples that are made once.

Services start when the first test asks for them and stop with the session. What is slow to make and the same
every time (the conda channel, the base, samples, downloads) is kept in `.cache/tests` of the clone. Several
processes may run tests at once: each has its own services, and makers hold a lock.
"""

from __future__ import annotations

import compileall
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.requirements import everything_is_required, python_of, why_not

CLONE = Path(__file__).resolve().parent.parent
KEPT = CLONE / ".cache" / "tests"

# What steers the programs under test is taken away from everybody's tests.
_STEERING = ("CONDA_", "DATABRICKS_", "DBIMAGE_", "DOCKER_", "MLFLOW_", "RATTLER_", "XDG_")
_OURS = ("DBIMAGE_REQUIRE_ALL",)

# The variable by which the processes of one run know where its build caches are.
_BUILDS = "TESTS_BUILDS"

# Parts of the build cache that only hold what was downloaded: all tests use them, so each is fetched once.
_DOWNLOADS = ("conda", "uv", "wheels")


def pytest_configure() -> None:
    """Have Ctrl-C work in what tests start: shells have it ignored by what they run in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if not _is_worker():
        # Where PYTHONDONTWRITEBYTECODE is set, each of a thousand commands would compile our modules for itself.
        for package in ("mlflow_dbimage", "plugin_entrypoints"):
            compileall.compile_dir(CLONE / package, quiet=1)
        (KEPT / "builds").mkdir(parents=True, exist_ok=True)
        os.environ[_BUILDS] = tempfile.mkdtemp(dir=KEPT / "builds")


def pytest_unconfigure() -> None:
    """Take away what was built."""
    if not _is_worker():
        shutil.rmtree(os.environ.pop(_BUILDS))


def _is_worker() -> bool:
    """Whether this process runs tests for another one, which pytest-xdist started."""
    return "PYTEST_XDIST_WORKER" in os.environ


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what this machine cannot run, and begin with the slow files: nobody waits long for the last."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
    for item in items:
        for marker in {mark.name for mark in item.iter_markers()}:
            reason = why_not(marker)
            if reason is not None:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    """Make a test that is left out a failure where everything is required."""
    return _required((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector):
    """Make a module that is left out a failure where everything is required."""
    return _required((yield))


def _required(report):
    if report.skipped and not hasattr(report, "wasxfail") and everything_is_required():
        reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"nothing may be left out here (CI or DBIMAGE_REQUIRE_ALL is set), but: {reason}"
    return report


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory) -> Iterator[Path]:
    """Give the session a home of its own: nothing of the developer's is read or written."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _configuration_of_installers().items():
            patch.setenv(name, value)
        for name in [name for name in os.environ if name.startswith(_STEERING) and name not in _OURS]:
            patch.delenv(name)
        patch.setenv("HOME", str(folder))
        patch.setenv("UV_CACHE_DIR", str(KEPT / "uv"))
        patch.setenv("DOCKER_HOST", f"unix://{folder}/no-engine.sock")
        # What builds prove is tested where it matters; elsewhere it would take most of the time.
        patch.setenv("DBIMAGE_VERIFY", "none")
        patch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
        # MLflow sends usage data unless it is told not to.
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        yield folder


def _configuration_of_installers() -> dict[str, str]:
    """Return how pip, uv and pyenv find what lies in the developer's home: indexes, and interpreters."""
    real = Path.home()
    configuration = Path(os.environ.get("XDG_CONFIG_HOME", real / ".config"))
    places = {
        "PIP_CONFIG_FILE": configuration / "pip" / "pip.conf",
        "UV_CONFIG_FILE": configuration / "uv" / "uv.toml",
        "PYENV_ROOT": real / ".pyenv",
    }
    return {name: str(path) for name, path in places.items() if name not in os.environ and path.exists()}


@pytest.fixture(scope="session")
def conda_channel():
    """Return the local channel: every Python of this machine, and what samples need."""
    from sample_models.conda_channel import make_channel

    return make_channel(KEPT / "channel")


@pytest.fixture(scope="session")
def npm_packages() -> Path:
    """Return the folder in which packages of npm are kept."""
    return KEPT / "npm"


@pytest.fixture(scope="session")
def base_rootfs() -> Path:
    """Return the tarball of a Debian root file system."""
    from services.debian_base import debian_base

    return debian_base(KEPT / "base")


@pytest.fixture(scope="session")
def golden_mirror():
    """Return a company's mirror, in folders, of everything in the list of 7.6 ML."""
    from services.golden_bases import mirror_of_7_6_ml

    python_of("3.7")
    return mirror_of_7_6_ml(KEPT / "golden")


@pytest.fixture(scope="session")
def golden_builds() -> Path:
    """Return the build cache in which golden bases are made: their environments are kept."""
    (KEPT / "golden").mkdir(parents=True, exist_ok=True)
    return _build_cache(KEPT / "golden" / "cache")


@pytest.fixture(scope="session")
def golden_7_6_ml(base_rootfs, golden_builds):
    """Return the golden base of 7.6 ML: all 180 entries of its list, at conda's root environment."""
    from services.golden_bases import base_7_6_ml

    python_of("3.7")
    return base_7_6_ml(KEPT / "golden", base_rootfs, golden_builds)


@pytest.fixture(scope="session")
def golden_15_4_lts_ml(conda_channel, base_rootfs, golden_builds):
    """Return a golden base of 15.4 LTS ML: 44 of its pins, with what they need, and the channel's own Python."""
    from services.golden_bases import base_15_4_lts_ml

    return base_15_4_lts_ml(KEPT / "golden", base_rootfs, golden_builds, conda_channel.url)


@pytest.fixture(scope="session")
def cluster_rootfs() -> Path:
    """Return the tarball of a base for clusters, with packages at `/databricks/python3`."""
    from services.cluster_base import cluster_base

    return cluster_base(KEPT / "base")


@pytest.fixture(scope="session")
def models():
    """Return a function that gives the model directory of a sample; not to be changed."""
    from services.made_samples import MadeSamples

    return MadeSamples(KEPT / "models").directory


@pytest.fixture(scope="session")
def checks():
    """Return a function that gives the self-check of a model of `checked_models.SOURCES`."""
    from checked_models import KeptChecks

    return KeptChecks(Path(os.environ[_BUILDS]) / "checks")


@pytest.fixture(scope="session")
def engine(tmp_path_factory):
    """Run a Docker engine of our own; a test that wants it found asks for `engine_found`."""
    from services.docker_engine import docker_engine

    with docker_engine(tmp_path_factory.mktemp("engine")) as running:
        yield running


@pytest.fixture
def engine_found(engine, monkeypatch):
    """Have every client find our engine."""
    monkeypatch.setenv("DOCKER_HOST", engine.host)
    return engine


@pytest.fixture(scope="session")
def registry(tmp_path_factory):
    """Run a container registry that asks nobody who they are."""
    from services.registry_server import registry_server

    with registry_server(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="session")
def registry_login() -> tuple[str, str]:
    """Return user and password of `registry_with_password`."""
    return "ada", "analytical-engine"


@pytest.fixture(scope="session")
def registry_with_password(tmp_path_factory, registry_login):
    """Run a container registry that lets in `registry_login` only."""
    from services.registry_server import registry_server

    with registry_server(tmp_path_factory.mktemp("registry"), login=registry_login) as running:
        yield running


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory):
    """Run a PostgreSQL server; each test asks it for a database of its own."""
    from services.postgresql_server import postgresql_server

    with postgresql_server(tmp_path_factory.mktemp("postgresql")) as running:
        yield running


@pytest.fixture(scope="session")
def redis(tmp_path_factory):
    """Run a Redis server; each test asks it for a database of its own."""
    from services.redis_server import redis_server

    with redis_server(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture(scope="session")
def tracking_server(tmp_path_factory):
    """Run MLflow's own server, for tracking and as registry."""
    from services.mlflow_server import mlflow_server

    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as running:
        yield running


@pytest.fixture(scope="session")
def _empty_store(tmp_path_factory) -> Path:
    """Make an MLflow store in SQLite; its tables take seconds."""
    folder = tmp_path_factory.mktemp("store")
    script = "import sys, mlflow; mlflow.set_tracking_uri(sys.argv[1]); mlflow.MlflowClient().search_experiments()"
    command = [sys.executable, "-W", "ignore", "-c", script, f"sqlite:///{folder}/mlflow.db"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "mlflow.db"


@pytest.fixture
def tracking_uri(_empty_store, tmp_path, monkeypatch) -> str:
    """Give the test an empty MLflow store of its own, and set it for all that the test starts."""
    database = tmp_path / "mlflow.db"
    shutil.copy(_empty_store, database)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    return f"sqlite:///{database}"


@pytest.fixture(scope="session")
def shared_cache_dir() -> Path:
    """Return the build cache of the run: an environment is built by the first test that needs it."""
    return _build_cache(Path(os.environ[_BUILDS]) / "shared")


@pytest.fixture
def cache_dir() -> Iterator[Path]:
    """Return an empty build cache, for one test, whose downloads and byte code are warm."""
    with tempfile.TemporaryDirectory(dir=os.environ[_BUILDS]) as folder:
        yield _build_cache(Path(folder))


def _build_cache(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    places = {part: KEPT / "downloads" / part for part in _DOWNLOADS}
    # Of the run alone: a later one may run other code that compiles.
    places["bytecode"] = Path(os.environ[_BUILDS]) / "bytecode"
    for part, place in places.items():
        place.mkdir(parents=True, exist_ok=True)
        link = folder / f".{part}-{os.getpid()}"
        link.symlink_to(place)
        link.replace(folder / part)
    return folder


@pytest.fixture
def site(conda_channel, base_rootfs, shared_cache_dir, tmp_path, monkeypatch) -> Path:
    """Set what a site sets (channel, base, caches, destination), and return the user's data folder."""
    monkeypatch.setenv("DBIMAGE_CHANNEL_MAP", f"conda-forge={conda_channel.url},defaults={conda_channel.url}")
    monkeypatch.setenv("DBIMAGE_BASE_IMAGE", f"rootfs:{base_rootfs}")
    monkeypatch.setenv("DBIMAGE_CACHE_DIR", str(shared_cache_dir))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data"
