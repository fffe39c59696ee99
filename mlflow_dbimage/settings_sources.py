"""Finds the values of settings: what a caller gives, the environment, the project's file, the user's file.

The nearest source wins, key by key; a table is taken whole. All that is wrong with any of them is told at
once.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from mlflow_dbimage.errors import InputError, UsageError
from mlflow_dbimage.image_location import from_home
from mlflow_dbimage.setting_kinds import quoted
from mlflow_dbimage.settings import APPLICATION, KEYS, Key, Scope, Settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE_NAME = "dbimage.toml"

_FILE_SCOPES = (Scope.BUILD, Scope.EXPERT, Scope.SITE)
_ENVIRONMENT_SCOPES = (*_FILE_SCOPES, Scope.CALL)
_CALL_SCOPES = (Scope.BUILD, Scope.EXPERT, Scope.CALL)
_PREFIX = "DBIMAGE_"
_HINT = "`dbimage config` shows every key with its value, and where it came from"
_BY_NAME = {key.name: key for key in KEYS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Where settings may come from besides the caller."""

    environment: Mapping[str, str]
    directory: Path
    """Where relative paths of the caller start; the project's file is looked for here and above."""
    user_file: Path

    @classmethod
    def of_process(cls) -> Surroundings:
        """Return those of this process."""
        user_file = Path(platformdirs.user_config_dir(APPLICATION)) / FILE_NAME
        return cls(environment=os.environ, directory=Path.cwd(), user_file=user_file)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """Raw values, and how to speak of where they stand."""

    label: str
    values: Mapping[str, object]
    """By key."""
    directory: Path
    scopes: tuple[Scope, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Problem:
    code: str
    text: str
    hint: str = _HINT


def load(
    given: Mapping[str, object] | None = None,
    *,
    target: str | None = None,
    local_run: bool = False,
    surroundings: Surroundings | None = None,
) -> Settings:
    """Read all settings.

    Args:
        given: What the caller gives, as `-C key=value` or from Python: strings, numbers, lists.
        target: The destination that the caller names; `dbimage` alone is the configured one.
        local_run: Whether the keys of a local run are accepted.
        surroundings: Where else to look; those of this process by default.

    Raises:
        UsageError: `unknown-key`, `bad-value` or `bad-location`; the text lists all problems.
        InputError: `bad-config-file`.
    """
    places = surroundings or Surroundings.of_process()
    scopes = (*_CALL_SCOPES, Scope.RUN) if local_run else _CALL_SCOPES
    caller = _Source(label="-C", values=dict(given or {}), directory=places.directory, scopes=scopes)
    environment = _environment(places)
    sources = [caller, environment, *_files(caller, environment, places)]
    if target is not None and target.lower().rstrip(":") != APPLICATION:
        named = _Source(label="-t", values={"target": target}, directory=places.directory, scopes=(Scope.SITE,))
        sources.insert(0, named)
    return _joined(sources, _unused_variables(places.environment))


def _environment(places: Surroundings) -> _Source:
    values = {
        key.name: places.environment[key.variable]
        for key in KEYS
        if key.scope in _ENVIRONMENT_SCOPES and places.environment.get(key.variable, "").strip()
    }
    return _Source(label="environment", values=values, directory=places.directory, scopes=_ENVIRONMENT_SCOPES)


def _files(caller: _Source, environment: _Source, places: Surroundings) -> list[_Source]:
    chosen = next((each.values["config"] for each in (caller, environment) if each.values.get("config")), None)
    if chosen is not None:
        path = places.directory / from_home(str(chosen))
        return [_file(path)] if path.is_file() else []  # a missing one is told as a bad value of `config`
    folders = (places.directory, *places.directory.parents)
    project = next((folder / FILE_NAME for folder in folders if (folder / FILE_NAME).is_file()), None)
    found = [project] if project is not None else []
    if places.user_file.is_file() and places.user_file != project:
        found.append(places.user_file)
    return [_file(path) for path in found]


def _file(path: Path) -> _Source:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError("bad-config-file", f"cannot read `{path}`: {error.strerror}") from error
    except ValueError as error:  # broken TOML, or not UTF-8
        raise InputError("bad-config-file", f"`{path}` is not a TOML file: {error}") from error
    return _Source(label=str(path), values=values, directory=path.parent, scopes=_FILE_SCOPES)


def _joined(sources: list[_Source], warnings: tuple[str, ...]) -> Settings:
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    problems: list[_Problem] = []
    for source in sources:
        for name, raw in source.values.items():
            key = _BY_NAME.get(name)
            problem = _out_of_place(name, key, source)
            if key is not None and problem is None:
                problem = _take(key, raw, source, values, origins)
            if problem is not None:
                problems.append(problem)
    if problems:
        raise _usage_error(problems)
    return Settings(**values, origins=origins, warnings=warnings)


def _take(
    key: Key, raw: object, source: _Source, values: dict[str, Any], origins: dict[str, str]
) -> _Problem | None:
    """Read a value and keep it unless a nearer source has one; one that is not used must be right too."""
    place = _place(key, source)
    empty = isinstance(raw, str) and not raw.strip()
    if empty and not key.kind.clearable:
        return _Problem(code="bad-value", text=f"`{key.name}` ({place}) is empty; it takes {key.kind.wants}")
    try:
        value = None if empty else key.kind.read(raw, source.directory)
    except UsageError as error:
        text = f"`{key.name}` ({place}): {error.message}"
        return _Problem(code=error.code, text=text, hint=error.hint or _HINT)
    except ValueError as error:
        text = f"`{key.name}` ({place}) cannot be {quoted(raw)}: it takes {error}"
        return _Problem(code="bad-value", text=text)
    if key.name not in origins:
        origins[key.name] = place
        if not empty:
            values[key.name] = value
    return None


def _place(key: Key, source: _Source) -> str:
    return key.variable if source.label == "environment" else source.label


def _out_of_place(name: str, key: Key | None, source: _Source) -> _Problem | None:
    if key is None:
        known = [each.name for each in KEYS if each.scope in source.scopes]
        return _Problem(
            code="unknown-key", text=f"`{name}` ({source.label}) is no known key{_nearest(name, known)}"
        )
    if key.scope in source.scopes:
        return None
    return _Problem(code="unknown-key", text=f"`{name}` ({source.label}) {_where_instead(key)}")


def _where_instead(key: Key) -> str:
    if key.scope is Scope.SITE:
        return f"is not a key of one deployment: set it in `{FILE_NAME}` or as `{key.variable}`"
    if key.scope is Scope.RUN:
        return "is a key of a local run only"
    return f"is not a key of a file: give it with the deployment or as `{key.variable}`"


def _nearest(name: str, known: Collection[str]) -> str:
    normal = name.strip().lower().replace("-", "_")
    near = difflib.get_close_matches(normal, known, n=1)
    return f"; did you mean `{near[0]}`?" if near else ""


def _unused_variables(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Name variables that miss one of ours by a letter: they may belong to others, so they are no error."""
    known = {key.variable for key in KEYS if key.scope in _ENVIRONMENT_SCOPES}
    unknown = [name for name in environment if name.startswith(_PREFIX) and name not in known]
    nearest = {name: difflib.get_close_matches(name, known, n=1, cutoff=0.85) for name in sorted(unknown)}
    return tuple(
        f"the environment variable `{name}` is ignored; did you mean `{near[0]}`?"
        for name, near in nearest.items()
        if near
    )


def _usage_error(problems: list[_Problem]) -> UsageError:
    first = problems[0]
    if len(problems) == 1:
        return UsageError(first.code, first.text, hint=first.hint)
    lines = "\n".join(f"  {problem.text}" for problem in problems)
    return UsageError(first.code, f"{len(problems)} settings are wrong:\n{lines}", hint=first.hint)
