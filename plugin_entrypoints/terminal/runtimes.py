"""Runtimes, and how they fit: their facts, and every pin held against them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from plugin_entrypoints.terminal.columns import facts, notes, table


def support(ended: str | None, days_left: int | None) -> str:
    """Say how long a runtime is supported."""
    if ended is None or days_left is None:
        return "not known"
    return f"until {ended}, {days_left} days" if days_left >= 0 else f"ended {ended}"


def runtime(data: Mapping[str, Any]) -> str:
    """Describe a runtime from its JSON form."""
    bootstrap = data["bootstrap"] or {}
    lines = facts(
        (
            ("runtime", f"{data['runtime']}: {data['name']}"),
            ("spark_version", data["spark_version"]),
            ("spark", f"{data['spark']}, Scala {data['scala']}"),
            ("python", data["python"]),
            ("system", f"{data['os']}, glibc {data['glibc']}, Java {data['java']}"),
            ("mlflow", data["mlflow"]),
            ("support", support(data["end_of_support"], data["days_left"])),
            ("as of", data["as_of"] + ("" if data["complete"] else ", and not all of its packages")),
            ("image", f"{data['dcs_image'] or 'none is known'}, for `{data['image_spark_version']}`"),
            ("image pins", ", ".join(f"{name} {version}" for name, version in bootstrap.items())),
            ("packages", len(data["packages"])),
        )
    )
    found = notes([*data["notes"], *(f"not certain: {each}" for each in data["unverified"])])
    return f"{lines}{found}\n\n{table(sorted(data['packages'].items()), ('package', 'version'))}"


def fit(data: Mapping[str, Any]) -> str:
    """Describe how a runtime fits from its JSON form, with every pin."""
    return fit_facts(data) + pins(data["pins"]) + notes(data["notes"])


def fit_facts(data: Mapping[str, Any]) -> str:
    """Describe what a runtime is to what runs on it, without the pins."""
    return facts(
        (
            ("runtime", f"{data['runtime']}, packages as of {data['as_of']}"),
            ("because", "; ".join(data["reasons"])),
            ("python", data["python"]["runtime"]),
            ("spark_version", f"{data['spark_version']} (Spark {data['spark']})"),
            ("image", data["dcs_image"]),
            ("support", support(data["end_of_support"], data["days_left"])),
            ("pins", ", ".join(f"{count} {agreement}" for agreement, count in data["counts"].items())),
        )
    )


def pins(compared: Sequence[Mapping[str, Any]]) -> str:
    """List pins under a blank line, those that do not agree first; nothing where there are none."""
    order = ("missing", "changed", "compatible", "same")
    rows = [
        (each["package"], each["wanted"] or "any", each["runtime"], each["agreement"])
        for each in sorted(compared, key=lambda each: order.index(each["agreement"]))
    ]
    return f"\n\n{table(rows, ('package', 'asked for', 'runtime', 'agreement'))}" if rows else ""
