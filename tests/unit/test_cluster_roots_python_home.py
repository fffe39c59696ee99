"""Python environments in roots: what a listing tells is what their own Python would say."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from dcs_roots import Content, Program, dist_info, tar_layer
from mlflow_dbimage.cluster_roots import is_wanted
from mlflow_dbimage.cluster_roots.python_home import (
    PythonHome,
    distributions,
    read_python_home,
    site_folders,
)
from mlflow_dbimage.oci.root_listing import RootListing, read_listing
from oci_samples import image_of, plain_layer
from toy_wheels import make_wheel

PLACE = "databricks/python3"
SITE = f"{PLACE}/lib/python3.11/site-packages"
SETTINGS = b"home = /usr/bin\ninclude-system-site-packages = true\nversion_info = 3.11.11.final.0\n"


def listing_of(files: dict[str, Content]) -> RootListing:
    return read_listing(image_of(tar_layer(files)), is_wanted)


def home(files: dict[str, Content]) -> PythonHome:
    found = read_python_home(listing_of(files), PLACE)
    assert found is not None
    return found


def test_a_real_environment_is_read_as_its_own_python_sees_it(tmp_path: Path) -> None:
    root = tmp_path / "root"
    place = root / PLACE
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    wheels = [make_wheel(tmp_path, name) for name in ("Greeting.Cards", "other_one")]
    install = [
        "uv",
        "pip",
        "install",
        "-q",
        "--offline",
        "--no-deps",
        "--python",
        place / "bin" / "python",
        *wheels,
    ]
    subprocess.run(install, check=True)
    script = (
        "import json, importlib.metadata as m; print(json.dumps([[d.name, d.version] for d in m.distributions()]))"
    )
    told = subprocess.run([place / "bin" / "python", "-I", "-c", script], check=True, capture_output=True).stdout
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.add(root, ".")
    found = read_python_home(read_listing(image_of(plain_layer(out.getvalue())), is_wanted), PLACE)
    assert found is not None
    assert found.version == ".".join(map(str, sys.version_info[:3]))
    assert found.own == {"greeting-cards": "1.0", "other-one": "1.0"}
    assert found.own == {canonicalize_name(name): version for name, version in json.loads(told)}
    assert (found.shared, found.is_conda, found.sees_system) == ({}, False, False)


def test_what_is_its_own_hides_what_is_shared() -> None:
    found = home(
        {
            f"{PLACE}/pyvenv.cfg": SETTINGS,
            **dist_info(SITE, {"six": "1.16.0"}),
            **dist_info("usr/local/lib/python3.11/dist-packages", {"six": "1.15.0", "wheel": "0.38.4"}),
            **dist_info("usr/lib/python3/dist-packages", {"wheel": "0.37.0", "dbus-python": "1.2.18"}),
            **dist_info("usr/lib/python3.9/site-packages", {"old": "1"}),
            **dist_info("opt/python/lib/python3.11/site-packages", {"foreign": "1"}),
        }
    )
    assert found.own == {"six": "1.16.0"}
    assert found.shared == {"six": "1.15.0", "wheel": "0.38.4", "dbus-python": "1.2.18"}
    assert found.distributions["six"] == "1.16.0"


def test_nothing_is_shared_that_the_environment_does_not_ask_for() -> None:
    files = dist_info("usr/lib/python3/dist-packages", {"six": "1.15.0"})
    assert home({f"{PLACE}/pyvenv.cfg": SETTINGS.replace(b"true", b"false"), **files}).shared == {}
    assert home({f"{PLACE}/bin": None, **files}).shared == {}


def test_a_python_elsewhere_shares_its_own() -> None:
    settings = SETTINGS.replace(b"/usr/bin", b"/opt/python/bin")
    files = dist_info("opt/python/lib/python3.11/site-packages", {"six": "1.15.0"})
    assert home({f"{PLACE}/pyvenv.cfg": settings, **files}).shared == {"six": "1.15.0"}


@pytest.mark.parametrize(
    ("settings", "folder", "version", "minor"),
    [
        (b"version_info = 3.11.11.final.0\n", "python3.11", "3.11.11", "3.11"),
        (b"version = 3.11.7\n", "python3.11", "3.11.7", "3.11"),
        (b"home = /usr/bin\n", "python3.12", "3.12", "3.12"),
        (b"version = nonsense\n", "python3.9", "3.9", "3.9"),
        (b"", "python2.7", None, None),
    ],
)
def test_its_version_is_what_it_states_else_what_its_folders_say(
    settings: bytes, folder: str, version: str | None, minor: str | None
) -> None:
    found = home({f"{PLACE}/pyvenv.cfg": settings, f"{PLACE}/lib/{folder}": None})
    assert (found.version, found.minor) == (version, minor)


@pytest.mark.parametrize(
    ("files", "kind", "program"),
    [
        ({PLACE: "nowhere"}, "symlink", None),
        ({PLACE: "real", "databricks/real/bin/python": Program(b"")}, "symlink", "databricks/real/bin/python"),
        ({PLACE: b"text"}, "file", None),
        ({f"{PLACE}/bin/python3": "python", f"{PLACE}/bin/python": "/usr/bin/python3.11"}, "directory", None),
    ],
)
def test_what_is_no_environment_is_said_to_be_what_it_is(
    files: dict[str, Content], kind: str, program: str | None
) -> None:
    found = home(files)
    assert (found.kind, found.program, found.own) == (kind, program, {})


def test_where_nothing_is_there_is_no_environment() -> None:
    assert read_python_home(listing_of({"databricks": None}), PLACE) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Flask_SQLAlchemy-3.1.1.dist-info", {"flask-sqlalchemy": "3.1.1"}),
        ("torch-1.13.1+cu117.dist-info", {"torch": "1.13.1+cu117"}),
        ("backports.zoneinfo-0.2.1.dist-info", {"backports-zoneinfo": "0.2.1"}),
        ("PyYAML-5.3.1-py3.8.egg-info", {"pyyaml": "5.3.1"}),
        ("six-1.16.0.egg-info", {"six": "1.16.0"}),
        ("six.egg-info", {"six": ""}),
        ("six-1.16.0.data", {}),
        ("six.py", {}),
    ],
)
def test_names_of_metadata(name: str, expected: dict[str, str]) -> None:
    assert distributions(listing_of({f"site/{name}": b""}), ["site"]) == expected


def test_folders_of_a_program_are_those_of_where_it_is_and_of_where_it_leads() -> None:
    found = listing_of(
        {
            "opt/tools/bin/python": "/usr/bin/python3.11",
            "usr/bin/python3.11": Program(b""),
            "opt/tools/lib/python3.11/site-packages": None,
            "usr/local/lib/python3.11/dist-packages": None,
        }
    )
    folders = site_folders(found, "opt/tools/bin/python")
    assert folders.index("opt/tools/lib/python3.11/site-packages") < folders.index(
        "usr/local/lib/python3.11/dist-packages"
    )
    assert "usr/lib/python3/dist-packages" in folders
