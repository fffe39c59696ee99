"""What a site demands of an image before it runs it, read from a file and held against what is known of it."""

from __future__ import annotations

import fnmatch
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date
from pathlib import Path
from typing import Any

from mlflow_dbimage.build_receipt import ImageRecord
from mlflow_dbimage.errors import InputError
from mlflow_dbimage.evidence.advisories import Severity, Vulnerability
from mlflow_dbimage.evidence.statement import Statement
from mlflow_dbimage.runtimes import Runtime
from mlflow_dbimage.verification import REPORT_FIELD

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_RAN = ("engine", "namespace", "packed")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustPolicy:
    """What is demanded; what is not set is not."""

    signed: bool = False
    """The image and all statements about it, by the key."""
    proven: bool = False
    """Its model has run in it, and no check failed."""
    runtime_supported: bool = False
    """Its runtime is known, and Databricks supports it today."""
    vulnerabilities: Severity | None = None
    """None is known that is as bad as this, or worse."""
    bases: tuple[str, ...] = ()
    """Patterns of references, or digests, of which the base is one; empty for any base."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of an image."""

    record: ImageRecord | None
    signed: bool
    provenance: Statement | None
    """Where a key is given, one that it signed."""
    reports: tuple[Statement, ...]
    """All that verifications have found; where a key is given, those that it signed."""
    runtime: Runtime | None
    vulnerabilities: Sequence[Vulnerability] | None
    """None where nobody looked."""
    today: date
    not_scanned: str = "no advisories were given to look into"
    """Why nobody looked for vulnerabilities."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """One demand, and whether the image meets it."""

    name: str
    met: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """How an image stands to all demands."""

    demands: tuple[Demand, ...] = field(default=())

    @property
    def unmet(self) -> tuple[Demand, ...]:
        """Those that it does not meet."""
        return tuple(each for each in self.demands if not each.met)

    def to_dict(self) -> list[dict[str, Any]]:
        """Give the JSON form."""
        return [{"demand": each.name, "met": each.met, "detail": each.detail} for each in self.demands]


def read_policy(path: Path) -> TrustPolicy:
    """Read a policy from a TOML file.

    Raises:
        InputError: `bad-config-file`, it cannot be read, or says what no policy says; all problems are told.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError("bad-config-file", f"cannot read the policy `{path}`: {error}") from error
    problems = _problems(data)
    if problems:
        raise InputError("bad-config-file", f"the policy `{path}`: " + "; ".join(problems))
    severity = data.pop("vulnerabilities", None)
    bases = tuple(data.pop("bases", ()))
    return TrustPolicy(**data, bases=bases, vulnerabilities=None if severity is None else Severity.named(severity))


def judge(policy: TrustPolicy, known: Known) -> Trust:
    """Hold an image against a policy; a demand that is not made is not listed."""
    found = []
    if policy.signed:
        found.append(_signed(known))
    if policy.proven:
        found.append(_proven(known))
    if policy.runtime_supported:
        found.append(_supported(known))
    if policy.vulnerabilities is not None:
        found.append(_sound(known, policy.vulnerabilities))
    if policy.bases:
        found.append(_base(known, policy.bases))
    return Trust(demands=tuple(found))


def _problems(data: Mapping[str, Any]) -> list[str]:
    known = {each.name for each in fields(TrustPolicy)}
    found = [
        f"`{name}` is no known field; known are {', '.join(sorted(known))}" for name in data if name not in known
    ]
    flags = [name for name in ("signed", "proven", "runtime_supported") if name in data]
    found += [f"`{name}` is neither true nor false" for name in flags if not isinstance(data[name], bool)]
    severity = data.get("vulnerabilities", "low")
    if not isinstance(severity, str) or Severity.named(severity) is Severity.UNKNOWN:
        found.append("`vulnerabilities` is none of low, medium, high and critical")
    bases = data.get("bases", [])
    if not isinstance(bases, list) or not all(isinstance(each, str) and each for each in bases):
        found.append("`bases` is no list of texts")
    return found


def _signed(known: Known) -> Demand:
    lacking = [
        name
        for name, there in (
            ("the image", known.signed),
            ("its provenance", known.provenance is not None),
            ("its verification report", bool(known.reports)),
        )
        if not there
    ]
    detail = f"not signed by the key: {', '.join(lacking)}" if lacking else "the image and what is said of it"
    return Demand(name="signed", met=not lacking, detail=detail)


def _proven(known: Known) -> Demand:
    """Hold all reports against the demand: the model ran by one of them, and failed by none."""
    if not known.reports:
        return Demand(name="proven", met=False, detail="there is no verification report")
    failures = [each for each in map(_failure, known.reports) if each is not None]
    if failures:
        return Demand(name="proven", met=False, detail=failures[0])
    ways = [how for each in known.reports if (how := _own_report(each).get("how")) is not None]
    ran = next((how for how in _RAN if how in ways), None)
    detail = f"verified by `{ran or ways[0]}`" if ways else "the report is of another tool"
    return Demand(name="proven", met=ran is not None, detail=detail)


def _failure(report: Statement) -> str | None:
    """Return why a verification failed; None where it did not."""
    cause = _own_report(report).get("cause")
    if cause is not None:
        return str(cause)
    result = report.predicate.get("result")
    return None if result in ("PASSED", "WARNED") else f"the result of a verification is `{result}`"


def _own_report(report: Statement) -> Mapping[str, Any]:
    """Return the whole report; empty where another tool has verified."""
    found = report.predicate.get(REPORT_FIELD)
    return found if isinstance(found, Mapping) else {}


def _supported(known: Known) -> Demand:
    runtime = known.runtime
    if runtime is None:
        return Demand(name="runtime_supported", met=False, detail="its runtime is not known")
    ended = f", until {runtime.end_of_support}" if runtime.end_of_support else ""
    met = runtime.supported_on(known.today)
    return Demand(
        name="runtime_supported", met=met, detail=f"`{runtime.key}` is {'' if met else 'not '}supported{ended}"
    )


def _sound(known: Known, threshold: Severity) -> Demand:
    if known.vulnerabilities is None:
        return Demand(name="vulnerabilities", met=False, detail=known.not_scanned)
    bad = [each for each in known.vulnerabilities if each.severity >= threshold]
    word = threshold.name.lower()
    if not bad:
        return Demand(name="vulnerabilities", met=True, detail=f"none is known that is {word} or worse")
    named = f"{bad[0].advisory} in {bad[0].package.name} {bad[0].package.version}"
    return Demand(name="vulnerabilities", met=False, detail=f"{len(bad)} are {word} or worse, such as {named}")


def _base(known: Known, allowed: Sequence[str]) -> Demand:
    if known.record is None:
        return Demand(name="bases", met=False, detail="its base is not known")
    reference, digest = known.record.base_reference, known.record.base_digest
    met = any(pattern == digest or fnmatch.fnmatchcase(reference, pattern) for pattern in allowed)
    return Demand(name="bases", met=met, detail=f"`{reference}`, {digest}")
