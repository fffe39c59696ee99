"""Models whose code does harm when it is loaded, built by the real command: nothing comes of it."""

from __future__ import annotations

import json
import os
import socket
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from fakes.package_index import PackageIndex, serve
from light_build import (
    Bench,
    error_of,
    greeting_wheel,
    half_written,
    light_model,
    light_settings,
    listing,
    tiny_base,
)
from toy_wheels import make_wheel

pytestmark = [pytest.mark.slow, pytest.mark.channel, pytest.mark.sandbox]

CANARY = "canary-of-the-builder-51c7"

# What it got hold of is in the message with which it fails, and so in the receipt.
_CURIOUS = """\
import glob, os, socket

def attempts():
    yield "environment", lambda: [name for name, value in os.environ.items() if CANARY in value]
    yield "environments of processes", lambda: [
        path for path in glob.glob("/proc/*/environ") if CANARY.encode() in open(path, "rb").read()
    ]
    yield "home", lambda: os.listdir(HOME)
    yield "credentials", lambda: open(HOME + "/.docker/config.json").read()
    yield "its own index", lambda: socket.create_connection(("127.0.0.1", PORT), 1)
    yield "the metadata of a cloud", lambda: socket.create_connection(("169.254.169.254", 80), 1)
    yield "a service's socket", lambda: socket.socket(socket.AF_UNIX).connect(SERVICE)
    for name, place in (("model", MODEL), ("home", HOME), ("cache", CACHE), ("results", TARGET)):
        # Where folders of temporary files are, this may look as if it were done: the test looks whether it was.
        yield "writing to " + name, lambda: open(place + "/harm", "w").close()
    yield "its own environment", lambda: open(os.__file__, "a")
    yield "its own folder", lambda: open(os.path.join(os.path.dirname(__file__), "harm"), "w")

def tried(action):
    try:
        return action()
    except OSError:
        return None

def _load_pyfunc(path):
    globals()["MODEL"] = path
    done = [name for name, action in attempts() if tried(action)]
    raise RuntimeError("it got at " + (", ".join(done) or "nothing"))
"""


# As much of MLflow as loading a model takes.
_PYFUNC = b"""\
import sys

def load_model(path, suppress_warnings):
    sys.path.insert(0, path + "/code")
    import harm
    return harm._load_pyfunc(path)
"""


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PackageIndex]:
    folder = tmp_path_factory.mktemp("wheels")
    greeting_wheel(folder)
    make_wheel(folder, "mlflow", "3.1.0", files={"mlflow/__init__.py": b"", "mlflow/pyfunc.py": _PYFUNC})
    sources = Path(yaml.__file__).parent.glob("*.py")
    make_wheel(folder, "pyyaml", files={f"yaml/{path.name}": path.read_bytes() for path in sources})
    with serve(PackageIndex(directory=folder)) as index:
        yield index


