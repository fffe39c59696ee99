"""`python` packages, made from interpreters that this machine has.

Works for interpreters of pyenv, for those built from source, and for Debian's own, whose changes (the
folder `dist-packages`) are taken back. Test suites, Tk, static libraries and byte code are left out.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .libraries import (
    glibc_requirement,
    is_elf,
    library_package,
    needed_libraries,
    requirement,
    rpath_to_lib,
    set_rpath,
)
from .package import PLACEHOLDER, Package, PackageFile

_OLDEST = (3, 7)
_RELEASE = re.compile(r"\d+\.\d+\.\d+")

_QUERY = """
import json, os, platform, sys, sysconfig
print(json.dumps({
    "version": platform.python_version(),
    "executable": os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable),
    "prefix": sys.base_prefix,
    "stdlib": os.path.realpath(os.path.dirname(os.__file__)),
    "include": sysconfig.get_config_var("INCLUDEPY"),
}))
"""

_LEFT_OUT_FOLDERS = {
    "test", "tests", "idlelib", "idle_test", "tkinter", "turtledemo", "ensurepip",
    "site-packages", "dist-packages", "__pycache__",
}  # fmt: skip
_LEFT_OUT_FILES = re.compile(
    r".*\.(a|o|pyc|exe)|EXTERNALLY-MANAGED|sitecustomize\.py|_distutils_system_mod\.py"
    r"|(_tkinter|nis|ossaudiodev|_test\w*|_ctypes_test|_xxtestfuzz|xx\w+)\.[^/]*\.so"
)

# Debian's interpreters look for modules in `site-packages` only when they run in a virtual environment; a
# conda environment is to them one. Upstream's files do not have this text.
_DEBIAN_TEST = b'sys.base_prefix != sys.prefix or hasattr(sys, "real_prefix")'
_DEBIAN_FILES = {"sysconfig.py", "sysconfig/__init__.py", "distutils/sysconfig.py"}

# The module `site` is frozen into the executable: it can only be set right after it has run.
_DEBIAN_SITE = b"""\
import os, site, sys

_place = os.path.join(sys.prefix, "lib", "python%d.%d" % sys.version_info[:2], "site-packages")
if _place not in sys.path:
    site.addsitedir(_place)
    site.getsitepackages = lambda prefixes=None: [_place]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """A Python on this machine."""

    version: str
    executable: Path
    prefix: Path
    stdlib: Path
    include: Path

    @property
    def minor(self) -> str:
        """`3.11` of `3.11.7`."""
        return ".".join(self.version.split(".")[:2])

    def identity(self) -> list[object]:
        """What changes when the interpreter changes."""
        library = [path for path in self.prefix.glob("lib/libpython3*.so.*") if path.is_file()]
        stats = [path.stat() for path in (self.executable, self.stdlib, *sorted(library))]
        return [self.version, str(self.executable), [(stat.st_size, stat.st_mtime_ns) for stat in stats]]


def read(executable: Path) -> Interpreter:
    """Ask an interpreter what it is.

    Raises:
        ValueError: It does not run.
    """
    done = subprocess.run([str(executable), "-I", "-c", _QUERY], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"{executable} is no working Python: {done.stderr.strip()}")
    told = json.loads(done.stdout)
    paths = {key: Path(told[key]) for key in ("executable", "prefix", "stdlib", "include")}
    return Interpreter(version=told["version"], **paths)


def at_hand() -> dict[str, Path]:
    """Return the Pythons of this machine by minor version, the oldest first, without running them.

    They are the running one, and of every other minor version the newest that pyenv has.
    """
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    installed = {
        tuple(map(int, folder.name.split("."))): folder / "bin" / "python3"
        for folder in (root.iterdir() if root.is_dir() else ())
        if _RELEASE.fullmatch(folder.name) and (folder / "bin" / "python3").is_file()
    }
    found = {version[:2]: program for version, program in sorted(installed.items()) if version >= _OLDEST}
    found[sys.version_info[:2]] = Path(sys.executable)
    return {f"{major}.{minor}": program for (major, minor), program in sorted(found.items())}


def find(wanted: Sequence[str] | None = None) -> tuple[Interpreter, ...]:
    """Ask the interpreters that are at hand, or some of them, what they are.

    Args:
        wanted: Versions (`3.11` or `3.11.7`) or paths of executables; None takes all that are at hand.

    Raises:
        ValueError: One of the wanted is not there.
    """
    if wanted is None:
        return tuple(map(read, at_hand().values()))
    return tuple(map(_choose, wanted))


