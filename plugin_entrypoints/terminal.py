"""Results as lines for people: sizes, tables, plans, receipts. Doors print them; nothing here prints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_HOW = {
    "engine": "in a container",
    "namespace": "in its own file system, without an engine",
    "packed": "from its own layers, on this machine's system",
    "static": "by its files alone",
}
_UNITS = ("B", "kB", "MB", "GB", "TB")


def size(count: int) -> str:
    """Write a number of bytes in three digits: `512 B`, `4.1 MB`."""
    amount = float(count)
    for unit in _UNITS:
        if amount < 999.5 or unit == _UNITS[-1]:
            break
        amount /= 1000
    return f"{count} B" if unit == "B" else f"{amount:.3g} {unit}" if amount < 99.5 else f"{amount:.0f} {unit}"


def table(rows: Sequence[Sequence[object]], headers: Sequence[str]) -> str:
    """Lay out rows in columns as wide as they need, the headers above."""
    cells = [[str(cell) if cell is not None else "-" for cell in row] for row in (headers, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headers))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(line.rstrip() for line in lines)


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """Lay out names and values, one a line; pairs without a value are left out."""
    present = [(name, str(value)) for name, value in pairs if value not in (None, "", ())]
    width = max((len(name) for name, _ in present), default=0)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in present)


def receipt(data: Mapping[str, Any]) -> str:
    """Describe a build from its receipt's JSON form."""
    record = data["record"]
    model = record["model_uri"]
    reused = "reused" if data["environment_reused"] else "built"
    lines = facts(
        (
            ("image", data["reference"]),
            ("digest", data["digest"]),
            ("tags", ", ".join(data["tags"])),
            ("model", model),
            ("runtime", record["runtime"]),
            ("base", record["base_reference"]),
            ("python", record["python"]),
            ("environment", f"{record['packages']} packages, {reused}"),
            ("size", f"{size(data['image_size'])}, of which {size(data['added_size'])} on top of the base"),
            ("verified", _verified(data["verification"])),
            ("sent", size(data["sent_size"]) + (f" ({data['sent']})" if data["sent"] else "")),
            ("time", f"{data['seconds']:.1f} s"),
        )
    )
    return lines + notes([*_warnings(data["verification"]), *data["notes"]])


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
    return "\n".join([*lines, *(["", measured] if measured else []), "", f"verified {_verified(report)}"])


def _verified(report: Mapping[str, Any]) -> str:
    if report["how"] == "none":
        return "no"
    return f"{_HOW[report['how']]}: {report['outcome']}"


def _warnings(report: Mapping[str, Any]) -> list[str]:
    return [f"{each['name']}: {each['detail']}" for each in report["checks"] if each["outcome"] == "warned"]


def _seconds(value: float | None) -> str | None:
    return None if value is None else f"{value:.1f} s"


def base_receipt(data: Mapping[str, Any]) -> str:
    """Describe the build of a golden base from its receipt's JSON form."""
    record = data["record"]
    reused = "reused" if data["environment_reused"] else "built"
    lines = facts(
        (
            ("base", data["reference"]),
            ("digest", data["digest"]),
            ("tags", ", ".join(data["tags"])),
            ("packages of", record["title"]),
            ("system", f"{record['system_reference']} (glibc {record['glibc']})"),
            ("python", f"{record['python']} for {record['platform']}"),
            ("environment", f"{record['packages']} packages at {record['environment_prefix']}, {reused}"),
            ("drift", f"{len(record['drift'])} packages" if record["drift"] else None),
            ("size", f"{size(data['image_size'])}, of which {size(data['added_size'])} on top of the system"),
            ("time", f"{data['seconds']:.1f} s"),
        )
    )
    drifted = "".join(f"\ndrift: {each}" for each in record["drift"])
    mapping = f"for dbimage.toml:\n\n{data['mapping']}"
    return lines + (f"\n{drifted}" if drifted else "") + notes(data["notes"]) + f"\n\n{mapping}"


def deployment(data: Mapping[str, Any]) -> str:
    """Describe a deployment from its JSON form with its record."""
    record = data["record"]
    lines = facts(
        (
            ("name", data["name"]),
            ("image", data["reference"]),
            ("digest", data["digest"]),
            ("tags", ", ".join(data["tags"])),
            ("size", size(data["size"])),
        )
    )
    if record is None:
        return lines + notes(["the image has no record: another program made it, or a newer version of this"])
    layers = [
        (each["kind"], size(each["size"]), ", ".join(each["contents"])[:80], each["digest"][7:19])
        for each in record["layers"]
    ]
    made_of = facts(
        (
            ("model", record["model_uri"]),
            ("runtime", record["runtime"]),
            ("base", f"{record['base_reference']}@{record['base_digest']}"),
            ("python", f"{record['python']} for {record['platform']}"),
            ("lock", f"{record['lock_digest']} ({record['packages']} packages)"),
        )
    )
    return f"{lines}\n\n{made_of}\n\n{table(layers, ('layer', 'size', 'holds', 'digest'))}"


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


def image(data: Mapping[str, Any]) -> str:
    """Say which image it is, from the JSON form of its verification."""
    return facts((("image", data["image"]), ("digest", data["digest"])))


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


def notes(texts: Sequence[str]) -> str:
    """List notes under a blank line, if there are any."""
    return "".join(["\n", *(f"\nnote: {text}" for text in texts)]) if texts else ""


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
