"""Pip lines resolved by uv, for the target's Python, platform and glibc, as of a day; wheels built by uv."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from packaging.utils import canonicalize_name

from mlflow_dbimage import pip_lines
from mlflow_dbimage.backends.pylock_reading import preferences, read_resolution, relative_to
from mlflow_dbimage.backends.sandbox import Sandbox
from mlflow_dbimage.backends.source_build import SourceBuilder
from mlflow_dbimage.backends.source_metadata import Question, SourceMetadata
from mlflow_dbimage.backends.uv_base_packages import versions_of, write_left_out, write_present
from mlflow_dbimage.backends.uv_errors import REFUSED, error_of
from mlflow_dbimage.backends.uv_program import (
    UvProgram,
    UvResult,
    index_lines,
    own_configuration,
    platform_name,
    wanted_to_build,
)
from mlflow_dbimage.backends.wheels import WheelStore
from mlflow_dbimage.environment_spec import Requirement
from mlflow_dbimage.errors import MatchError
from mlflow_dbimage.locking.environment_solver import PipRequest, PipSolution
from mlflow_dbimage.locking.locked_packages import LockedWheel, WheelSource
from mlflow_dbimage.locking.package_owners import ResolvedDistribution

_UNDATED = re.compile(r"`([^`/]+)` is missing an upload date")
_DEFAULT_INDEX = re.compile(r"(?:--index-url|-i)\b")
_INDEX_OPTION = re.compile(r"(?:--extra-index-url|--index-url|--index|-i)\b")

_PLACE_OPTION = re.compile(rf"{_INDEX_OPTION.pattern}|(?:--find-links|-f)\b")

_EVERY_INDEX = "--index-strategy=unsafe-best-match"

#: Rounds in which undated packages are found before dates are given up for all.
_MOST_ROUNDS = 20


class UvResolver:
    """The `PipBackend`.

    Args:
        cache: uv's cache, and what was built before.
        wheels: Where built wheels are kept.
        sandbox: Gives what runs the code of source distributions.
    """

    def __init__(self, cache: Path, wheels: WheelStore, sandbox: Callable[[], Sandbox]) -> None:
        self._uv = UvProgram(cache / "uv")
        self._builder = SourceBuilder(self._uv, cache / "built", wheels, sandbox)
        self._wheels = wheels
        self.identity = f"uv {self._uv.version} {own_configuration()}".rstrip()

    def resolve(self, request: PipRequest) -> PipSolution:
        """Return one version of each distribution, with its files.

        What an index gives no upload times for is taken as of today; a note says so. What is preferred is taken
        whenever it was uploaded, and what has to be another version than that as of the day again.
        """
        dateless = set(request.preferred if request.exclude_newer is not None else ())
        first = self._resolve_as_of(request, dateless)
        moved = {each.name for each in first.distributions if _is_other(each, request.preferred)}
        if not dateless & moved:
            return first
        try:
            return self._resolve_as_of(request, dateless - moved)
        except MatchError:
            return first

    def _resolve_as_of(self, request: PipRequest, dateless: set[str]) -> PipSolution:
        undated: set[str] = set()
        for _ in range(_MOST_ROUNDS):
            result = self._compile(request, dateless | undated)
            found = {_distribution(name) for name in _UNDATED.findall(result.errors)} - undated
            if result.code == 0 or not found:
                break
            undated |= found
        else:
            result = self._compile(replace(request, exclude_newer=None), set())
        if result.code != 0:
            raise error_of(self._telling(result, request, dateless | undated), request, _lines(request))
        distributions = read_resolution(result.output)
        return PipSolution(distributions=distributions, notes=_notes(undated, distributions))

    def build(self, source: WheelSource, request: PipRequest) -> LockedWheel:
        """Build a wheel, or find the one that was built before."""
        return self._builder.build(source, request)

    def _sources(self, request: PipRequest, one: Question, folder: Path) -> SourceMetadata:
        return SourceMetadata(
            uv=self._uv, builder=self._builder, wheels=self._wheels, request=request, one=one, folder=folder
        )

    def _telling(self, result: UvResult, request: PipRequest, dateless: set[str]) -> str:
        """Return why there is no resolution; uv says that an index refused us only when it takes one by one."""
        if request.access.offline or _EVERY_INDEX not in _arguments(request, dateless):
            return result.errors
        again = self._compile(request, dateless, every_index=False).errors
        return again if REFUSED.search(again) else result.errors

    def _compile(self, request: PipRequest, dateless: set[str], *, every_index: bool = True) -> UvResult:
        with tempfile.TemporaryDirectory(prefix="dbimage-") as scratch:
            folder = Path(scratch).resolve()
            constraints = folder / "conda-constraints.txt"
            constraints.write_text("".join(f"{text}\n" for text in sorted(request.constraints.values())))
            arguments = _arguments(request, dateless)
            if not every_index:
                arguments = [word for word in arguments if word != _EVERY_INDEX]
            if request.left_out:
                arguments += write_left_out(request.left_out, folder)
            if request.present:
                arguments += write_present(request.present, folder)
            preferred = {**request.preferred, **versions_of(request.present)}
            if preferred:
                # uv keeps the versions of the file that it is to write, if nothing else is asked.
                (folder / "pylock.toml").write_text(preferences(preferred))
                arguments += ["--output-file", str(folder / "pylock.toml")]
            place = request.access.directory or folder
            arguments += ["--constraints", str(constraints)]
            text = "".join(f"{line.text}\n" for line in _lines(request))
            python = ["--python", sys.executable]
            result = self._uv.run([*arguments, *python], request.access, folder=place, text=text)
            if request.interpreter is not None and wanted_to_build(result):
                asked = _flat([*arguments, *python], request, folder)
                result = self._sources(request, _one(request, python), folder).run(asked)
            return replace(result, output=relative_to(place, result.output, folder)) if preferred else result


def _arguments(request: PipRequest, dateless: set[str]) -> list[str]:
    arguments = ["pip", "compile", "-", "--format", "pylock.toml", "--no-header", "--no-annotate"]
    arguments += [
        "--python-version",
        request.python,
        "--python-platform",
        platform_name(request.platform.architecture, int(request.glibc.split(".")[1])),
    ]
    if request.interpreter is None:
        arguments += ["--only-binary", ":all:"]
    if request.alone:
        arguments.append("--no-deps")
    if request.oldest:
        arguments += ["--resolution", "lowest-direct"]
    if request.exclude_newer is not None:
        arguments += ["--exclude-newer", f"{request.exclude_newer:%Y-%m-%dT%H:%M:%SZ}"]
        arguments += [f"--exclude-newer-package={name}=false" for name in sorted(dateless)]
    if any(_INDEX_OPTION.match(line.text) for line in request.lines):
        # The model was made by pip, which looks at every index for the best version of each package.
        arguments.append(_EVERY_INDEX)
    return arguments


def _lines(request: PipRequest) -> Sequence[Requirement]:
    """Return what uv reads: our indexes, then the model's lines; a configured index replaces the model's."""
    ours = [Requirement(text=text, origin="configuration") for text in index_lines(request.access)]
    replaced = request.access.index_url is not None
    theirs = [line for line in request.lines if not (replaced and _DEFAULT_INDEX.match(line.text))]
    return [*ours, *theirs]


def _flat(arguments: Sequence[str], request: PipRequest, folder: Path) -> Question:
    """Return the question with the lines of lists in the place of those that name them."""
    lines, constraints = pip_lines.expanded(request.access.directory or folder, _lines(request))
    if constraints:
        own = folder / "model-constraints.txt"
        own.write_text("".join(f"{line.text}\n" for line in constraints))
        arguments = [*arguments, "--constraints", str(own)]
    return Question(arguments=arguments, text="".join(f"{line.text}\n" for line in lines))


def _one(request: PipRequest, python: Sequence[str]) -> Question:
    """Return the question where one distribution is, to which its line is added."""
    alone = replace(request, alone=True, exclude_newer=None)
    options = [line.text for line in _lines(request) if _PLACE_OPTION.match(line.text)]
    return Question(arguments=[*_arguments(alone, set()), *python], text="".join(f"{each}\n" for each in options))


def _is_other(distribution: ResolvedDistribution, preferred: Mapping[str, str]) -> bool:
    return preferred.get(distribution.name, distribution.version) != distribution.version


def _distribution(file_name: str) -> str:
    stem = file_name.removesuffix(".tar.gz").removesuffix(".zip")
    name = stem.split("-")[0] if file_name.endswith(".whl") else stem.rpartition("-")[0]
    return canonicalize_name(name)


def _notes(undated: set[str], distributions: tuple[ResolvedDistribution, ...]) -> tuple[str, ...]:
    taken = sorted(undated & {each.name for each in distributions})
    if not taken:
        return ()
    return (f"the index gives no upload times for {', '.join(taken)}: taken as of today",)
