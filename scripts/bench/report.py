"""The report: tables in Markdown, the plots, and the generated part of `docs/benchmarks.md`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.bench.month import Company, month, units
from scripts.bench.plots import Chart, Line, svg
from scripts.bench.results import Results, Scenario
from scripts.bench.targets import Target, evaluate

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
_MEGABYTE = 1_000_000
_GIGABYTE = 1e9

_PROFILED = ("first", "version", "machine", "neighbour", "rebase")
_NOTICED = 0.1
_GROWTH: tuple[tuple[str, str, str, Callable[[Mapping[str, Any]], float]], ...] = (
    ("growth-seconds.svg", "Time of a build, as it grows", "seconds", lambda each: float(each["seconds"])),
    ("growth-memory.svg", "Memory of a build, as it grows", "MB", lambda each: float(each["memory"]) / _MEGABYTE),
)


def markdown(results: Results, machine: Mapping[str, str]) -> str:
    """Write all that was found."""
    parts = [
        ("Targets", _targets(evaluate(results))),
        ("Scenarios", _scenarios(results)),
        ("Where the time goes", _steps(results)),
        ("Environments and models that grow", _sizes(results)),
        ("A registry that grows", _registry(results)),
        ("A month of a large company, on paper", _month(results)),
        ("The webhook's door", _service(results)),
        ("Left out", "\n".join(f"- {key}: {why}" for key, why in results.skipped.items())),
        ("Machine", "\n".join(f"- {key}: {value}" for key, value in machine.items())),
    ]
    return "\n\n".join(f"## {title}\n\n{text}" for title, text in parts if text) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table in Markdown; bars in cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def charts(results: Results) -> dict[str, str]:
    """Draw the plots, by file name."""
    made: dict[str, Chart] = {}
    grown = [
        (title, sorted(results.growth.get(kind) or (), key=lambda each: float(each["bytes"])))
        for kind, title in (("environments", "environment"), ("models", "file of a model"))
    ]
    for name, title, unit, figure in _GROWTH:
        lines = [
            Line(title=of, points=[(each["bytes"] / _GIGABYTE, figure(each)) for each in points])
            for of, points in grown
            if points
        ]
        if lines:
            made[name] = Chart(title=title, x="GB", y=unit, lines=lines)
    registry: Mapping[str, Sequence[Mapping[str, float]]] = results.growth.get("registry") or {}
    if registry:
        lines = [
            Line(title=layout, points=[(each["images"], each["registry"] / _GIGABYTE) for each in points])
            for layout, points in _layouts(registry).items()
        ]
        made["growth-registry.svg"] = Chart(
            title="A registry, as images come", x="images", y="GB (logarithmic)", lines=lines, logarithmic=True
        )
    return {name: svg(chart) for name, chart in made.items()}


def write_docs(results: Results, machine: Mapping[str, str], docs: Path) -> None:
    """Put the report into the generated part of `benchmarks.md`, and the plots beside it."""
    page = docs / "benchmarks.md"
    text = page.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    (docs / "images").mkdir(exist_ok=True)
    drawn = charts(results)
    for name, drawing in drawn.items():
        (docs / "images" / name).write_text(drawing)
    page.write_text(f"{before}{BEGIN}\n\n{markdown(results, machine)}\n{END}{after}")


def _targets(targets: Sequence[Target]) -> str:
    words = {True: "met", False: "**not met**", None: "not measured"}
    rows = [(str(each.number), each.text, each.wanted, each.figure, words[each.met]) for each in targets]
    return table(("", "target", "wanted", "found", ""), rows)


def _scenarios(results: Results) -> str:
    head = (
        "what",
        "way",
        "runs",
        "seconds",
        "CPU-s",
        "CPU-s of all",
        "MB memory",
        "MB written",
        "MB sent",
        "MB above the base",
    )
    rows = [_row(each) for each in results.scenarios.values()]
    notes = [f"- {each.way}, {each.title}: {each.note}" for each in results.scenarios.values() if each.note]
    return table(head, rows) + ("\n\n" + "\n".join(notes) if notes else "")


def _row(scenario: Scenario) -> tuple[str, ...]:
    low, high = scenario.spread
    spread = "" if len(scenario.costs) == 1 else f" ({low:.2f} to {high:.2f})"
    return (
        scenario.title,
        scenario.way,
        str(len(scenario.costs)),
        f"{scenario.seconds:.2f}{spread}",
        _figure(scenario.median(lambda cost: cost.usage.cpu)),
        _figure(scenario.median(lambda cost: cost.usage.machine)),
        _megabytes(scenario.median(lambda cost: cost.usage.memory)),
        _megabytes(scenario.median(lambda cost: cost.usage.written)),
        _megabytes(scenario.median(lambda cost: cost.pushed)),
        _megabytes(scenario.median(lambda cost: cost.added)),
    )


def _steps(results: Results) -> str:
    """Tell the steps of one run of each of some scenarios; what no step has is start, look-up and the rest."""
    rows = []
    for key in _PROFILED:
        found = results.scenarios.get(key)
        steps = found.costs[0].steps if found else ()
        if found is not None and steps:
            rows += [(found.title, text, f"{seconds:.1f}") for text, seconds in steps if seconds >= _NOTICED]
            rows.append((found.title, "all", f"{found.costs[0].usage.seconds:.1f}"))
    return table(("of", "step", "seconds"), rows) if rows else ""


def _sizes(results: Results) -> str:
    rows = [
        (title, f"{each['bytes'] / _GIGABYTE:g}", *_grown(each))
        for kind, title in (("environments", "environment"), ("models", "model file"))
        for each in results.growth.get(kind) or ()
    ]
    if not rows:
        return ""
    picture = "![Time](images/growth-seconds.svg) ![Memory](images/growth-memory.svg)\n\n"
    return picture + table(("of", "GB", "seconds", "CPU-s", "MB memory", "MB written", "MB above the base"), rows)


def _grown(each: Mapping[str, Any]) -> tuple[str, ...]:
    sizes = (each["memory"], each["written"], each["added"])
    return (f"{each['seconds']:.1f}", f"{each['cpu']:.1f}", *map(_megabytes, sizes))


def _registry(results: Results) -> str:
    registry = results.growth.get("registry") or {}
    if not registry:
        return ""
    rows = []
    for layout, points in _layouts(registry).items():
        last = points[-1]
        seconds = [each["seconds"] for each in points if "seconds" in each]
        rows.append(
            (
                layout,
                f"{last['images']:.0f}",
                f"{last['registry'] / _GIGABYTE:.2f}",
                _megabytes(sum(each["pushed"] for each in points) / len(points)),
                f"{sum(seconds) / len(seconds):.2f}" if seconds else "",
            )
        )
    picture = "![Bytes in the registry](images/growth-registry.svg)\n\n"
    return picture + table(("layout", "images", "GB in all", "MB sent an image", "seconds an image"), rows)


def _layouts(registry: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, Sequence[Mapping[str, float]]]:
    """Add, from the sizes of the images, the layout in which every image brings its environment."""
    made = dict(registry)
    points = registry["one layer"]
    total, grown = 0.0, []
    for each in points:
        total += each["whole"]
        grown.append({"images": each["images"], "registry": total, "pushed": each["whole"]})
    return {**made, "every version its own environment (computed)": grown}


def _month(results: Results) -> str:
    company = Company()
    rows = []
    for way, unit in units(results).items():
        found = month(company, unit)
        rows.append((way, f"{found.cpu_hours:,.0f}", _terabytes(found.sent), _terabytes(found.kept)))
    if not rows:
        return ""
    text = f"{company.models:,} models on {company.runtimes} runtimes, a new version of each model every week: "
    text += f"{company.versions:,} images. One package of each runtime moves in the month.\n\n"
    return text + table(("way", "CPU hours", "TB sent", "TB kept"), rows)


def _service(results: Results) -> str:
    if not results.service:
        return ""
    return table(("what", ""), [(key.replace("_", " "), str(value)) for key, value in results.service.items()])


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _megabytes(value: float | None) -> str:
    return (
        "" if value is None else f"{value / _MEGABYTE:,.2f}" if value < _MEGABYTE else f"{value / _MEGABYTE:,.1f}"
    )


def _terabytes(value: float) -> str:
    return f"{value / 1e12:,.3f}"
