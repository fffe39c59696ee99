"""The conda packages of Databricks Runtime 7.6 ML, as a company's mirror would have them.

Name, version and build are those of the runtime's list. What loading a model and predicting imports is real, made
from wheels and from an interpreter of this machine; where a wheel of that version cannot be had, or the
interpreter is of another patch, the nearest is relabelled. All else holds a file that says its name.
"""

from __future__ import annotations

import csv
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import uv

from . import interpreters, libraries, wheels
from .package import PLACEHOLDER, Package, PackageFile, write, write_repodata

MINOR = "3.7"

# Entries that are made from wheels of their own version.
_OF_WHEELS = """
    asn1crypto bcrypt boto3 botocore cachetools certifi cffi chardet click cloudpickle configparser cryptography
    cycler decorator docutils entrypoints flask gast gitdb gitpython google-auth google-auth-oauthlib gunicorn idna
    ipython ipython_genutils isodate itsdangerous jedi jinja2 jmespath joblib kiwisolver lightgbm mako markdown
    markupsafe networkx numpy oauthlib packaging pandas parso patsy pexpect pickleshare pillow pip prompt_toolkit
    ptyprocess pyasn1 pyasn1-modules pygments pyjwt pynacl pyopenssl pyparsing pysocks python-dateutil pytz
    requests requests-oauthlib rsa s3transfer scikit-learn scipy setuptools six smmap sqlparse tqdm traitlets
    typing_extensions urllib3 wcwidth websocket-client werkzeug wheel
"""

# Entries that are relabelled, and the wheels that they are made from: theirs cannot be had.
_RELABELLED = {
    "protobuf": "protobuf==3.12.4",
    "tabulate": "tabulate==0.8.7",
    "matplotlib-base": "matplotlib==3.1.3",
}

