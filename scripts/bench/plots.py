"""Line charts as SVG, readable on light and dark pages. No library: a few lines, ticks and words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT = 640, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 40, 50
# Height of a line's name, beneath the chart.
_LEGEND = 18
# Of these colours each is seen on white and on black, and by those who see fewer.
_COLOURS = ("#2a7fb8", "#d95f02", "#5a9e3e", "#a35bb5")
_STYLE = """\
text { font: 12px sans-serif; fill: #24292f }
.title { font-size: 14px; font-weight: bold }
.axis { stroke: #57606a; stroke-width: 1; fill: none }
.grid { stroke: #8c959f; stroke-opacity: 0.35; stroke-width: 1 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .axis { stroke: #9198a1 } }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of a chart."""

    title: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Some lines over one another."""

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    logarithmic: bool = False
    """Whether the upright axis is; then no value may be 0."""


def svg(chart: Chart) -> str:
    """Draw a chart.

    Raises:
        ValueError: It has no points, or is logarithmic and has a value that is not above 0.
    """
    points = [point for line in chart.lines for point in line.points]
    if not points:
        raise ValueError(f"the chart {chart.title!r} has no points")
    if chart.logarithmic and min(y for _, y in points) <= 0:
        raise ValueError(f"the chart {chart.title!r} is logarithmic, and a value is not above 0")
    across = _linear(max(x for x, _ in points))
    upright = _powers([y for _, y in points]) if chart.logarithmic else _linear(max(y for _, y in points))
    scale = _Scale(x=(across[0], across[-1]), y=(upright[0], upright[-1]), logarithmic=chart.logarithmic)
    height = _HEIGHT + _LEGEND * len(chart.lines)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="{escape(chart.title, {chr(34): "&quot;"})}">',
        f"<style>\n{_STYLE}</style>",
        f'<text class="title" x="{_LEFT}" y="18">{escape(chart.title)}</text>',
        *(_upright_tick(value, scale) for value in upright),
        *(_across_tick(value, scale) for value in across),
        f'<path class="axis" d="M{_LEFT} {_TOP}V{_HEIGHT - _BOTTOM}H{_WIDTH - _RIGHT}"/>',
        f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 12}" text-anchor="end">{escape(chart.x)}</text>',
        f'<text x="{_LEFT}" y="{_TOP - 6}">{escape(chart.y)}</text>',
    ]
    for number, line in enumerate(chart.lines):
        parts += _drawn(line, number, scale)
    return "\n".join([*parts, "</svg>", ""])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    x: tuple[float, float]
    y: tuple[float, float]
    logarithmic: bool

    def across(self, value: float) -> float:
        share = (value - self.x[0]) / (self.x[1] - self.x[0])
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)

    def upright(self, value: float) -> float:
        low, high = self.y
        if self.logarithmic:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        share = (value - low) / (high - low)
        return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM), 1)


def _linear(most: float) -> list[float]:
    """Return round ticks from 0 to at least the largest value."""
    rough = (most or 1.0) / 5
    power = 10 ** math.floor(math.log10(rough))
    step = next(each * power for each in (1, 2, 5, 10) if each * power >= rough)
    count = math.ceil((most or 1.0) / step - 1e-9)
    return [round(step * number, 10) for number in range(count + 1)]


def _powers(values: Sequence[float]) -> list[float]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return [10.0**power for power in range(low, max(high, low + 1) + 1)]


def _upright_tick(value: float, scale: _Scale) -> str:
    y = scale.upright(value)
    return (
        f'<path class="grid" d="M{_LEFT} {y}H{_WIDTH - _RIGHT}"/>'
        f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{value:g}</text>'
    )


def _across_tick(value: float, scale: _Scale) -> str:
    return f'<text x="{scale.across(value)}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{value:g}</text>'


def _drawn(line: Line, number: int, scale: _Scale) -> list[str]:
    colour = _COLOURS[number % len(_COLOURS)]
    places = [(scale.across(x), scale.upright(y)) for x, y in sorted(line.points)]
    path = "L".join(f"{x} {y}" for x, y in places)
    drawn = [f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>']
    if len(places) <= 20:
        drawn += [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in places]
    y = _HEIGHT + _LEGEND * number
    drawn += [
        f'<path d="M{_LEFT} {y - 4}h20" stroke="{colour}" stroke-width="3"/>',
        f'<text x="{_LEFT + 26}" y="{y}">{escape(line.title)}</text>',
    ]
    return drawn
