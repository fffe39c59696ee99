"""Rules of the contract, what they look at, and what they find."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from mlflow_dbimage.cluster_roots.cluster_root import ClusterRoot
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.runtimes import DcsImage, Runtime

#: An error where a cluster is known or documented to need it; a warning where images were seen to work without, or
#: where it is a matter of prudence.
Severity = Literal["error", "warning"]
State = Literal["found", "missing", "wrong", "unknown"]

_VERSION = re.compile(r"(\d+)\.(\d+)")
_UBUNTU = re.compile(r"Ubuntu (\d+\.\d+)")
#: Of a site's runtime that says no version: what is asked of the newest is asked of it.
_NEWEST = (99, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Runtimes from one version on, up to another one."""

    first: tuple[int, int] = (0, 0)
    below: tuple[int, int] = (100, 0)

    def __contains__(self, version: tuple[int, int]) -> bool:
        return self.first <= version < self.below

    def __str__(self) -> str:
        parts = []
        if self.first > (0, 0):
            parts.append(f"from {self.first[0]}.{self.first[1]}")
        if self.below < (100, 0):
            parts.append(f"below {self.below[0]}.{self.below[1]}")
        return ", ".join(parts) or "all"


ALL = Span()


@dataclass(frozen=True, kw_only=True)
class Subject:
    """An image that is held against the contract of a runtime."""

    image: Image
    """Its layers are not opened."""
    root: ClusterRoot
    runtime: Runtime
    """Whose clusters take images."""
    asked: Runtime
    """The runtime that was named: the same, or its sibling for machine learning."""
    reference: DcsImage | None
    """Databricks' own image for it, where one is known."""

    @cached_property
    def version(self) -> tuple[int, int]:
        """Major and minor of the runtime."""
        for text in (self.runtime.spark_version_string, self.runtime.key):
            match = _VERSION.match(text)
            if match is not None:
                return int(match[1]), int(match[2])
        return _NEWEST

    @cached_property
    def ubuntu(self) -> tuple[str, ...]:
        """Releases of the runtime and of Databricks' image for it, which may be another one."""
        systems = [self.runtime.os, *([] if self.reference is None else [self.reference.os])]
        return tuple(dict.fromkeys(match[1] for each in systems if (match := _UBUNTU.match(each))))

    def is_known(self, package: str) -> bool:
        """Whether the runtime, or Databricks' image for it, has a Python package."""
        return any(package in packages for packages in self._lists)

    def known_versions(self, package: str) -> set[str]:
        """Return the versions of a Python package with which the runtime, or its sibling, is known to work."""
        lists = (*self._lists, self.asked.packages)
        return {packages[package] for packages in lists if package in packages}

    @property
    def _lists(self) -> tuple[Mapping[str, str], ...]:
        return (self.runtime.packages, *(() if self.reference is None else (self.reference.packages,)))

    @property
    def words(self) -> dict[str, str]:
        """What texts of rules say in the place of their braces."""
        bootstrap = {} if self.reference is None else self.reference.bootstrap
        return {
            "runtime": self.runtime.key,
            "java": self.runtime.java,
            "python": self.runtime.python_minor,
            "ubuntu": " or ".join(self.ubuntu),
            "spark_version": self.runtime.spark_version_string,
            "pip": bootstrap.get("pip", "<version>"),
            "pins": " ".join(f"{name}=={version}" for name, version in bootstrap.items() if name != "python")
            or "virtualenv",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a rule says of an image."""

    state: State
    detail: str
    severity: Severity | None = None
    """In the place of the rule's own."""
    mend: str | None = None
    """In the place of the rule's own."""


def found(detail: str) -> Verdict:
    """Say that the image fulfils the rule."""
    return Verdict(state="found", detail=detail)


def missing(detail: str, severity: Severity | None = None) -> Verdict:
    """Say that the image lacks something."""
    return Verdict(state="missing", detail=detail, severity=severity)


def wrong(detail: str, severity: Severity | None = None, mend: str | None = None) -> Verdict:
    """Say that the image has something else than the rule demands."""
    return Verdict(state="wrong", detail=detail, severity=severity, mend=mend)


def unknown(detail: str) -> Verdict:
    """Say that it cannot be told without running the image."""
    return Verdict(state="unknown", detail=detail, severity="warning")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One thing that clusters need of an image, or that should not be in it."""

    id: str
    demands: str
    reason: str
    """What happens otherwise, or who says so; with its source."""
    mend: str
    """What to do; may have the words of `Subject.words` in braces."""
    check: Callable[[Subject], Verdict | None]
    """Returns None where the rule has nothing to say of an image."""
    runtimes: Span = ALL
    severity: Severity = "error"

    def apply(self, subject: Subject) -> Finding | None:
        """Hold an image against this rule; None where it does not concern it."""
        verdict = self.check(subject) if subject.version in self.runtimes else None
        if verdict is None:
            return None
        return Finding(
            rule=self.id,
            demands=self.demands,
            state=verdict.state,
            severity=verdict.severity or self.severity,
            detail=verdict.detail,
            reason=self.reason,
            mend=(verdict.mend or self.mend).format_map(subject.words),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a rule found in an image."""

    rule: str
    demands: str
    state: State
    severity: Severity
    """Of not fulfilling it."""
    detail: str
    reason: str
    mend: str

    @property
    def is_error(self) -> bool:
        """Whether a cluster is not expected to work with the image."""
        return self.severity == "error" and self.state in ("missing", "wrong")

    def to_dict(self) -> Mapping[str, Any]:
        """Give the JSON form; reason and mend only where there is something to mend."""
        data = {name: getattr(self, name) for name in ("rule", "state", "severity", "demands", "detail")}
        return data if self.state == "found" else {**data, "reason": self.reason, "mend": self.mend}
