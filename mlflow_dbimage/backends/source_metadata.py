"""What source distributions require that say it only when they are built: they are, and uv is told.

uv builds nothing itself. It names what it would have to build; that is built as every wheel from source is, in the
sandbox and without a network, and uv goes on with what the wheel requires. The wheel is kept: where the version is
chosen, it is the one that is installed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tomli_w
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from mlflow_dbimage.backends.credentials_in_urls import restored
from mlflow_dbimage.backends.pylock_reading import read_resolution
from mlflow_dbimage.backends.source_build import SourceBuilder
from mlflow_dbimage.backends.uv_program import UvProgram, UvResult, uv_environment, wanted_to_build
from mlflow_dbimage.backends.wheels import WheelStore
from mlflow_dbimage.errors import MatchError
from mlflow_dbimage.locking.environment_solver import PipRequest
from mlflow_dbimage.locking.lock_inputs import without_credentials
from mlflow_dbimage.locking.locked_packages import LockedWheel

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_MOST_SHOWN = 500
# `six==1.16.0`, or `six @ https://...`; what has no name in its line is told without one.
_EDITABLE = re.compile(r"(?:-e|--editable)[\s=]\s*")
_PLACE = re.compile(r"(?P<place>\S+?)(?P<extras>\[[\w.,\s-]*\])?(?P<marker>\s+;.*|\s*)")
_ANY_NAME = "dbimage-nameless"
_WANTED = re.compile(r"build `([A-Za-z0-9._-]+)(==| @ )([^`\n]+)`")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What uv is asked."""

    arguments: Sequence[str]
    """Without credentials."""
    text: str
    """Lines of requirements and options."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceMetadata:
    """Answers questions to uv so."""

    uv: UvProgram
    builder: SourceBuilder
    """Builds what uv names."""
    wheels: WheelStore
    """Where that is kept."""
    request: PipRequest
    """Whose Python, platform and indexes are meant."""
    one: Question
    """By which uv tells where one distribution is, whose line is added."""
    folder: Path
    """Where files for uv are written."""

    def run(self, asked: Question) -> UvResult:
        """Run uv to its end.

        Raises:
            MatchError: `unsolvable`, a source cannot be built, or is built to another distribution than it is
                called.
            ServiceError, VerificationError: As `SourceBuilder.build`.
        """
        told: dict[str, dict[str, Any]] = {}
        while True:
            result = self._ask(asked, told.values())
            if not wanted_to_build(result):
                return result
            wanted = _WANTED.search(result.errors)
            if wanted is None:
                asked = self._with_a_name(asked)
            elif wanted[0] in told:
                raise _unknown(wanted[0], result)
            else:
                told[wanted[0]] = self._metadata(wanted)

    def _with_a_name(self, asked: Question) -> Question:
        """Give a name to a folder or repository that uv would have to build to know it."""
        lines = asked.text.splitlines()
        for number, line in enumerate(lines):
            found = _nameless(line)
            if found is None:
                continue
            alone = self._ask(self._about(line), ())
            if wanted_to_build(alone) and _WANTED.search(alone.errors) is None:
                place, extras, marker = found
                wheel = self._built(_ANY_NAME, " @ ", place)
                lines[number] = f"{wheel.name}{extras} @ {place}{marker}"
                return replace(asked, text="".join(f"{each}\n" for each in lines))
        raise MatchError(
            "unsolvable",
            "a line names a folder or repository of which nobody can say which distribution it is",
            hint="write its name before it: `NAME @ ./code/package`",
        )

    def _metadata(self, wanted: re.Match[str]) -> dict[str, Any]:
        name, kind, rest = canonicalize_name(wanted[1]), wanted[2], wanted[3]
        wheel = self._built(name, kind, rest)
        if wheel.name != name or (kind == "==" and wheel.version != rest):
            raise MatchError(
                "unsolvable",
                f"{wanted[0].removeprefix('build ')} is built to {wheel.name} {wheel.version}",
                hint="pin a version that has a wheel, or put a wheel into the model",
            )
        contents = self.wheels.contents(wheel, self.request.python_minor)
        return _table(name, wheel.version, [line for line in contents.requirements if _is_requirement(line)])

    def _built(self, name: str, kind: str, rest: str) -> LockedWheel:
        """Ask uv where a distribution is, and build it: with metadata of our own uv does not want to."""
        if kind == " @ ":
            rest = restored(rest, self.request.access.line_urls)
        result = self._ask(self._about(f"{name}{kind}{rest}"), [_table(name, rest if kind == "==" else "0", [])])
        found = read_resolution(result.output) if result.code == 0 else ()
        source = next((each.source for each in found if each.source is not None), None)
        if source is None:
            raise _unknown(f"`{without_credentials(rest) if kind == ' @ ' else name}`", result)
        return self.builder.build(source, self.request)

    def _about(self, line: str) -> Question:
        return replace(self.one, text=f"{self.one.text}{line}\n")

    def _ask(self, question: Question, told: Iterable[Mapping[str, Any]]) -> UvResult:
        return self.uv.run(
            question.arguments,
            self.request.access,
            folder=self.request.access.directory or self.folder,
            text=question.text,
            configuration=self._configuration(told),
        )

    def _configuration(self, told: Iterable[Mapping[str, Any]]) -> Path:
        """Write uv's configuration: the user's own, and what is told of some distributions."""
        own = uv_environment(self.uv.cache).get("UV_CONFIG_FILE")
        document = tomllib.loads(Path(own).read_text()) if own and Path(own).is_file() else {}
        document["dependency-metadata"] = [*document.get("dependency-metadata", ()), *told]
        target = self.folder / "uv.toml"
        target.write_text(tomli_w.dumps(document))
        return target


def _nameless(line: str) -> tuple[str, str, str] | None:
    """Take a line apart that is a place alone: the place, extras and marker; None for other lines."""
    text = _EDITABLE.sub("", line)
    if text.startswith("-") or _is_requirement(text):
        return None
    match = _PLACE.fullmatch(text)
    return None if match is None else (match["place"], match["extras"] or "", match["marker"] or "")


def _unknown(what: str, result: UvResult) -> MatchError:
    reason = " ".join(result.errors.split())[:_MOST_SHOWN]
    return MatchError(
        "unsolvable",
        f"{what} has no wheel for the platform, and its source cannot be read: {reason}",
        hint="pin a version that has a wheel, or put a wheel into the model",
    )


def _table(name: str, version: str, requires: Sequence[str]) -> dict[str, Any]:
    return {"name": name, "version": version, "requires-dist": list(requires)}


def _is_requirement(line: str) -> bool:
    """Whether uv can read it: one line that it cannot read would make all its configuration unusable."""
    try:
        Requirement(line)
    except InvalidRequirement:
        return False
    return True
