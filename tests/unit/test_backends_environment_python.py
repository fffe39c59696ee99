"""The environment's Python: byte code is a function of its source, kept between builds, read by a rehearsal."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import marshal
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from checked_models import checked_model, environment_with
from mlflow_dbimage.backends import environment_scripts
from mlflow_dbimage.backends.environment_python import EnvironmentPython, Rehearsal
from mlflow_dbimage.backends.environment_scripts import compile_bytecode
from mlflow_dbimage.backends.sandbox import Limits, Sandbox
from mlflow_dbimage.check_report import CheckReport
from mlflow_dbimage.errors import ServiceError
from mlflow_dbimage.packed_env import IMAGE_PREFIX
from mlflow_dbimage.verification import judge
from sample_models.channel.interpreters import at_hand
from sandboxes import sandbox
from scoring_roots import scoring_root
from toy_wheels import make_wheel

PYTHONS = at_hand()
SCRIPTS = Path(environment_scripts.__file__).parent
MINOR = f"python{sys.version_info.major}.{sys.version_info.minor}"
DEEP = "package/deep/__init__.py"
SOURCE = '''\
"""A docstring that other modules have too."""
NAMES = {"alpha", "beta", "gamma"}
TEXT = "a text with blanks"


def function(number=10 ** 20):
    """A docstring that other modules have too."""
    return [each for each in ("alpha", 1.5, number, None) if each in NAMES], "a text with blanks"
'''


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """An environment of this Python, as far as scripts look at it."""
    prefix = tmp_path / "env"
    (prefix / "conda-meta").mkdir(parents=True)
    (prefix / "lib" / MINOR).mkdir(parents=True)
    (prefix / "bin").mkdir()
    (prefix / "bin" / "python").symlink_to(sys.executable)
    record = {"version": "3.11.7", "build": "h1_0", "sha256": "0" * 64}
    (prefix / "conda-meta" / "python-3.11.7-h1_0.json").write_text(json.dumps(record))
    (prefix / "conda-meta" / "python-dateutil-2.9-py_0.json").write_text("{}")
    (prefix / "lib" / MINOR / "module.py").write_text(SOURCE)
    return prefix


def compiled(prefix: Path, kept: Path, *sources: str) -> dict[str, bytes]:
    made = EnvironmentPython(kept, sandbox).compile(prefix, IMAGE_PREFIX, sources or [f"lib/{MINOR}/module.py"])
    return {path: place.read_bytes() for path, place in made.items()}


def test_byte_code_states_the_constant_time_and_its_place_in_the_image(prefix: Path, tmp_path: Path) -> None:
    ((path, data),) = compiled(prefix, tmp_path / "kept").items()
    assert path == f"lib/{MINOR}/__pycache__/module.{sys.implementation.cache_tag}.pyc"
    assert data[:4] == importlib.util.MAGIC_NUMBER
    assert data[4:16] == b"\0" * 4 + (315532801).to_bytes(4, "little") + len(SOURCE).to_bytes(4, "little")
    assert marshal.loads(data[16:]).co_filename == f"{IMAGE_PREFIX}/lib/{MINOR}/module.py"


def test_what_is_kept_is_not_compiled_again(prefix: Path, tmp_path: Path) -> None:
    first = compiled(prefix, tmp_path / "kept")
    (prefix / "bin" / "python").unlink()  # nothing can run any more
    assert compiled(prefix, tmp_path / "kept") == first


def test_damage_is_made_good(prefix: Path, tmp_path: Path) -> None:
    first = compiled(prefix, tmp_path / "kept")
    (path,) = [path for path in (tmp_path / "kept").rglob("*") if path.is_file()]
    path.write_bytes(b"damage")
    assert compiled(prefix, tmp_path / "kept") == first


def test_another_python_has_byte_code_of_its_own(prefix: Path, tmp_path: Path) -> None:
    compiled(prefix, tmp_path / "kept")
    record = prefix / "conda-meta" / "python-3.11.7-h1_0.json"
    record.write_text(record.read_text().replace("h1_0", "h2_0"))
    compiled(prefix, tmp_path / "kept")
    assert len(list((tmp_path / "kept").iterdir())) == 2


def test_sets_are_in_the_same_order_in_every_process(prefix: Path, tmp_path: Path) -> None:
    made = [compiled(prefix, tmp_path / str(number)) for number in range(3)]
    assert made[0] == made[1] == made[2]


def test_a_source_that_does_not_compile_is_left_out(prefix: Path, tmp_path: Path) -> None:
    folder = prefix / "lib" / MINOR
    (folder / "python2.py").write_text("print 'hello'\n")
    (folder / "null.py").write_bytes(b"x = 1\0\n")
    names = [f"lib/{MINOR}/{name}.py" for name in ("module", "null", "python2")]
    assert len(compiled(prefix, tmp_path / "kept", *names)) == 1
    assert list((tmp_path / "kept").rglob(".new*")) == []


@pytest.mark.parametrize("version", PYTHONS)
def test_what_a_process_has_seen_before_does_not_show(version: str, tmp_path: Path) -> None:
    python = PYTHONS[version]
    source, before = tmp_path / "module.py", tmp_path / "before.py"
    source.write_text(SOURCE)
    before.write_text(SOURCE.replace("function", "other") + "\nMORE = ('alpha', 'a text with blanks', 1.5)\n")
    outputs = []
    for number, tasks in enumerate(([source], [before, source])):
        made = [tmp_path / f"{number}-{task.name}.pyc" for task in tasks]
        request = {
            "mtime": 1,
            "jobs": 1,
            "tasks": [[str(task), f"/{task.name}", str(out)] for task, out in zip(tasks, made, strict=True)],
        }
        script = [str(python), "-s", "-B", str(SCRIPTS / "compile_bytecode.py")]
        seed = {"PYTHONHASHSEED": "0"}
        subprocess.run(script, input=json.dumps(request), env=seed, text=True, check=True)
        outputs.append(made[-1].read_bytes())
    assert outputs[0] == outputs[1]
    run = f"import marshal; exec(marshal.loads(open({str(tmp_path / '0-module.py.pyc')!r}, 'rb').read()[16:]))"
    subprocess.run([str(python), "-c", f"{run}\nassert function()[0] == ['alpha']"], check=True)


@pytest.fixture
def venv(prefix: Path, tmp_path: Path) -> Path:
    """An environment whose Python knows it for its own."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    shutil.copytree(prefix / "conda-meta", venv / "conda-meta")
    (venv / "lib" / MINOR / "module.py").write_text(SOURCE)
    return venv


