"""A package index in a folder, as a company's mirror has it: some files of the real index, and stand-ins."""

from __future__ import annotations

import hashlib
import html
import shutil
from collections.abc import Sequence
from pathlib import Path

from packaging.utils import canonicalize_name, parse_sdist_filename, parse_wheel_filename

from mlflow_dbimage.backends.index_credentials import IndexCredentials
from mlflow_dbimage.backends.wheel_download import Downloader
from mlflow_dbimage.locking import wheel_choice
from mlflow_dbimage.locking.environment_solver import IndexAccess, PipRequest
from mlflow_dbimage.oci.descriptor import Platform
from solving import lines, make_solver

LINUX = Platform("linux", "amd64")
GLIBC = "2.36"


def mirror(requirements: Sequence[str], python: str, interpreter: Path, directory: Path, work: Path) -> None:
    """Bring the files of some pinned requirements into a folder: the best wheel of each, else its source.

    Args:
        requirements: `name==version`.
        python: The Python that they are for, with patch.
        interpreter: Of that Python.
        directory: Where the files go.
        work: For caches.
    """
    solver = make_solver(work)
    request = PipRequest(
        access=IndexAccess(),
        lines=lines(*requirements),
        python=python,
        interpreter=interpreter,
        platform=LINUX,
        glibc=GLIBC,
        alone=True,
    )
    tags = wheel_choice.tags(request.python_minor, GLIBC, LINUX)
    directory.mkdir(parents=True, exist_ok=True)
    downloader = Downloader(IndexCredentials(()))
    for distribution in solver.pip.resolve(request).distributions:
        wheel = wheel_choice.choose(distribution.wheels, tags)
        url = wheel.url if wheel else distribution.source.location
        sha256 = wheel.sha256 if wheel else distribution.source.sha256
        downloader.download(url, sha256, directory / url.rsplit("/", 1)[1], lambda size: None)


def write_index(files: Path, index: Path) -> str:
    """Write the pages of a simple index (PEP 503) over a folder of files, and return its URL."""
    projects: dict[str, list[Path]] = {}
    for path in sorted(files.iterdir()):
        parse = parse_wheel_filename if path.suffix == ".whl" else parse_sdist_filename
        projects.setdefault(canonicalize_name(parse(path.name)[0]), []).append(path)
    for name, members in projects.items():
        page = index / name / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        links = "".join(f"<a href='{html.escape(_url(path))}'>{path.name}</a><br>\n" for path in members)
        page.write_text(f"<!DOCTYPE html><html><body>\n{links}</body></html>\n")
    return index.as_uri()


def forget(name: str, index: Path) -> None:
    """Take a project out of an index."""
    shutil.rmtree(index / name)


def _url(path: Path) -> str:
    return f"{path.as_uri()}#sha256={hashlib.sha256(path.read_bytes()).hexdigest()}"
