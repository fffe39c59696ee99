"""The targets, as ratios and differences of one run: met, or not, or not measured. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scripts.bench.results import Cost, Results

SMALL = 64 * 1024
"""Bytes of a config, a manifest and their like."""
_MOST_MEMORY = 400_000_000
# What a larger environment may take more: its list of files is in memory.
_FLAT = 1.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One target, and how far it is met."""

    number: int
    text: str
    wanted: str
    figure: str
    """What was found; empty where nothing was measured."""
    met: bool | None
    """None where nothing was measured."""


def evaluate(results: Results) -> tuple[Target, ...]:
    """Hold all targets against what was found."""
    return (
        _ratio(1, "first image, against MLflow's build and push", results, "mlflow-image", "first", least=10),
        _ratio(1, "first image, against the recipe by hand", results, "hand", "first", least=5),
        _above_floor(2, "new version, same environment", results, "version", most=1),
        _bytes(2, "a new version pushes the model", results.figure("version", _pushed), _model(results)),
        _bytes(2, "a new version writes the model", results.figure("version", _written), _model(results)),
        _above_floor(3, "new version, on a new machine", results, "machine", most=2),
        _bytes(3, "a new machine pushes the model alone", results.figure("machine", _pushed), _model(results)),
        _share(
            4, "a neighbour, of a first image", results.seconds("neighbour"), results.seconds("first"), most=0.25
        ),
        _bytes(4, "a neighbour pushes its layer", results.figure("neighbour", _pushed), _moved(results)),
        _above_floor(5, "the image on a patched base", results, "rebase", most=1),
        _bytes(5, "a rebase pushes config and manifest", results.figure("rebase", _pushed), SMALL),
        _least_share(
            6, "layers, against the limit", results.seconds("limit"), results.seconds("layers"), least=0.7
        ),
        *_memory(results),
        _bytes(
            8,
            "into an engine only new layers are sent",
            results.figure("engine", _pushed),
            _plus(results.figures.get("engine-model-layer"), SMALL),
        ),
        _seconds(9, "importing our door, beyond MLflow's own module", results.figures.get("door"), most=0.1),
        _seconds(9, "`dbimage --help`", results.seconds("help"), most=0.3),
        _share(
            10,
            "bytes above the base, of conda-pack's",
            _added(results, "first"),
            _added(results, "conda-pack"),
            0.8,
        ),
        _share(
            10,
            "the same over a base that has the pins",
            results.figures.get("overlay-bytes"),
            _added(results, "conda-pack"),
            0.05,
        ),
    )


def _ratio(number: int, text: str, results: Results, slow: str, fast: str, *, least: float) -> Target:
    above, below = results.seconds(slow), results.seconds(fast)
    wanted = f"{least:g} times faster"
    if above is None or below is None:
        return _unmeasured(number, text, wanted)
    found = above / below
    figure = f"{found:.1f} times ({above:.1f} s, {below:.1f} s)"
    return Target(number=number, text=text, wanted=wanted, figure=figure, met=found >= least)


def _above_floor(number: int, text: str, results: Results, key: str, *, most: float) -> Target:
    return _difference(number, text, results, key, "floor", most=most)


def _difference(number: int, text: str, results: Results, key: str, floor: str, *, most: float) -> Target:
    above, below = results.seconds(key), results.seconds(floor)
    wanted = f"{most:g} s above {'the floor' if floor == 'floor' else 'MLflow'}"
    if above is None or below is None:
        return _unmeasured(number, text, wanted)
    figure = f"{above - below:+.2f} s ({above:.2f} s, {below:.2f} s)"
    return Target(number=number, text=text, wanted=wanted, figure=figure, met=above - below <= most)


def _seconds(number: int, text: str, seconds: float | None, *, most: float) -> Target:
    wanted = f"{most:g} s"
    if seconds is None:
        return _unmeasured(number, text, wanted)
    return Target(number=number, text=text, wanted=wanted, figure=f"{seconds:.2f} s", met=seconds <= most)


def _bytes(number: int, text: str, size: float | None, most: float | None) -> Target:
    if size is None or most is None:
        return _unmeasured(number, text, "" if most is None else _kilobytes(most))
    return Target(number=number, text=text, wanted=_kilobytes(most), figure=_kilobytes(size), met=size <= most)


def _share(number: int, text: str, part: float | None, whole: float | None, most: float) -> Target:
    wanted = f"at most {most:.0%}"
    if part is None or not whole:
        return _unmeasured(number, text, wanted)
    return Target(number=number, text=text, wanted=wanted, figure=f"{part / whole:.1%}", met=part / whole <= most)


def _least_share(number: int, text: str, part: float | None, whole: float | None, *, least: float) -> Target:
    wanted = f"at least {least:.0%}"
    if part is None or not whole:
        return _unmeasured(number, text, wanted)
    figure = f"{part / whole:.0%} ({whole:.2f} s, {part:.2f} s)"
    return Target(number=number, text=text, wanted=wanted, figure=figure, met=part / whole >= least)


def _memory(results: Results) -> tuple[Target, ...]:
    """Hold the peaks of growing environments and models: below a bound, and the largest near the smallest."""
    return (
        _flat("memory, as the environment grows", results.growth.get("environments") or ()),
        _flat("memory, as the model grows", results.growth.get("models") or ()),
    )


def _flat(text: str, points: Sequence[Mapping[str, float]]) -> Target:
    wanted = "below 400 MB, and flat"
    if len(points) < 2:
        return _unmeasured(7, text, wanted)
    small, *_, large = sorted(points, key=lambda each: each["bytes"])
    peak = max(each["memory"] for each in points)
    figure = ", ".join(f"{each['memory'] / 1e6:.0f} MB at {each['bytes'] / 1e9:g} GB" for each in (small, large))
    met = peak < _MOST_MEMORY and large["memory"] <= _FLAT * small["memory"]
    return Target(number=7, text=text, wanted=wanted, figure=figure, met=met)


def _unmeasured(number: int, text: str, wanted: str) -> Target:
    return Target(number=number, text=text, wanted=wanted, figure="", met=None)


def _pushed(cost: Cost) -> float | None:
    return cost.pushed


def _written(cost: Cost) -> float | None:
    return cost.usage.written


def _added(results: Results, key: str) -> float | None:
    return results.figure(key, lambda cost: cost.added)


def _model(results: Results) -> float | None:
    return _plus(results.figures.get("model-bytes"), SMALL)


def _moved(results: Results) -> float | None:
    # Small change: the lock, and the shared layer that it stands in.
    return _plus(results.figures.get("moved-layer"), 1024 * 1024)


def _plus(figure: float | None, more: float) -> float | None:
    return None if figure is None else figure + more


def _kilobytes(size: float) -> str:
    return f"{size / 1000:,.1f} kB"