@pytest.fixture(scope="module")
def bench(conda_channel, index: PackageIndex, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A place where everything is warm; the folder is the builder's home too."""
    folder = tmp_path_factory.mktemp("bench")
    settings = {
        **light_settings(conda_channel.url, tiny_base(folder / "base" / "base.tar"), index.url),
        "AWS_SECRET_ACCESS_KEY": CANARY,
    }
    bench = Bench(
        folder=folder / "here", model=light_model(folder / "model"), cache=folder / "cache", settings=settings
    )
    (bench.folder / ".docker").mkdir()
    (bench.folder / ".docker" / "config.json").write_text(json.dumps({"auths": {}, "canary": CANARY}))
    bench.receipt("here")
    # The lock and the wheels of the models below: without byte code none of their code runs.
    hostile(bench, folder / "warm", "").receipt("warm", "-C", "bytecode=none")
    return bench


def hostile(bench: Bench, folder: Path, code: str) -> Bench:
    """Give a bench whose model runs `code` when it is loaded."""
    model = light_model(folder / "model", "mlflow==3.1.0", "pyyaml")
    (model / "code").mkdir()
    (model / "code" / "harm.py").write_text(code)
    return Bench(folder=bench.folder, model=model, cache=bench.cache, settings=bench.settings)


def harm(body: str) -> str:
    return "import os, signal, time\n\ndef _load_pyfunc(path):\n" + textwrap.indent(textwrap.dedent(body), "    ")


def unharmed(bench: Bench) -> dict[str, str]:
    """List what a build may not change: the home, the model, and what the cache held before."""
    kept = listing(bench.cache, without=("work", "uv"))
    return {path: digest for path, digest in kept.items() if "/repodata/" not in path} | listing(bench.model)


def test_a_curious_model_gets_at_nothing(bench: Bench, index: PackageIndex, tmp_path: Path) -> None:
    places = {
        "CANARY": CANARY,
        "HOME": str(bench.folder),
        "CACHE": str(bench.cache),
        "TARGET": str(bench.target),
        "PORT": index.port,
        "SERVICE": str(tmp_path / "service"),
    }
    named = "".join(f"{name} = {value!r}\n" for name, value in places.items())
    curious = hostile(bench, tmp_path, named + _CURIOUS)
    before = unharmed(curious)
    with socket.socket(socket.AF_UNIX) as service:
        service.bind(str(tmp_path / "service"))
        service.listen()
        receipt = curious.receipt("curious", "-C", "layers=2")
    assert receipt["notes"][-1].endswith("RuntimeError: it got at nothing")
    after = unharmed(curious)
    assert {path: after.get(path) for path in before} == before
    assert not [path for path in after if path.endswith("harm")]
    assert not [path for tree in (bench.folder, bench.cache, curious.model) for path in tree.rglob("harm")]


@pytest.mark.parametrize(
    ("body", "limits", "told"),
    [
        ("while True: time.sleep(1)", ["model_seconds=3"], "took more than 3 s"),
        ("kept = []\nwhile True: kept.append(bytearray(b'x') * 2**24)", ["model_memory=700"], "of memory"),
        (
            "for number in range(999): open(str(number), 'wb').write(bytes(2**20))\ntime.sleep(60)",
            ["model_disk=60"],
            "wrote more than",
        ),
        ("for _ in range(1500):\n  if os.fork() == 0: time.sleep(60)\ntime.sleep(60)", [], "1024 processes"),
        ("for _ in range(300):\n  os.mkdir('d')\n  os.chdir('d')\nos._exit(0)", [], "deeper folders"),
    ],
    ids=["time", "memory", "disk", "processes", "depth"],
)
def test_a_greedy_model_is_stopped(bench: Bench, tmp_path: Path, body: str, limits: list[str], told: str) -> None:
    greedy = hostile(bench, tmp_path, harm(body))
    before, images = unharmed(greedy), listing(greedy.target)
    done = greedy.build("greedy", "-C", "layers=3", *(word for limit in limits for word in ("-C", limit)))
    exit_code, code, message, hint = error_of(done)
    assert (exit_code, code) == (3, "model-stopped")
    assert told in message
    assert hint
    assert unharmed(greedy) == before
    assert listing(greedy.target) == images
    assert half_written(greedy.cache) == []


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("os._exit(0)", "left no result"),
        ("os.symlink('/etc/passwd', 'modules.json')\nos._exit(0)", "left no result"),
        ("os.mkfifo('modules.json')\nos._exit(0)", "left something else"),
        ("open('modules.json', 'w').write('[' * 100000)\nos._exit(0)", "left something else"),
        (
            "open('modules.json', 'w').write('{\"modules\": 7, \"error\": null}')\nos._exit(0)",
            "left something else",
        ),
    ],
    ids=["leaves", "link", "pipe", "nested", "kind"],
)
def test_a_model_that_breaks_what_runs_it_is_told(bench: Bench, tmp_path: Path, body: str, told: str) -> None:
    breaking = hostile(bench, tmp_path, harm(body))
    before, images = unharmed(breaking), listing(breaking.target)
    exit_code, code, message, _ = error_of(breaking.build("breaking", "-C", "layers=4"))
    assert (exit_code, code) == (5, "program-failed")
    assert told in message
    assert unharmed(breaking) == before
    assert listing(breaking.target) == images
    assert half_written(breaking.cache) == []


def test_a_model_kills_nobody_but_itself(bench: Bench, tmp_path: Path) -> None:
    body = """\
        for process in (os.getppid(), -1):
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                pass
        raise ValueError("all alone")
        """
    done = hostile(bench, tmp_path, harm(body)).build("killer", "-C", "layers=8")
    assert done.returncode == 0, done.stderr
    assert "all alone" in json.loads(done.stdout)["notes"][-1]


def test_what_a_model_says_cannot_command_a_terminal(bench: Bench, tmp_path: Path) -> None:
    rude = hostile(bench, tmp_path, harm("raise ValueError('\\x1b[2Jgone\\x07 ' + 'x' * 10**6)"))
    done = rude.build("rude", "-C", "layers=5")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stderr
    note = json.loads(done.stdout)["notes"][-1]
    assert "gone" in note
    assert note.isprintable()
    assert len(note) < 1000


def test_the_builder_is_told_which_sandbox_was_used(bench: Bench, tmp_path: Path) -> None:
    done = hostile(bench, tmp_path, harm("pass")).build("told", "-C", "layers=6", "-C", "sandbox=required")
    assert done.returncode == 0, done.stderr
    assert "confined by bubblewrap" in done.stderr
    plain = bench.build("plain", "-C", "layers=7", PATH=os.environ["PATH"])
    assert plain.returncode == 0
