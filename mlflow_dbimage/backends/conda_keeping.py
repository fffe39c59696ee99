"""What a base's conda packages become in an environment on top of it: taken, replaced, or left beside.

The rule: what the model asks for and what that needs is solved, with the base's packages before all others. What
else the base has stays as it is, even where it asks for other versions than the model has: it costs nothing, and
the model does not use it. A note says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import rattler
from rattler.exceptions import InvalidMatchSpecError

from mlflow_dbimage.backends.conda_records import Channel, package_of, record_of
from mlflow_dbimage.locking.environment_solver import CondaRequest
from mlflow_dbimage.locking.lock_inputs import without_credentials
from mlflow_dbimage.locking.locked_packages import CondaPackage


def kept_or_new(
    record: rattler.RepoDataRecord, request: CondaRequest, channels: Sequence[Channel]
) -> CondaPackage:
    """Return a solved record as a package: the base's own, as the base recorded it, where it is the same."""
    name = record.name.normalized
    known = next((each for each in request.kept if each.name == name), None)
    if known is not None and (str(record.build), _sha256(record)) == (known.build, known.sha256):
        return _found_here(known, request)
    return package_of(record, channels)


def with_the_rest(
    solved: Sequence[CondaPackage], request: CondaRequest
) -> tuple[tuple[CondaPackage, ...], tuple[str, ...]]:
    """Return the solved packages with what else the base has, and what of that asks for other versions."""
    names = {package.name for package in solved}
    rest = [_found_here(package, request) for package in request.kept if package.name not in names]
    before = {package.name: package for package in request.kept}
    changed = {each.name: each for each in solved if each.name in before and not _same(each, before[each.name])}
    return (*solved, *rest), tuple(_contradictions(rest, before, changed))


def _contradictions(
    rest: Sequence[CondaPackage], before: Mapping[str, CondaPackage], changed: Mapping[str, CondaPackage]
) -> Iterator[str]:
    for package in rest:
        for text in package.metadata.get("depends", ()):
            name = text.split()[0]
            if name not in changed:
                continue
            try:
                spec = rattler.MatchSpec(text)
            except InvalidMatchSpecError:
                continue
            fitted = spec.matches(record_of(before[name]))
            if fitted and not spec.matches(record_of(changed[name])):
                yield (
                    f"the base's {package.name} {package.version} needs `{text}`, and the model has"
                    f" {changed[name].version}: it stays as it is, and may not work"
                )


def _found_here(package: CondaPackage, request: CondaRequest) -> CondaPackage:
    """Return a package of the base where this site finds it: the base may come from a site with other mirrors."""
    mapped = request.channel_map.get(package.channel)
    if mapped is None:
        return package
    url = f"{without_credentials(mapped).rstrip('/')}/{package.subdir}/{package.file_name}"
    return replace(package, url=url)


def _same(one: CondaPackage, other: CondaPackage) -> bool:
    return (one.version, one.build, one.sha256) == (other.version, other.build, other.sha256)


def _sha256(record: rattler.RepoDataRecord) -> str | None:
    return None if record.sha256 is None else record.sha256.hex()
