"""Conda packages made from wheels of the package index: pinned, and checked by hash.

uv fetches and unpacks them, so that its cache and its settings (index, credentials) serve here too.
"""

from __future__ import annotations

import configparser
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import uv

from .libraries import glibc_requirement, set_soname
from .package import Package, PackageFile

#: What pip's and uv's unpacking leaves, and what conda makes anew.
LEFT_OUT = {"REQUESTED", "INSTALLER", "direct_url.json", "uv_cache.json", "uv_build.json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedWheel:
    """A wheel of the index, and the conda package to make of it."""

    name: str
    version: str
    sha256: tuple[str, ...]
    """Of the wheels that will do."""
    depends: tuple[str, ...] = ()

    @property
    def requirement(self) -> str:
        """A line of a requirements file."""
        return " ".join([f"{self.name}=={self.version}", *(f"--hash=sha256:{one}" for one in self.sha256)])


def _pip(version: str, sha256: str) -> PinnedWheel:
    return PinnedWheel(
        name="pip", version=version, sha256=(sha256,), depends=("python >=3.7", "setuptools", "wheel")
    )


# The newest that still run on Python 3.7, and on 3.13; and of pip, older ones: a model asks for none that is
# newer than the one that was at hand where it was logged, which may be what Python 3.10 or 3.12 came with.
TOOLS = (
    _pip("23.0.1", "236bcb61156d76c4b8a05821b988c7b8c35bf0da28a4b614e8d6ab5212c25c6f"),
    _pip("23.1.2", "3ef6ac33239e4027d9a5598a381b9d30880a1477e50039db2eac6e8a8f6d1b18"),
    _pip("24.0", "ba0d021a166865d2265246961bec0152ff124de910c5cc39f1156ce3fa7c69dc"),
    PinnedWheel(
        name="setuptools",
        version="68.0.0",
        sha256=("11e52c67415a381d10d6b462ced9cfb97066179f0e871399e006c4ab101fc85f",),
        depends=("python >=3.7",),
    ),
    PinnedWheel(
        name="wheel",
        version="0.42.0",
        sha256=("177f9c9b0d45c47873b619f5b650346d632cdc35fb5e4d25058e09c9e581433d",),
        depends=("python >=3.7",),
    ),
)

#: A distribution that models ask of pip too: shows how the two parts share it.
CLOUDPICKLE = PinnedWheel(
    name="cloudpickle",
    version="3.1.2",
    sha256=("9acb47f6afd73f60dc1df93bb801b472f05ff42fa6c84167d25cb206be1fbf4a",),
    depends=("python >=3.8",),
)

#: Becomes a package without dist-info: pip does not see it, and would write over it.
SIX = PinnedWheel(
    name="six",
    version="1.16.0",
    sha256=("8abb2f1d86890a2dfb989f9a77cfcfd3e47c2a354b01111771326f8aa26e0254",),
    depends=("python >=3.7",),
)

# Carries the OpenMP library, which LightGBM's wheel expects to find on the system.
_WITH_LIBGOMP = PinnedWheel(
    name="pykdtree",
    version="1.4.3",
    sha256=(
        "44d2e1b6a3d02b5cf9646bf754931fdacb869cefd328242766e1dc0be909cca1",
        "bd3a4454b8f86ce22f7b92b4bc53e309817b0d3602afff8c9a17fde1bd6dd3f0",
    ),
)

PINNED = (*TOOLS, CLOUDPICKLE, SIX, _WITH_LIBGOMP)


def packages(work: Path) -> tuple[Package, ...]:
    """Make all packages that come from wheels.

    Args:
        work: An empty directory, needed until the packages are written.

    Raises:
        ValueError: The index does not give a wheel.
    """
    # Asked once, before there are threads: the first call to `sysconfig` is not safe among them.
    unpack = partial(_unpack, work=work, program=uv.find_uv_bin())
    with ThreadPoolExecutor(max_workers=4) as pool:
        unpacked = dict(zip(PINNED, pool.map(unpack, PINNED), strict=True))
    noarch = (_noarch(wheel, unpacked[wheel]) for wheel in (*TOOLS, CLOUDPICKLE))
    return (*noarch, *_six(unpacked[SIX]), _libgomp(unpacked[_WITH_LIBGOMP]))


def _unpack(wheel: PinnedWheel, work: Path, program: str) -> Path:
    target = work / f"{wheel.name}-{wheel.version}"
    requirements = work / f"{target.name}.txt"
    requirements.write_text(wheel.requirement + "\n")
    options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--link-mode", "copy"]
    version = ["--python-version", "3.11"]
    command = [program, "pip", "install", *options, *version, "--target", str(target), "-r"]
    done = subprocess.run([*command, str(requirements)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"cannot fetch {wheel.name} {wheel.version}: {done.stderr.strip()}")
    return target


def _noarch(wheel: PinnedWheel, folder: Path) -> Package:
    info = folder / f"{wheel.name}-{wheel.version}.dist-info"
    files = [
        *_site_packages(folder),
        PackageFile(path=f"site-packages/{info.name}/INSTALLER", content=b"conda\n"),
    ]
    return Package(
        name=wheel.name,
        version=wheel.version,
        files=tuple(_with_record(files, info.name)),
        depends=wheel.depends,
        noarch_python=True,
        entry_points=tuple(console_scripts(info)),
        summary=f"{wheel.name} of the package index, repackaged",
    )


def _site_packages(folder: Path) -> Iterator[PackageFile]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not name.startswith(("bin/", ".lock")) and path.name not in LEFT_OUT:
            yield PackageFile(path=f"site-packages/{name}", content=path)


def _with_record(files: list[PackageFile], info: str) -> Iterator[PackageFile]:
    # Names alone, as installers may write for files whose digest they do not vouch for.
    record = f"site-packages/{info}/RECORD"
    names = sorted(file.path.removeprefix("site-packages/") for file in files if file.path != record)
    lines = "".join(f"{name},,\n" for name in [*names, f"{info}/RECORD"])
    yield from (file for file in files if file.path != record)
    yield PackageFile(path=record, content=lines.encode())


def console_scripts(info: Path) -> Iterator[str]:
    """Yield the console scripts of an unpacked wheel, as conda packages name them."""
    parser = configparser.ConfigParser(delimiters="=")
    parser.read(info / "entry_points.txt")
    if parser.has_section("console_scripts"):
        scripts = parser.items("console_scripts")
        # pip's list has the name of the Python that made its wheel.
        yield from (f"{name} = {target}" for name, target in scripts if "." not in name)


def _six(folder: Path) -> Iterator[Package]:
    module = PackageFile(path="site-packages/six.py", content=folder / "six.py")
    yield Package(
        name="six",
        version=SIX.version,
        files=(module,),
        depends=SIX.depends,
        noarch_python=True,
        summary="six without its dist-info, as some conda packages are: pip does not see it",
    )
    yield Package(
        name="six-fork",
        version="1.0",
        files=(PackageFile(path=module.path, content=module.read() + b"# a fork\n"),),
        depends=SIX.depends,
        noarch_python=True,
        summary="A six.py under another name: who also takes six has two owners of a file",
    )


def libgomp(work: Path) -> Path:
    """Fetch the GNU OpenMP library, under the name by which others ask for it.

    Args:
        work: An empty directory, in which it is.

    Raises:
        ValueError: The index does not give the wheel that bundles it.
    """
    return _libgomp_of(_unpack(_WITH_LIBGOMP, work, uv.find_uv_bin()))


def _libgomp_of(folder: Path) -> Path:
    library = next(folder.glob("pykdtree.libs/libgomp-*.so*"))
    set_soname(library, "libgomp.so.1")
    return library


def _libgomp(folder: Path) -> Package:
    library = _libgomp_of(folder)
    return Package(
        name="libgomp",
        version="1",
        files=(PackageFile(path="lib/libgomp.so.1", content=library, mode=0o755),),
        depends=(glibc_requirement([library]),),
        summary="GNU OpenMP, out of a wheel that bundles it",
    )
