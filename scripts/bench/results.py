"""Results: what each scenario cost, how often, with medians and spread. Pure values, written as JSON."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from scripts.bench.meter import Usage


class WrongResult(Exception):
    """A result is wrong: no figure counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One run of a scenario."""

    usage: Usage
    pushed: int | None = None
    """Bytes that were sent to the registry or the engine."""
    added: int | None = None
    """Bytes of the image above its base, compressed."""
    digest: str | None = None
    steps: tuple[tuple[str, float], ...] = ()
    """What it said of its steps, and the seconds that each took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Something that was measured, some times."""

    key: str
    way: str
    """Whose: ours, or a peer's."""
    title: str
    costs: tuple[Cost, ...]
    note: str = ""

    @property
    def seconds(self) -> float:
        """Median of the wall time."""
        return self.median(lambda cost: cost.usage.seconds) or 0.0

    @property
    def spread(self) -> tuple[float, float]:
        """Least and most of the wall time."""
        taken = [cost.usage.seconds for cost in self.costs]
        return min(taken), max(taken)

    def median(self, figure: Callable[[Cost], float | None]) -> float | None:
        """Return the median of a figure, of the runs that have it."""
        return median(figure(cost) for cost in self.costs)


@dataclass(slots=True, kw_only=True)
class Results:
    """All that a run found; filled as it goes."""

    scenarios: dict[str, Scenario] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    """By scenario or part: why it was not measured."""
    figures: dict[str, float] = field(default_factory=dict)
    """Single figures, by name: sizes of environments, throughputs."""
    growth: dict[str, Any] = field(default_factory=dict)
    """How cost grows: environments, models, registry."""
    service: dict[str, Any] = field(default_factory=dict)
    """What the webhook's door did."""

    def add(self, scenario: Scenario) -> Scenario:
        """Take in a scenario."""
        self.scenarios[scenario.key] = scenario
        return scenario

    def seconds(self, key: str) -> float | None:
        """Return the median time of a scenario, or None where it was not measured."""
        found = self.scenarios.get(key)
        return None if found is None else found.seconds

    def figure(self, key: str, figure: Callable[[Cost], float | None]) -> float | None:
        """Return the median of a figure of a scenario, or None."""
        found = self.scenarios.get(key)
        return None if found is None else found.median(figure)

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Results:
        """Read the JSON form."""
        made = cls(**{key: data[key] for key in ("skipped", "figures", "growth", "service")})
        for key, each in data["scenarios"].items():
            costs = tuple(_cost(cost) for cost in each["costs"])
            made.scenarios[key] = Scenario(**{**each, "costs": costs})
        return made


def _cost(data: Mapping[str, Any]) -> Cost:
    steps = tuple((text, seconds) for text, seconds in data["steps"])
    return Cost(**{**data, "usage": Usage(**data["usage"]), "steps": steps})


def steps_of(said: str) -> tuple[tuple[str, float], ...]:
    """Read the steps out of what a command of ours says in a log: one line at the end of each."""
    found = re.findall(r"^(.+) \((\d+\.\d) s\)$", said, re.MULTILINE)
    return tuple((text, float(seconds)) for text, seconds in found)


def median(figures: Iterable[float | None]) -> float | None:
    """Return the median of those that there are, or None."""
    known = [each for each in figures if each is not None]
    return statistics.median(known) if known else None


def same_digest(what: str, digests: Mapping[str, str | None]) -> None:
    """Hold digests of runs that must give one image against each other.

    Raises:
        WrongResult: They differ.
    """
    if len(set(digests.values())) > 1:
        told = ", ".join(f"{name}: {digest}" for name, digest in digests.items())
        raise WrongResult(f"{what} gave more than one image ({told})")