def rehearsed(
    prefix: Path, kept: Path, tmp_path: Path, body: str, sandboxes: Callable[[], Sandbox] = sandbox
) -> Rehearsal:
    library = tmp_path / "library" / "mlflow_dbimage" / "scoring"
    shutil.rmtree(tmp_path / "library", ignore_errors=True)
    library.mkdir(parents=True)
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    (library / "rehearsal.py").write_text(f"def rehearse(model, example):\n{lines}")
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    return EnvironmentPython(kept, sandboxes).rehearse(
        prefix, IMAGE_PREFIX, tmp_path / "library", tmp_path, example=None, scratch=scratch
    )


IMPORT = f"""\
import sys
sys.path.insert(0, {{prefix!r}} + "/lib/{MINOR}")
import module
assert module.__file__ == {{prefix!r}} + "/lib/{MINOR}/module.py"
assert module.function.__code__.co_filename == module.__file__
raise ValueError(module.TEXT)
"""


def test_a_rehearsal_says_what_stopped_it(prefix: Path, tmp_path: Path) -> None:
    found = rehearsed(prefix, tmp_path / "kept", tmp_path, "raise SystemExit('no data\\nat all')")
    assert found.error == "SystemExit: no data"


def test_what_a_rehearsal_imports_is_compiled_meanwhile(venv: Path, tmp_path: Path) -> None:
    alone = compiled(venv, tmp_path / "alone")
    found = rehearsed(venv, tmp_path / "kept", tmp_path, IMPORT.format(prefix=str(venv)))
    assert found.error == "ValueError: a text with blanks"
    assert f"lib/{MINOR}/module.py" in found.modules
    (venv / "bin" / "python").unlink()  # nothing can run any more
    assert compiled(venv, tmp_path / "kept") == alone


