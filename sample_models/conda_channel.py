"""A conda channel on this machine, for machines that reach none: `python -m sample_models.conda_channel DIR`.

It holds Pythons made from the interpreters at hand, the libraries they need, pip with its friends, and a few
small packages that sample models use. Making it again makes only what changed. Linux only.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from filelock import FileLock

from .channel import demonstrations, interpreters, libraries, wheels
from .channel.libraries import patchelf_version
from .channel.package import FORMAT, Package, write, write_repodata

_MADE = ".made.json"

# By recipe: its key, and what it made (path in the channel, and record in repodata).
_Made = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeChannel:
    """A channel in a directory."""

    directory: Path
    packages: tuple[str, ...]
    """All its packages, as `<subdir>/<file name>`."""
    new: tuple[str, ...]
    """Those that this call wrote."""

    @property
    def url(self) -> str:
        """How solvers are told of it."""
        return self.directory.as_uri()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recipe:
    """Some packages, by a name that stays, and what they are made from."""

    name: str
    inputs: object
    make: Callable[[Path], tuple[Package, ...]]

    @property
    def key(self) -> str:
        return sha256(json.dumps([FORMAT, self.inputs], default=str).encode()).hexdigest()


def make_channel(directory: Path, pythons: Sequence[str] | None = None) -> MadeChannel:
    """Make or complete a channel.

    What earlier calls made stays, unless its inputs changed. Two processes may call this at once.

    Args:
        directory: Where it is to be; made if missing.
        pythons: Versions (`3.11`, `3.11.7`) or paths of interpreters; None takes pyenv's and the running one.

    Raises:
        ValueError: An interpreter, a program or a wheel is missing; nothing half made is left.
    """
    directory = directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    with FileLock(directory / ".lock"):
        made = _read_made(directory)
        before = _records(made)
        wanted = [recipe for recipe in _recipes(pythons) if not _is_made(recipe, made, directory)]
        with ThreadPoolExecutor(max_workers=4) as pool:
            outcomes = list(pool.map(partial(_make, directory=directory), wanted))
        for recipe, records in zip(wanted, outcomes, strict=True):
            made[recipe.name] = {"key": recipe.key, "records": records}
        kept = _records(made)
        if wanted:
            _finish(directory, made)
        return MadeChannel(
            directory=directory, packages=tuple(sorted(kept)), new=tuple(sorted(kept.keys() - before))
        )


def _recipes(pythons: Sequence[str] | None) -> list[_Recipe]:
    patchelf = patchelf_version()
    # The newest are the largest: they go first, so that none of them is left for the end.
    found = reversed(interpreters.find(pythons))
    return [
        *(
            _Recipe(
                name=f"python-{one.version}",
                inputs=[_source(interpreters), _source(libraries), patchelf, one.identity()],
                make=partial(interpreters.packages, one),
            )
            for one in found
        ),
        _Recipe(name="wheels", inputs=[_source(wheels), patchelf], make=wheels.packages),
        _Recipe(name="demonstrations", inputs=_source(demonstrations), make=lambda _: demonstrations.packages()),
    ]


def _source(module: ModuleType) -> str:
    # What a package is made by is one of its inputs.
    return sha256(Path(str(module.__file__)).read_bytes()).hexdigest()


def _read_made(directory: Path) -> _Made:
    record = directory / _MADE
    return dict(json.loads(record.read_text())) if record.exists() else {}


def _records(made: _Made) -> dict[str, Any]:
    return {path: record for entry in made.values() for path, record in entry["records"].items()}


def _is_made(recipe: _Recipe, made: _Made, directory: Path) -> bool:
    entry = made.get(recipe.name)
    if entry is None or entry["key"] != recipe.key:
        return False
    return all((directory / path).exists() for path in entry["records"])


def _make(recipe: _Recipe, directory: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="conda-channel-") as work:
        written = [write(package, directory) for package in recipe.make(Path(work))]
    return {one.path: one.record for one in written}


def _finish(directory: Path, made: _Made) -> None:
    records = _records(made)
    for path in (*directory.glob("*/*.conda"), *directory.glob(".making-*")):
        if path.relative_to(directory).as_posix() not in records:
            path.unlink()
    write_repodata(directory, records)
    aside = directory / f"{_MADE}.new"
    aside.write_text(json.dumps(made, indent=1, sort_keys=True) + "\n")
    aside.replace(directory / _MADE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make a channel and say what is in it."""
    parser = argparse.ArgumentParser(prog="python -m sample_models.conda_channel", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument(
        "--python", action="append", metavar="VERSION", help="3.11, 3.11.7 or a path; default: all"
    )
    options = parser.parse_args(arguments)
    try:
        channel = make_channel(options.directory, options.python)
    except ValueError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 3
    for name in channel.packages:
        size = (channel.directory / name).stat().st_size / 1e6
        print(f"{'made' if name in channel.new else 'kept'}  {size:6.1f} MB  {name}")
    print(channel.url)
    return 0


if __name__ == "__main__":
    sys.exit(main())
