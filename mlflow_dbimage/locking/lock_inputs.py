"""What a lock depends on, as one key: lines of the model, options, channels, indexes and tools."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from mlflow_dbimage.environment_spec import EnvironmentSpec
from mlflow_dbimage.locking import lock_files
from mlflow_dbimage.locking.environment_solver import CondaRequest, EnvironmentOptions, Solver
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import canonical_json

_OPTION_FILE = re.compile(r"(?:-r|-c|-e|--requirement|--constraint|--editable|--find-links|-f)[ =]*(\S+)")


def key(spec: EnvironmentSpec, request: CondaRequest, options: EnvironmentOptions, solver: Solver) -> str:
    """Return 64 hexadecimal digits that change with the inputs of a lock.

    URLs count without their credentials. What a channel or index has at this moment counts only where it is
    known without asking; a lock is thus kept although a channel grew, which is what locks are for.
    """
    kept = options.kept
    inputs = {
        "python": spec.python,
        "conda": [line.text for line in spec.conda],
        "pip": [line.text for line in spec.pip],
        "files": sorted(_files_of_lines(spec)),
        "channels": [
            [name, without_credentials(request.channel_map.get(name, name))] for name in request.channels
        ],
        "contents": dict(solver.conda.validators(request)),
        "indexes": [without_credentials(url) for url in (options.index_url or "", *options.extra_index_urls)],
        "local_versions": {
            label: without_credentials(url) for label, url in options.local_version_indexes.items()
        },
        "as_of": None if request.exclude_newer is None else request.exclude_newer.isoformat(),
        "platform": str(options.platform),
        "glibc": options.glibc,
        "kept": None if kept is None else [kept.python, lock_files.identity(kept.conda, kept.wheels)],
        "tools": [solver.conda.identity, solver.pip.identity],
    }
    return hashlib.sha256(canonical_json(inputs)).hexdigest()


def without_credentials(url: str) -> str:
    """Return a URL without user, password and conda token; a name or path is returned as it is."""
    bare = without_user(url)
    return re.sub(r"^(\w+://[^/]+)/t/[^/]+", r"\1", bare)


def without_user(url: str) -> str:
    """Return a URL without user and password; a name or path is returned as it is."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if parts.netloc else url


def _files_of_lines(spec: EnvironmentSpec) -> Iterator[list[str]]:
    """Yield path and hash of each file of the model that a pip line names: what it says is an input too."""
    root = spec.directory.resolve()
    for line in spec.pip:
        option = _OPTION_FILE.match(line.text)
        named = option.group(1) if option else line.text.split(" @ ")[-1].split(";")[0].strip()
        path = (root / named.removeprefix("file:")).resolve()
        if path.is_relative_to(root):
            yield from _hashed(path, root)


def tree_digest(path: Path) -> str:
    """Return one hash of a file, or of all files of a folder with their paths."""
    listed = list(_hashed(path, path.parent))
    return hashlib.sha256(canonical_json(listed)).hexdigest()


def _hashed(path: Path, root: Path) -> Iterator[list[str]]:
    files = [path] if path.is_file() else sorted(path.rglob("*")) if path.is_dir() else []
    for file in files:
        if file.is_file():
            with file.open("rb") as stream:
                yield [file.relative_to(root).as_posix(), Digest.of_stream(stream).hex]