def _choose(text: str) -> Interpreter:
    if "/" in text:
        return read(Path(text))
    found = at_hand()
    minor = ".".join(text.split(".")[:2])
    if minor in found and f"{(interpreter := read(found[minor])).version}.".startswith(f"{text}."):
        return interpreter
    there = ", ".join(read(program).version for program in found.values())
    raise ValueError(f"no Python {text} on this machine; there are {there}")


def packages(interpreter: Interpreter, work: Path) -> tuple[Package, ...]:
    """Make the `python` package of an interpreter, and those of the libraries that it needs.

    Args:
        interpreter: What to package.
        work: An empty directory for changed copies; needed until the packages are written.
    """
    sources = dict(_sources(interpreter))
    elves = {path: source for path, source in sources.items() if is_elf(source)}
    libraries = needed_libraries(list(elves.values()))
    own = {f"lib/{name}": path for name, path in libraries.items() if name.startswith("libpython")}
    others = {name: path for name, path in libraries.items() if f"lib/{name}" not in own}
    copies = _relocatable(elves | own, work)
    files = [_file(path, source, interpreter) for path, source in sources.items() if path not in copies]
    files += [PackageFile(path=path, content=copy, mode=0o755) for path, copy in copies.items()]
    files += [
        PackageFile(path=path, link=f"python{interpreter.minor}", mode=0o777)
        for path in ("bin/python", "bin/python3")
    ]
    if _DEBIAN_TEST in (interpreter.stdlib / "site.py").read_bytes():
        files.append(PackageFile(path=f"lib/python{interpreter.minor}/sitecustomize.py", content=_DEBIAN_SITE))
    python = Package(
        name="python",
        version=interpreter.version,
        files=tuple(files),
        depends=(glibc_requirement(copies.values()), *(requirement(name) for name in sorted(others))),
        summary="Python, as found on the machine that made this channel",
    )
    return (python, *(library_package(name, path, work) for name, path in sorted(others.items())))


def _sources(interpreter: Interpreter) -> Iterator[tuple[str, Path]]:
    minor = interpreter.minor
    yield f"bin/python{minor}", interpreter.executable
    for name in (f"python{minor}-config", f"pydoc{minor}"):
        script = interpreter.executable.parent / name
        if script.is_file():
            yield f"bin/{name}", script
    for path in _tree(interpreter.stdlib):
        yield f"lib/python{minor}/{path.relative_to(interpreter.stdlib)}", path
    if interpreter.include.is_dir():
        for path in _tree(interpreter.include):
            yield f"include/{interpreter.include.name}/{path.relative_to(interpreter.include)}", path


def _tree(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(set(folders) - _LEFT_OUT_FOLDERS)
        for name in sorted(files):
            # A link is followed: what it leads to may lie outside the package.
            if not _LEFT_OUT_FILES.fullmatch(name) and (path := Path(folder, name)).is_file():
                yield path


def _relocatable(elves: dict[str, Path], work: Path) -> dict[str, Path]:
    copies = {path: work / "elves" / path for path in elves}
    by_rpath: dict[str, list[Path]] = {}
    for path, copy in copies.items():
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(elves[path], copy)
        by_rpath.setdefault(rpath_to_lib(path), []).append(copy)
    for rpath, group in by_rpath.items():
        set_rpath(group, rpath)
    return copies


def _file(path: str, source: Path, interpreter: Interpreter) -> PackageFile:
    data = source.read_bytes()
    mode = 0o755 if os.access(source, os.X_OK) and path.startswith("bin/") else 0o644
    if path.removeprefix(f"lib/python{interpreter.minor}/") in _DEBIAN_FILES and _DEBIAN_TEST in data:
        return PackageFile(path=path, content=data.replace(_DEBIAN_TEST, b"True"), mode=mode)
    prefix = str(interpreter.prefix).encode()
    # `/usr` stands for much else in a text; Python finds its prefix without these texts.
    if prefix == b"/usr" or prefix not in data or b"\0" in data:
        return PackageFile(path=path, content=source, mode=mode)
    return PackageFile(path=path, content=data.replace(prefix, PLACEHOLDER.encode()), mode=mode, has_prefix=True)
