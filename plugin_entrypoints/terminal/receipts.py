"""What was built or is deployed: images of models, and golden bases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plugin_entrypoints.terminal.columns import facts, notes, size, table
from plugin_entrypoints.terminal.verdicts import verified, warnings_of


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
            ("verified", verified(data["verification"])),
            ("sent", size(data["sent_size"]) + (f" ({data['sent']})" if data["sent"] else "")),
            ("time", f"{data['seconds']:.1f} s"),
        )
    )
    return lines + notes([*warnings_of(data["verification"]), *data["notes"]])


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