def test_what_modules_import_is_compiled_before_it_is_asked_for(venv: Path, tmp_path: Path) -> None:
    # The model ends its process before Python comes to these.
    (venv / "lib" / MINOR / "module.py").write_text(f"import raises, later\n{SOURCE}")
    (venv / "lib" / MINOR / "raises.py").write_text("import time\ntime.sleep(0.5)\nraise ValueError('first')\n")
    (venv / "lib" / MINOR / "later.py").write_text(SOURCE)
    found = rehearsed(venv, tmp_path / "kept", tmp_path, IMPORT.format(prefix=str(venv)))
    assert found.error == "ValueError: first"
    assert f"lib/{MINOR}/later.py" not in found.modules
    (venv / "bin" / "python").unlink()
    assert compiled(venv, tmp_path / "kept", f"lib/{MINOR}/later.py")


def test_a_model_does_not_wait_for_a_compiler_that_cannot_start(venv: Path, tmp_path: Path) -> None:
    def without_compiler() -> Sandbox:
        if threading.current_thread() is not threading.main_thread():
            raise ServiceError("no-sandbox", "none for the compiler")
        return replace(sandbox(), limits=Limits(seconds=20))

    found = rehearsed(venv, tmp_path / "kept", tmp_path, IMPORT.format(prefix=str(venv)), without_compiler)
    assert found.error == "ValueError: a text with blanks"
    assert f"lib/{MINOR}/module.py" in found.modules


MISUSE = {
    "writes byte code itself": """\
for name in ("x", "0" * 64):
    try:
        open(sys.argv[8] + "/" + name, "wb")
    except OSError:
        continue
    raise SystemExit("it can write byte code")
""",
    "asks for what is outside": """\
for packet in (b"../model.txt", b"/etc/passwd", b"a\\0b", b"x" * 5000, b"\\xff", b"lib"):
    os.write(asked, packet)
    os.read(asked, 1)
""",
    "ends the service": "os.write(asked, b'')\n",
    "closes the socket": "os.close(asked)\n",
    "imports in children": """\
children = [os.fork() for _ in range(3)]
if 0 in children:
    sys.path.insert(0, {prefix!r} + "/lib/{minor}")
    import module
    os._exit(0)
assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
""",
}