# Libraries of the interpreter that the list has as packages of their own; the others go with the interpreter.
_LIBRARIES = {
    "libssl": "openssl",
    "libcrypto": "openssl",
    "libsqlite3": "sqlite",
    "libffi": "libffi",
    "libreadline": "readline",
    "libtinfo": "ncurses",
    "libncursesw": "ncurses",
    "liblzma": "xz",
    "libz": "zlib",
}
_NOARCH_BUILD = re.compile(r"py(?:hd3eb1b0)?_\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One conda entry of the list."""

    name: str
    version: str
    build: str


def make_channel(dependencies: Sequence[str | Mapping[str, object]], directory: Path) -> None:
    """Write a channel that has every conda entry of an environment file.

    Args:
        dependencies: Of the file.
        directory: Of the channel; made if missing.

    Raises:
        ValueError: The index lacks a wheel, or this machine the interpreter.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="runtime-channel-") as work:
        made = packages(entries_of(dependencies), Path(work))
        written = [write(package, directory) for package in made]
    write_repodata(directory, {each.path: each.record for each in written})


def packages(entries: Sequence[Entry], work: Path) -> Iterator[Package]:
    """Make a package of every entry.

    Args:
        entries: Of the list.
        work: An empty directory, needed until the packages are written.

    Raises:
        ValueError: The index lacks a wheel, or this machine the interpreter.
    """
    made = {package.name: package for package in _interpreter(work)}
    made |= {package.name: package for package in _of_wheels(entries, work)}
    for entry in entries:
        package = made.get(entry.name, _marker(entry))
        yield replace(package, version=entry.version, build=entry.build)


def _marker(entry: Entry) -> Package:
    text = f"{entry.name}={entry.version}={entry.build}\n".encode()
    return Package(
        name=entry.name,
        version=entry.version,
        files=(PackageFile(path=f"share/runtime-7.6-ml/{entry.name}.txt", content=text),),
        summary="stands for a package that cannot be had",
    )


def _interpreter(work: Path) -> Iterator[Package]:
    """Make Python and the libraries that it needs."""
    found = interpreters.find([MINOR])[0]
    python, *needed = interpreters.packages(found, work)
    files: dict[str, list[PackageFile]] = {"python": list(python.files)}
    for library in needed:
        files.setdefault(_LIBRARIES.get(library.name, "python"), []).extend(library.files)
    files["libgcc-ng"] = [PackageFile(path="lib/libgomp.so.1", content=_libgomp(work), mode=0o755)]
    elves = [file.content for members in files.values() for file in members if isinstance(file.content, Path)]
    glibc = libraries.glibc_requirement([path for path in elves if libraries.is_elf(path)])
    for name, members in files.items():
        yield Package(name=name, version="", files=tuple(members), depends=(glibc,), summary="of this machine")


def _libgomp(work: Path) -> Path:
    """Return the OpenMP library, which LightGBM's wheel expects to find; conda had it with libgcc."""
    folder = work / "libgomp"
    with tempfile.TemporaryDirectory(dir=work) as scratch:
        library = wheels.libgomp(Path(scratch))
        folder.mkdir()
        return library.rename(folder / library.name)


def _of_wheels(entries: Sequence[Entry], work: Path) -> Iterator[Package]:
    """Make packages from wheels, which are unpacked together and told apart by their lists of files."""
    chosen = {entry.name: entry for entry in entries if entry.name in (*_OF_WHEELS.split(), *_RELABELLED)}
    pins = [_RELABELLED.get(name, f"{name}=={entry.version}") for name, entry in chosen.items()]
    target = _unpacked(pins, work / "wheels")
    infos = {_normal(_distribution(path)): path for path in target.glob("*.dist-info")}
    for name, pin in zip(chosen, pins, strict=True):
        info = infos[_normal(pin.partition("==")[0])]
        yield _package(chosen[name], info, target)


def _unpacked(pins: Sequence[str], target: Path) -> Path:
    command = [uv.find_uv_bin(), "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--link-mode", "copy", "--python-version", MINOR, "--python-platform", "x86_64-manylinux_2_36"]
    done = subprocess.run([*command, "--target", str(target), *pins], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"cannot fetch the wheels of the runtime: {done.stderr.strip()}")
    return target


def _package(entry: Entry, info: Path, target: Path) -> Package:
    members = dict(_members(entry, info, target))
    folder = f"{_distribution(info)}-{entry.version}.dist-info"
    members[f"{folder}/INSTALLER"] = b"conda\n"
    listed = "".join(f"{path},,\n" for path in sorted({*members, f"{folder}/RECORD"}))
    members[f"{folder}/RECORD"] = listed.encode()
    scripts = tuple(line.partition(" [")[0] for line in wheels.console_scripts(info))
    if _NOARCH_BUILD.fullmatch(entry.build):
        files = [PackageFile(path=f"site-packages/{path}", content=data) for path, data in members.items()]
        return Package(
            name=entry.name, version=entry.version, files=tuple(files), noarch_python=True, entry_points=scripts
        )
    site = f"lib/python{MINOR}/site-packages"
    files = [PackageFile(path=f"{site}/{path}", content=data, mode=_mode(data)) for path, data in members.items()]
    files += [_script(line) for line in scripts]
    python = f"python >={MINOR},<3.8.0a0"
    return Package(name=entry.name, version=entry.version, files=tuple(files), depends=(python,))


def _members(entry: Entry, info: Path, target: Path) -> Iterator[tuple[str, bytes | Path]]:
    """Yield the files of a distribution by their path in site-packages, its version as in the list."""
    folder = f"{_distribution(info)}-{entry.version}.dist-info"
    with (info / "RECORD").open(newline="", encoding="utf-8") as stream:
        paths = [row[0] for row in csv.reader(stream) if row]
    for path in sorted(paths):
        source = target / path
        if ".." in path or path.startswith("bin/") or source.name in wheels.LEFT_OUT or source.name == "RECORD":
            continue
        if source.parent == info and source.name == "METADATA":
            text = source.read_text(encoding="utf-8")
            text = re.sub(r"(?m)^Version: .*$", f"Version: {entry.version}", text, count=1)
            yield f"{folder}/METADATA", text.encode()
        elif source.is_relative_to(info):
            yield f"{folder}/{source.relative_to(info)}", source
        elif source.is_file():
            yield path, source


def _mode(data: bytes | Path) -> int:
    return 0o755 if isinstance(data, Path) and os.access(data, os.X_OK) else 0o644


def _script(line: str) -> PackageFile:
    name, _, target = line.partition(" = ")
    module, _, function = target.partition(":")
    text = f"#!{PLACEHOLDER}/bin/python\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n"
    return PackageFile(path=f"bin/{name}", content=text.encode(), mode=0o755, has_prefix=True)


def _distribution(info: Path) -> str:
    return info.name.removesuffix(".dist-info").rpartition("-")[0]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def entries_of(dependencies: Sequence[str | Mapping[str, object]]) -> list[Entry]:
    """Read the conda entries of an environment file's `dependencies`."""
    texts = [each.split("=") for each in dependencies if isinstance(each, str)]
    return [Entry(name=name, version=version, build=build) for name, version, build in texts]
