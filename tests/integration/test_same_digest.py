"""Same inputs, same digest: whoever builds, wherever, whenever, through whichever mirror."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from fakes.package_index import PackageIndex, serve
from services.http_server import served_folder

pytestmark = [pytest.mark.slow, pytest.mark.channel, pytest.mark.base]

CLONE = Path(__file__).resolve().parents[2]
CANARY = "canary-mirror-5d20"


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder that other users may read too: pytest's own are closed."""
    with tempfile.TemporaryDirectory(prefix="dbimage-same-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="module")
def model(models, place: Path) -> Path:
    shutil.copytree(models("pyfunc-rules"), place / "model")
    subprocess.run(["chmod", "-R", "a+rX", str(place / "model")], check=True)
    return place / "model"


@pytest.fixture(scope="module")
def base(base_rootfs: Path, place: Path) -> Path:
    shutil.copy(base_rootfs, place / "base.tar")
    (place / "base.tar").chmod(0o644)
    return place / "base.tar"


@pytest.fixture(scope="module")
def mirrored_channel(conda_channel, place: Path) -> Iterator[str]:
    """The channel again, copied and behind http."""
    shutil.copytree(conda_channel.directory, place / "mirror")
    with served_folder(place / "mirror") as mirror:
        yield mirror.url


def build(
    model: Path,
    base: Path,
    folder: Path,
    variables: Mapping[str, str],
    *,
    program: Sequence[str] = (sys.executable, "-c", "from plugin_entrypoints.cli import main; main()"),
    keys: Sequence[str] = (),
) -> dict[str, object]:
    """Build with nothing warm, and return the receipt."""
    command = [*program, "build", str(model), "--name", "same", "--json", "-t", f"oci:{folder}/images"]
    command += ["-C", f"base_image=rootfs:{base}", *(part for key in keys for part in ("-C", key))]
    installers = ("PIP_", "UV_", "SSL_")  # how this machine reaches its package index
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "DBIMAGE_CACHE_DIR": str(folder / "cache"),
        **{name: value for name, value in os.environ.items() if name.startswith(installers)},
        "UV_CACHE_DIR": str(folder / "uv"),
        **variables,
    }
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def first(model: Path, base: Path, conda_channel, place: Path) -> dict[str, object]:
    folder = place / "a"
    folder.mkdir()
    variables = {"DBIMAGE_CHANNEL_MAP": f"conda-forge={conda_channel.url}", "PYTHONHASHSEED": "0"}
    return build(model, base, folder, {**variables, "TZ": "UTC", "LC_ALL": "C.UTF-8"})


@pytest.fixture(scope="module")
def mirrored_index(first: dict[str, object], place: Path) -> Iterator[PackageIndex]:
    """An index at another URL, with a password, of the wheels that the first build fetched."""
    folder = place / "wheels"
    folder.mkdir()
    for wheel in (place / "a" / "cache" / "wheels").rglob("*.whl"):
        shutil.copy(wheel, folder)
    index = PackageIndex(directory=folder, password=CANARY)
    with serve(index):
        yield index


def test_a_deep_folder_another_locale_and_other_mirrors(
    first: dict[str, object],
    model: Path,
    base: Path,
    mirrored_channel: str,
    mirrored_index: PackageIndex,
    place: Path,
) -> None:
    folder = place / ("deep-" + "d" * 90) / ("er-" + "e" * 80)
    folder.mkdir(parents=True)
    variables = {
        "DBIMAGE_CHANNEL_MAP": f"conda-forge={mirrored_channel}",
        "DBIMAGE_INDEX_URL": mirrored_index.url_with_password,
        "PYTHONHASHSEED": "4711",
        "TZ": "Asia/Kathmandu",
        "LC_ALL": "POSIX",
    }
    second = build(model, base, folder, variables)
    assert second["digest"] == first["digest"]
    assert second["record"] == first["record"]
    leaks = [path for path in folder.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]
    assert leaks == []


@pytest.mark.root
@pytest.mark.clock
def test_another_user_on_another_day_with_another_python(
    first: dict[str, object],
    model: Path,
    base: Path,
    mirrored_channel: str,
    mirrored_index: PackageIndex,
    place: Path,
) -> None:
    folder = place / "nobody"
    folder.mkdir()
    shutil.chown(folder, 65534, 65534)
    program = [
        *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
        *("faketime", "2031-05-06 07:08:09"),
        *(str(debian_python(place)), "-c", "from plugin_entrypoints.cli import main; main()"),
    ]
    variables = {
        "DBIMAGE_CHANNEL_MAP": f"conda-forge={mirrored_channel}",
        "DBIMAGE_INDEX_URL": mirrored_index.url_with_password,
    }
    second = build(model, base, folder, variables, program=program)
    assert second["digest"] == first["digest"]


def debian_python(place: Path) -> Path:
    """Install the project for Debian's own Python, where everybody may read it."""
    uv = [sys.executable, "-m", "uv"]
    source = place / "source"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "tests", "sample_models")
    shutil.copytree(CLONE, source, ignore=ignored)
    for command in (
        [*uv, "venv", "--quiet", "--python", "/usr/bin/python3", str(place / "venv")],
        [*uv, "pip", "install", "--quiet", "--python", str(place / "venv" / "bin" / "python"), str(source)],
    ):
        subprocess.run(command, check=True)
    return place / "venv" / "bin" / "python"