@pytest.mark.parametrize("misuse", MISUSE)
def test_a_model_cannot_spoil_what_is_kept(misuse: str, venv: Path, tmp_path: Path) -> None:
    alone = compiled(venv, tmp_path / "alone")
    body = MISUSE[misuse].replace("{prefix!r}", repr(str(venv))).replace("{minor}", MINOR)
    body = f"import os, sys\nasked = int(sys.argv[7])\n{body}{IMPORT.format(prefix=str(venv))}"
    found = rehearsed(venv, tmp_path / "kept", tmp_path, body)
    assert found.error == "ValueError: a text with blanks"
    assert compiled(venv, tmp_path / "kept") == alone
    kept = [path for path in (tmp_path / "kept").rglob("*") if path.is_file()]
    assert all(path.name.split(".")[1] == hashlib.sha256(path.read_bytes()).hexdigest() for path in kept)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import top", ["top.py"]),
        ("import missing, package.inner as other  # only", ["package/__init__.py", "package/inner.py"]),
        ("from package import inner, Name", ["package/__init__.py", "package/inner.py"]),
        ("from package import (\n    inner,\n    deep,\n)", ["package/__init__.py", "package/inner.py", DEEP]),
        ("from . import inner", ["package/inner.py"]),
        ("from .deep.leaf import name", [DEEP, "package/deep/leaf.py"]),
        ("from .. import top", ["top.py"]),
        ("from ..missing import top", []),
        ("def function():\n    import top", []),
        ("import\nfrom . import\nfrom import x\nimport ..\n", []),
    ],
)
def test_what_a_source_imports_is_guessed(text: str, expected: list[str], tmp_path: Path) -> None:
    for name in ("top.py", "package/__init__.py", "package/inner.py", DEEP, "package/deep/leaf.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    source = tmp_path / "package" / "module.py"
    found = compile_bytecode.imported_by(str(source), text.encode(), (str(tmp_path),))
    assert [Path(each).relative_to(tmp_path).as_posix() for each in found] == expected


def test_a_rehearsal_reads_what_is_kept(venv: Path, tmp_path: Path) -> None:
    body = IMPORT.format(prefix=str(venv))
    cold = rehearsed(venv, tmp_path / "kept", tmp_path, body)
    assert f"lib/{MINOR}/module.py" in cold.modules
    path = _kept_of_module(tmp_path / "kept")
    _swap(path, b"a text with blanks", b"a text FROM kept  ")
    warm = rehearsed(venv, tmp_path / "kept", tmp_path, body)
    assert warm.error == "ValueError: a text FROM kept  "
    assert warm.modules == cold.modules


def test_a_rehearsal_is_the_check_that_the_image_will_make(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "rates")
    venv = environment_with(tmp_path / "venv", wheel).parent.parent
    (venv / "conda-meta").mkdir()
    (venv / "conda-meta" / "python-3.json").write_text('{"version": "3", "build": "0", "sha256": ""}')
    model = checked_model(tmp_path / "model", "own-directory-if-it-can", requirements=("mlflow", "rates"))
    library = scoring_root(tmp_path / "root", venv / "bin" / "python", model) / "lib"
    before, scratch = sorted(model.rglob("*")), tmp_path / "scratch"
    scratch.mkdir()
    found = EnvironmentPython(tmp_path / "kept", sandbox).rehearse(
        venv, IMAGE_PREFIX, library, model, example="serving_input_example.json", scratch=scratch
    )
    assert found.error is None
    assert found.check is not None
    report = CheckReport.from_dict(found.check)
    assert judge("packed", found=report, reference=report).proven
    assert (report.writes, report.modules) == (("cache",), {"mlflow": None, "rates": None})
    # The model itself imports no `rates`: its image needs no byte code for it.
    assert not [path for path in found.modules if "rates" in path]
    assert sorted(model.rglob("*")) == before


def test_a_rehearsal_finds_what_is_imported_behind_a_link(venv: Path, tmp_path: Path) -> None:
    link = tmp_path.with_name(f"{tmp_path.name}-link")
    link.symlink_to(venv)
    found = rehearsed(link, tmp_path / "kept", tmp_path, IMPORT.format(prefix=str(link)))
    assert f"lib/{MINOR}/module.py" in found.modules


def test_damaged_byte_code_is_not_read(venv: Path, tmp_path: Path) -> None:
    compiled(venv, tmp_path / "kept")
    path = _kept_of_module(tmp_path / "kept")
    path.write_bytes(path.read_bytes().replace(b"a text with blanks", b"a text FROM kept  "))
    found = rehearsed(venv, tmp_path / "kept", tmp_path, IMPORT.format(prefix=str(venv)))
    assert found.error == "ValueError: a text with blanks"


def _kept_of_module(kept: Path) -> Path:
    (path,) = [path for path in kept.rglob("*") if path.is_file() and SOURCE[3:20].encode() in path.read_bytes()]
    return path


def _swap(path: Path, old: bytes, new: bytes) -> None:
    """Change what is kept, so that a reader shows that it read it, under a name that says it is intact."""
    data = path.read_bytes().replace(old, new)
    path.unlink()
    path.with_name(f"{path.name.split('.')[0]}.{hashlib.sha256(data).hexdigest()}").write_bytes(data)
