"""Local versions, as Databricks' lists have them: `torch==1.13.1+cu117` is on an index of its own.

Source: PEP 440, "Local version identifiers".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

from mlflow_dbimage.environment_spec import Requirement as Line
from mlflow_dbimage.errors import MatchError


def index_lines(lines: Sequence[Line], indexes: Mapping[str, str]) -> tuple[Line, ...]:
    """Return a pip line for each further index that the local versions among some pip lines need."""
    urls = {_label(key): url for key, url in indexes.items()}
    needed = dict.fromkeys(urls[label] for _, label in _local_versions(lines) if label in urls)
    return tuple(Line(text=f"--extra-index-url {url}", origin="configuration") for url in needed)


def explained(error: MatchError, lines: Sequence[Line], indexes: Mapping[str, str]) -> MatchError:
    """Return the error with the local versions named that no configured index is for, where there are any."""
    known = {_label(key) for key in indexes}
    unknown = [(line, label) for line, label in _local_versions(lines) if label not in known]
    if not unknown or error.code not in ("unsolvable", "package-not-found"):
        return error
    listed = "".join(f"\n  {line.origin}: {line.text}" for line, _ in unknown)
    labels = " and ".join(dict.fromkeys(f"`+{label}`" for _, label in unknown))
    return MatchError(
        "package-not-found",
        f"local versions, which ordinary indexes do not have, cannot be found:{listed}\n{error.message}",
        hint=f"say in the configuration which index has the versions {labels} (`local_version_indexes`)",
    )


def _local_versions(lines: Iterable[Line]) -> Iterator[tuple[Line, str]]:
    """Yield the lines that ask for one local version, with its label."""
    for line in lines:
        try:
            specifiers = Requirement(line.text).specifier
            labels = [Version(each.version).local for each in specifiers if each.operator in ("==", "===")]
        except (InvalidRequirement, InvalidVersion):
            continue
        yield from ((line, label) for label in labels if label)


def _label(key: str) -> str:
    return key.strip().lstrip("+").lower()
