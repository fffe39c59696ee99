"""Archives of local channels, and metadata in rattler's cache that it does not check itself."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from mlflow_dbimage.backends.conda_archives import local_path, spoil_unreadable
from mlflow_dbimage.locking.locked_packages import CondaPackage
from mlflow_dbimage.progress import SilentProgress
from solving import make_options, make_solver, make_spec


def test_local_channels_have_paths() -> None:
    assert local_path("file:///a%20b/c.conda") == Path("/a b/c.conda")
    assert local_path("https://host/c.conda") is None


@pytest.mark.channel
def test_damaged_metadata_is_fetched_again(conda_channel, tmp_path: Path) -> None:
    from mlflow_dbimage.locked_env import conda_request

    solver = make_solver(tmp_path / "solver")
    request = conda_request(make_spec(tmp_path, "3.11", conda=("pip", "six")), make_options(conda_channel.url))
    packages = solver.conda.solve(request).packages

    def install(name: str) -> set[str]:
        prefix = tmp_path / name
        solver.conda.install(packages, prefix, "linux-64", offline=False, progress=SilentProgress())
        return {str(path.relative_to(prefix)) for path in prefix.rglob("*")}

    first = install("first")
    assert install("again") == first
    damaged = list((tmp_path / "solver" / "conda" / "pkgs").glob("*/info/link.json"))
    assert len(damaged) > 1
    for path in damaged:
        path.write_bytes(b"{ broken")
    assert install("second") == first


def test_a_package_on_which_another_process_works_is_left_alone(tmp_path: Path) -> None:
    package = CondaPackage(
        name="six",
        version="1.0",
        build="0",
        build_number=0,
        subdir="noarch",
        file_name="six-1.0-0.conda",
        sha256="a" * 64,
        size=None,
        channel="conda-forge",
        canonical_url="https://a.example/noarch/six-1.0-0.conda",
        url="https://a.example/noarch/six-1.0-0.conda",
    )
    info = tmp_path / "six-1.0-0" / "info"
    info.mkdir(parents=True)
    (info / "link.json").write_bytes(b"{ half")
    (info / "paths.json").write_bytes(b"{}")
    with (tmp_path / "six-1.0-0.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        spoil_unreadable(tmp_path, [package])
        assert (info / "paths.json").read_bytes() == b"{}"
    spoil_unreadable(tmp_path, [package])
    assert (info / "paths.json").read_bytes() == b"damaged"
