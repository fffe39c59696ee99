"""Golden bases on the Debian base, made once by the real `dbimage base build` and kept.

Two of them: the packages of 7.6 ML, all 180 entries of the runtime's list, out of a company's mirror that is a
folder; and of 15.4 LTS ML the pins that loading and predicting need, out of the real index. The build cache is
kept too: a base that other code is to make has its environment there, unless its packages are others.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import yaml
from filelock import FileLock

from sample_models.channel import interpreters, runtime_list
from services.package_mirror import mirror, write_index
from toy_wheels import make_wheel

CLONE = Path(__file__).resolve().parents[2]
DBIMAGE = (sys.executable, "-c", "from plugin_entrypoints.cli import main; main()")
DATA = files("mlflow_dbimage.runtimes") / "data"

# What the mirror is made by.
_OF_MIRROR = (
    *(
        f"sample_models/channel/{part}.py"
        for part in ("interpreters", "libraries", "package", "runtime_list", "wheels")
    ),
    "tests/services/package_mirror.py",
    "mlflow_dbimage/runtimes/data/conda/7.6-ml-conda.yml",
)
# What a base is made by, as far as it decides what is in it: made with other code, a base is still a base.
_PARTS = ("accounts", "environment", "form", "pipeline", "record")
_OF_BASE = (
    *(f"mlflow_dbimage/base_{part}.py" for part in _PARTS),
    "mlflow_dbimage/package_list.py",
    "mlflow_dbimage/locking/exact_*.py",
)

#: pip entries of the 7.6 ML list that stand-ins are made for: they are large, or need a compiler and MPI.
STAND_INS = ("horovod", "tensorboard", "tensorflow-cpu", "xgboost")

#: Of the pins of 15.4 LTS ML, what loading and predicting import, with all that they need.
PACKAGES_15_4 = tuple(
    """
    cachetools certifi charset-normalizer click cloudpickle databricks-sdk deprecated entrypoints gitdb gitpython
    google-auth idna importlib-metadata joblib lightgbm mlflow-skinny numpy opentelemetry-api opentelemetry-sdk
    opentelemetry-semantic-conventions packaging pandas pip protobuf pyarrow pyasn1 pyasn1-modules python-dateutil
    pytz pyyaml requests rsa scikit-learn scipy setuptools six smmap sqlparse threadpoolctl typing-extensions
    urllib3 wheel wrapt zipp
    """.split()  # noqa: SIM905  # a list of 44 lines reads worse
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """A company's mirror in folders: a conda channel and a package index."""

    channel: Path
    index: str
    """Its URL."""

    @property
    def variables(self) -> dict[str, str]:
        """How a site tells of it."""
        names = ("pytorch", "defaults", "conda-forge")
        return {
            "DBIMAGE_CHANNEL_MAP": ",".join(f"{name}={self.channel.as_uri()}" for name in names),
            "DBIMAGE_INDEX_URL": self.index,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeBase:
    """A golden base in an OCI layout."""

    location: str
    """For `base_image` and `bases`: `oci:DIR@sha256:...`."""
    receipt: Mapping[str, object]
    """What `dbimage base build --json` said."""
    variables: Mapping[str, str]
    """How its packages are found: channels, index and runtimes."""


def mirror_of_7_6_ml(kept: Path) -> Mirror:
    """Return the mirror of everything in the 7.6 ML list, made on the first call."""
    target = kept / f"mirror-7.6-ml-{_mirror_key()}"
    kept.mkdir(parents=True, exist_ok=True)
    with FileLock(kept / "mirror-7.6-ml.lock"):
        if not target.exists():
            aside = kept / f".{target.name}"
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir()
            _make_mirror(aside)
            aside.rename(target)
        # Its pages name where the files are.
        index = write_index(target / "files", target / "simple")
    return Mirror(channel=target / "channel", index=index)


def base_7_6_ml(kept: Path, base_rootfs: Path, builds: Path) -> MadeBase:
    """Return the golden base of 7.6 ML, at conda's root environment `databricks-ml`."""
    variables = mirror_of_7_6_ml(kept).variables
    options = ["--runtime", "7.6-ml", "--system", f"rootfs:{base_rootfs}"]
    return _made(f"7.6-ml-{_mirror_key()}", options, variables, kept, builds)


def base_15_4_lts_ml(kept: Path, base_rootfs: Path, builds: Path, channel: str) -> MadeBase:
    """Return the golden base of `PACKAGES_15_4`, whose Python is of another patch than the runtime's."""
    runtimes = kept / f"runtimes-{_digest(' '.join(PACKAGES_15_4).encode())}"
    kept.mkdir(parents=True, exist_ok=True)
    with FileLock(kept / "runtimes.lock"):
        if not runtimes.exists():
            runtimes.mkdir(parents=True)
            _write_runtime("15.4-lts-ml", PACKAGES_15_4, runtimes)
    variables = {
        "DBIMAGE_CHANNEL_MAP": f"conda-forge={channel}",
        "DBIMAGE_RUNTIMES_DIR": str(runtimes),
    }
    options = ["--runtime", "15.4-lts-ml", "--system", f"rootfs:{base_rootfs}", "--allow-drift"]
    return _made(runtimes.name.replace("runtimes", "15.4-lts-ml"), options, variables, kept, builds)


def _made(name: str, options: list[str], variables: Mapping[str, str], kept: Path, builds: Path) -> MadeBase:
    folder = kept / f"{name}-{_digest(*_contents(_OF_BASE), ' '.join(options).encode())}"
    with FileLock(kept / f"{name}.lock"):
        if not (folder / "receipt.json").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            command = [*DBIMAGE, "base", "build", *options, "-t", f"oci:{folder / 'images'}", "--json"]
            settings = {**variables, "DBIMAGE_CACHE_DIR": str(builds)}
            done = subprocess.run(
                command, env={**os.environ, **settings}, cwd=folder, capture_output=True, text=True, check=False
            )
            if done.returncode != 0:
                raise RuntimeError(f"the golden base {name} could not be made:\n{done.stderr}")
            (folder / "receipt.new").write_text(done.stdout)
            (folder / "receipt.new").rename(folder / "receipt.json")
    receipt = json.loads((folder / "receipt.json").read_text())
    return MadeBase(
        location=f"oci:{folder / 'images'}@{receipt['digest']}", receipt=receipt, variables=dict(variables)
    )


def _make_mirror(folder: Path) -> None:
    listed = yaml.safe_load((DATA / "conda" / "7.6-ml-conda.yml").read_bytes())
    runtime_list.make_channel(listed["dependencies"], folder / "channel")
    pins = listed["dependencies"][-1]["pip"]
    real = [pin for pin in pins if pin.partition("==")[0] not in STAND_INS]
    python = interpreters.find([runtime_list.MINOR])[0]
    # What builds of source distributions ask for.
    tools = ["setuptools==68.0.0", "wheel==0.42.0"]
    mirror([*real, *tools], python.version, python.executable, folder / "files", folder / "work")
    shutil.rmtree(folder / "work")
    for pin in set(pins) - set(real):
        name, _, version = pin.partition("==")
        make_wheel(folder / "files", name, version)


def _write_runtime(key: str, names: tuple[str, ...], folder: Path) -> None:
    """Write a runtime's file with some of its packages."""
    data = yaml.safe_load((DATA / "runtimes" / f"{key}.yml").read_bytes())
    data["packages"] = {name: data["packages"][name] for name in names}
    data["package_count"] = len(names)
    (folder / f"{key}.yml").write_text(yaml.safe_dump(data))


def _mirror_key() -> str:
    """Return what changes with what the mirror has."""
    return _digest(*_contents(_OF_MIRROR), " ".join(STAND_INS).encode())


def _contents(patterns: tuple[str, ...]) -> list[bytes]:
    """Return the names and contents of files of the clone."""
    paths = sorted(path for pattern in patterns for path in CLONE.glob(pattern))
    return [part for path in paths for part in (path.name.encode(), path.read_bytes())]


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]
