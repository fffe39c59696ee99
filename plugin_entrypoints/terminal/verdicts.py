"""What was found out about an image: its proof, the contract of clusters, known vulnerabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from plugin_entrypoints.terminal.columns import facts, size, table

_HOW = {
    "engine": "in a container",
    "namespace": "in its own file system, without an engine",
    "packed": "from its own layers, on this machine's system",
    "static": "by its files alone",
}


def proof(report: Mapping[str, Any]) -> str:
    """Describe a verification by running from its report's JSON form: every check, and what it measured."""
    rows = [(each["outcome"], each["name"], each["detail"]) for each in report["checks"]]
    width = max((len(name) for _, name, _ in rows), default=0)
    lines = [f"{outcome:8}{name.ljust(width)}  {detail}".rstrip() for outcome, name, detail in rows]
    measured = facts(
        (
            ("loading", _seconds(report["load_seconds"])),
            ("predicting", _seconds(report["predict_seconds"])),
            ("memory", None if report["peak_memory"] is None else size(report["peak_memory"])),
            ("loaded files", None if report["loaded_size"] is None else size(report["loaded_size"])),
            (
                "slowest imports",
                ", ".join(f"{each['package']} {each['own_seconds']:.1f} s" for each in report["slow_imports"]),
            ),
        )
    )
    return "\n".join([*lines, *(["", measured] if measured else []), "", f"verified {verified(report)}"])


def verified(report: Mapping[str, Any]) -> str:
    """Say how an image was verified and with which outcome, from the report's JSON form."""
    if report["how"] == "none":
        return "no"
    return f"{_HOW[report['how']]}: {report['outcome']}"


def warnings_of(report: Mapping[str, Any]) -> list[str]:
    """List the checks of a report that warned."""
    return [f"{each['name']}: {each['detail']}" for each in report["checks"] if each["outcome"] == "warned"]


def _seconds(value: float | None) -> str | None:
    return None if value is None else f"{value:.1f} s"


def image(data: Mapping[str, Any]) -> str:
    """Say which image it is, from the JSON form of its verification."""
    return facts((("image", data["image"]), ("digest", data["digest"])))


def reproduction(data: Mapping[str, Any]) -> str:
    """Say what came of building an image again, from its JSON form."""
    rows = (
        ("image", data["image"]),
        ("digest", data["digest"]),
        ("built again", data["rebuilt"]),
        ("model from", f"the {data['model_from']}"),
        ("compared", data["compared"]),
        ("took", f"{data['seconds']:.0f} s"),
    )
    verdict = "reproduced: nothing differs" if data["reproduced"] else "not reproduced"
    return "\n".join([facts(rows), *(f"note: {note}" for note in data["notes"]), "", verdict])


def verification(data: Mapping[str, Any]) -> str:
    """Describe a verification from its JSON form: every finding, with reason and mend of what is not right."""
    head = facts(
        (
            ("image", data["image"]),
            ("digest", data["digest"]),
            ("runtime", f"{data['runtime']}, on clusters of {data['spark_version']}"),
        )
    )
    width = max(len(each["rule"]) for each in data["findings"])
    lines = []
    for each in data["findings"]:
        lines.append(f"{_mark(each).ljust(7)}  {each['rule'].ljust(width)}  {_told(each)}")
        if each["state"] != "found":
            lines += [f"{' ' * (width + 11)}{part}: {each[part]}" for part in ("reason", "mend")]
    return "\n".join([head, "", *lines, "", _verdict(data["findings"])])


def _mark(finding: Mapping[str, Any]) -> str:
    return "ok" if finding["state"] == "found" else "ERROR" if _is_error(finding) else "warning"


def _is_error(finding: Mapping[str, Any]) -> bool:
    return bool(finding["severity"] == "error" and finding["state"] in ("missing", "wrong"))


def _told(finding: Mapping[str, Any]) -> str:
    state = "" if finding["state"] == "found" else f"{finding['state']}: "
    return f"{state}{finding['detail']}"


def _verdict(findings: Sequence[Mapping[str, Any]]) -> str:
    broken = [each for each in findings if each["state"] != "found"]
    errors = sum(map(_is_error, broken))
    counts = f"{len(findings)} rules: {errors} broken, {len(broken) - errors} warnings"
    return f"{counts}; clusters are {'not ' if errors else ''}expected to work with the image"


def scan(data: Mapping[str, Any]) -> str:
    """Write the vulnerabilities of an image, worst first."""
    found = data["vulnerabilities"]
    if not found:
        return f"none of {data['packages']} packages has a known vulnerability"
    columns = ("severity", "package", "version", "advisory", "fixed in")
    rows = [
        (each["severity"], each["package"], each["version"], each["advisory"], ", ".join(each["fixed_in"]) or "-")
        for each in found
    ]
    affected = len({each["purl"] for each in found})
    return f"{table(rows, columns)}\n\n{affected} of {data['packages']} packages have known vulnerabilities"
