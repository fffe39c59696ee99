"""A month of a large company, on paper: what measured unit costs come to. Pure arithmetic.

Every model has an image and gets a new version each week. A runtime is an environment that many models share; once
in the month one package of each moves, and the next version of every model is on the environment that moved.
"""

from __future__ import annotations

from dataclasses import dataclass

from scripts.bench.results import Cost, Results


@dataclass(frozen=True, slots=True, kw_only=True)
class Company:
    """How large it is."""

    models: int = 5000
    runtimes: int = 15
    weeks: int = 4

    @property
    def versions(self) -> int:
        """New versions in the month, each an image."""
        return self.models * self.weeks


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageCost:
    """What one image costs."""

    cpu: float
    """Seconds, of the whole machine."""
    sent: float
    """Bytes."""
    kept: float
    """Bytes that the registry did not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitCosts:
    """What images cost in one way of making them."""

    moved: ImageCost
    """The first one on an environment in which one package moved."""
    follower: ImageCost
    """The first one of another model on that environment."""
    version: ImageCost
    """One of a model whose environment did not move."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Month:
    """What a month costs."""

    cpu_hours: float
    sent: float
    """Bytes over the network."""
    kept: float
    """Bytes that the registry keeps, if nothing is deleted."""


def month(company: Company, unit: UnitCosts) -> Month:
    """Add up a month."""
    moved = company.runtimes
    followers = company.models - company.runtimes
    counts = ((moved, unit.moved), (followers, unit.follower), (company.versions - company.models, unit.version))
    return Month(
        cpu_hours=sum(count * each.cpu for count, each in counts) / 3600,
        sent=sum(count * each.sent for count, each in counts),
        kept=sum(count * each.kept for count, each in counts),
    )


def units(results: Results) -> dict[str, UnitCosts]:
    """Read the unit costs of each way out of what was measured; a way with a gap is left out.

    Ours keeps a layer once, whatever model it is of. By hand every model has an environment of its own: what
    others made cannot be found, and making it again gives other bytes. MLflow's image installs the model's lines
    for each version.
    """
    moved, version = _image(results, "neighbour"), _image(results, "version")
    sibling = _image(results, "sibling")
    found: dict[str, UnitCosts] = {}
    if moved and version and sibling:
        # Another model on it sends at most what had moved, and less where the registry gives a layer across.
        follower = ImageCost(cpu=sibling.cpu, sent=min(sibling.sent, moved.sent), kept=version.kept)
        found["mlflow-dbimage"] = UnitCosts(moved=moved, follower=follower, version=version)
    whole, cheap = _image(results, "hand"), _image(results, "hand-version")
    if whole and cheap:
        found["by hand"] = UnitCosts(moved=whole, follower=whole, version=cheap)
    each = _image(results, "mlflow-version")
    if each:
        found["MLflow"] = UnitCosts(moved=each, follower=each, version=each)
    return found


def _image(results: Results, key: str) -> ImageCost | None:
    cpu = results.figure(key, _machine)
    sent = results.figure(key, _sent)
    return None if cpu is None or sent is None else ImageCost(cpu=cpu, sent=sent, kept=sent)


def _machine(cost: Cost) -> float:
    return cost.usage.machine


def _sent(cost: Cost) -> float | None:
    return cost.pushed
