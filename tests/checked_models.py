"""Small models to check, good ones and ones that are broken on purpose, written by hand; and checks of them.

Each has its code beside it (`code/checked_loader.py`), takes a column `a` and gives what its `predict` returns.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import sysconfig
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from plain_model import write_model
from scoring_roots import command, score, scoring_root

_MLMODEL = """\
flavors:
  python_function:
    code: code
    env:
      conda: conda.yaml
    loader_module: checked_loader
    python_version: {python}
mlflow_version: 3.1.0
{signature}utc_time_created: '2026-01-01 00:00:00.000000'
"""
_SIGNATURE = """\
signature:
  inputs: '[{"type": "double", "name": "a"}]'
  outputs: null
"""
_LOADER = """\
import numpy
import pandas

{load}


class Checked:
    def __init__(self, path):
        self.path = path

    def predict(self, frame):
{predict}


def _load_pyfunc(path):
    return Checked(path)
"""

#: What a model does: code that runs as it is loaded, and code of its `predict`.
SOURCES: Mapping[str, tuple[str, str]] = {
    "good": ("", "return pandas.DataFrame({'half': frame['a'] / 2, 'sign': ['+'] * len(frame)})"),
    "other": ("", "return pandas.DataFrame({'half': frame['a'] / 2.001, 'sign': ['+'] * len(frame)})"),
    "random": ("", "return numpy.random.default_rng().random(len(frame))"),
    "random-by-process": (
        "import os, time\nSEED = os.getpid() + time.time_ns()",
        "return numpy.random.default_rng(SEED).random(len(frame))",
    ),
    "by-hash": ("", "return [','.join({'red', 'green', 'blue', 'white', 'black'}) for _ in frame['a']]"),
    "changes-its-input": ("", "frame['a'] *= 2\nreturn frame['a'].to_numpy()"),
    "network-at-load": (
        "import urllib.request\nurllib.request.urlopen('http://features.example/table', timeout=5)",
        "return frame['a']",
    ),
    "network-at-predict": (
        "import socket",
        "socket.create_connection(('192.0.2.7', 5432), timeout=5)\nreturn frame['a']",
    ),
    "network-if-there-is": (
        "import socket",
        "try:\n    socket.create_connection(('rates.example', 443), timeout=5)\n"
        "except OSError:\n    pass\nreturn frame['a']",
    ),
    "loopback": (
        "import socket",
        "with socket.create_server(('127.0.0.1', 0)) as server:\n"
        "    socket.create_connection(server.getsockname()).close()\nreturn frame['a']",
    ),
    "own-directory": ("import os", "open(os.path.join(self.path, 'last.log'), 'a').close()\nreturn frame['a']"),
    "own-directory-if-it-can": (
        "import os",
        "try:\n    os.mkdir(os.path.join(self.path, 'cache'))\nexcept OSError:\n    pass\nreturn frame['a']",
    ),
    "no-module": ("import a_module_that_is_nowhere", "return frame['a']"),
    "other-version": ("from pandas import ThatClassOfTomorrow", "return frame['a']"),
    "own-file-missing": ("", "open(self.path + '/weights.bin').close()\nreturn frame['a']"),
    "memory": ("", "return numpy.zeros(2**62, dtype='int8')"),
    "raises": ("", "raise KeyError('a value that it does not know')"),
    "exits": ("raise SystemExit('no licence')", "return frame['a']"),
    "by-wheel": ("import rates", "return frame['a'] * rates.FACTOR"),
    "segfault": ("import ctypes\nctypes.string_at(0)", "return frame['a']"),
}


def checked_model(
    directory: Path,
    kind: str,
    *,
    example: object = ((1.0,), (-3.0,)),
    signature: str = _SIGNATURE,
    requirements: Sequence[str] = ("mlflow", "pandas"),
    **files: str,
) -> Path:
    """Write a model.

    Args:
        directory: Where.
        kind: Of `SOURCES`.
        example: Rows of its example file; None for a model without.
        signature: As MLmodel has it, or nothing.
        requirements: Lines of its pip section.
        files: More files, as `write_model` takes them.
    """
    load, predict = SOURCES[kind]
    code = _LOADER.format(load=load, predict=textwrap.indent(predict, " " * 8))
    python = platform.python_version()
    lines = "".join(f"  - {line}\n" for line in requirements)
    conda = f"dependencies:\n- python={python}\n- pip\n- pip:\n{lines}name: mlflow-env\n"
    given = {"code__checked_loader.py": code, "conda_DOT_yaml": conda, "python_model_DOT_pkl": None, **files}
    if example is not None:
        body = {"dataframe_split": {"columns": ["a"], "data": example}}
        given["serving_input_example_DOT_json"] = json.dumps(body)
    return write_model(directory, _MLMODEL.format(python=python, signature=signature), **given)


def self_check(root: Path, **more: Any) -> dict[str, Any]:
    """Have an image's root check itself, and return the report."""
    ended = score(root, "--check", **more)
    assert ended.returncode == 0, ended.stderr
    (line,) = ended.stdout.splitlines()
    return dict(json.loads(line))


def check_of(model: Path, root: Path) -> dict[str, Any]:
    """Check a model in this Python's environment; `root` is a new folder."""
    return self_check(scoring_root(root, Path(sys.executable), model))


def environment_with(folder: Path, *wheels: Path) -> Path:
    """Make an environment that sees the packages of this one, and has wheels of its own; return its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python3.*/site-packages")
    (site / "mine.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n")
    for wheel in wheels:
        subprocess.run([sys.executable, "-m", "zipfile", "-e", wheel, site], check=True)
    return folder / "bin" / "python"


def check_without_library(model: Path, folder: Path, library: str) -> dict[str, Any]:
    """Check a model where a library of the system is out of sight, and nothing else is; root alone can."""
    root = scoring_root(folder / "root", Path(sys.executable), model)
    place = f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}"
    (folder / "all").mkdir()
    (folder / "less").mkdir()
    inside = (
        f"mount --bind {place} {folder}/all && cd {folder}/less && "
        f"for each in ../all/*; do ln -s {folder}/all/${{each##*/}} .; done && rm {library}* && "
        f'mount --bind {folder}/less {place} && cd / && exec "$@"'
    )
    ended = subprocess.run(
        ["unshare", "--mount", "sh", "-c", inside, "sh", *command(root, ["--check"])],
        env={"PATH": f"{os.defpath}:/usr/sbin:/sbin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return dict(json.loads(ended.stdout))


class KeptChecks:
    """Reports of the models of `SOURCES`, each made once, by whichever process of a test run asks first.

    Args:
        folder: Where they are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, kind: str, run: int = 1) -> dict[str, Any]:
        """Return the report of a model; another `run` is another process."""
        self._folder.mkdir(exist_ok=True)
        kept = self._folder / f"{kind}-{run}.json"
        with FileLock(f"{kept}.lock"):
            if not kept.exists():
                with tempfile.TemporaryDirectory(dir=self._folder) as scratch:
                    report = check_of(checked_model(Path(scratch) / "model", kind), Path(scratch))
                kept.write_text(json.dumps(report))
        return dict(json.loads(kept.read_text()))
