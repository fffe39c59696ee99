"""The plan of a build: which model, on which base, with which packages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from plugin_entrypoints.terminal.columns import facts, notes, size, table
from plugin_entrypoints.terminal.runtimes import pins, support


def plan(data: Mapping[str, Any]) -> str:
    """Describe a plan from its JSON form: which model, on which base, with which packages."""
    model, base, packages, match = data["model"], data["base"], data["packages"], data["match"]
    lines = facts(
        (
            ("model", f"{model['uri']} ({size(model['size'])}, MLflow {model['mlflow'] or 'unknown'})"),
            ("runtime", data["runtime"]),
            ("because", "; ".join(data["reasons"])),
            ("spark_version", match and match["spark_version"]),
            ("support", match and support(match["end_of_support"], match["days_left"])),
            ("pins", match and ", ".join(f"{count} {agreement}" for agreement, count in match["counts"].items())),
            ("base", f"{base['reference']} ({base['system']}, glibc {base['glibc']}, {size(base['size'])})"),
            ("environment", _environment(data["environment"])),
            ("python", f"{data['python']} for {data['platform']}"),
            ("packages", _package_counts(packages)),
            ("lock", data["lock"]),
            ("adds", f"about {size(data['predicted_size'])} in {len(data['layers'])} layers, by an estimate"),
        )
    )
    differing = [each for each in match["pins"] if each["agreement"] in ("changed", "missing")] if match else []
    over = "kept" in data["environment"]
    listed = _differing(data["environment"]) if over else _predicted(data["layers"])
    return f"{lines}{pins(differing)}\n\n{listed}{notes(data['notes'])}"


def _package_counts(packages: Sequence[Mapping[str, Any]]) -> str:
    conda = sum(1 for each in packages if each["manager"] == "conda")
    total = size(sum(each["size"] or 0 for each in packages))
    return f"{conda} of conda, {len(packages) - conda} of pip, {total} to download at most"


def _predicted(layers: Sequence[Mapping[str, Any]]) -> str:
    rows = [(each["title"], each["packages"] or None, size(each["size"])) for each in layers]
    return table(rows, ("layer", "packages", "about"))


def _environment(layout: Mapping[str, Any]) -> str:
    """Say where the environment lies, and what of it the base has."""
    place = f"{layout['kind']} at {layout['prefix']}"
    if "kept" not in layout:
        return place
    counts = (
        f"{layout['kept']} of the base kept",
        f"{len(layout['changed'])} changed",
        f"{len(layout['added'])} added",
        f"{len(layout['gone'])} gone",
    )
    return f"{place}: {', '.join(counts)}; {size(layout['size'])} to lay over it at most"


def _differing(layout: Mapping[str, Any]) -> str:
    """List what is laid over a base, and what is hidden of it."""
    rows = [(each["name"], each["from"], each["to"], size(each["size"] or 0)) for each in layout["changed"]]
    rows += [(each["name"], "", each["version"], size(each["size"] or 0)) for each in layout["added"]]
    rows += [(name, version, "gone", "") for name, version in (each.split(" ", 1) for each in layout["gone"])]
    return (
        table(rows, ("package", "in the base", "in the image", "size")) if rows else "all packages are the base's"
    )
