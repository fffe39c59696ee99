"""What rattler leaves in a prefix beside the packages: the losers of shared paths, and a mark of its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from mlflow_dbimage.locking.locked_packages import Decision

_LOSERS = "__clobbers__/"


def settle_shared_paths(prefix: Path) -> tuple[Decision, ...]:
    """Remove the files that lost their path to another package, and say which package keeps each.

    rattler gives a path that two packages bring to the one that is installed later (dependents after what
    they depend on), moves the other's file to `__clobbers__/<package>/` and records it there. conda has no
    such folder, and nothing would ever read it.
    """
    records = {path: json.loads(path.read_bytes()) for path in sorted((prefix / "conda-meta").glob("*.json"))}
    owners = {file: record["name"] for record in records.values() for file in record["files"]}
    decisions: list[Decision] = []
    for path, record in records.items():
        lost = [file for file in record["files"] if file.startswith(_LOSERS)]
        if lost:
            _forget(path, record)
            decisions += [_decision(file, record["name"], owners) for file in lost]
    shutil.rmtree(prefix / _LOSERS, ignore_errors=True)
    (prefix / "CACHEDIR.TAG").unlink(missing_ok=True)
    return tuple(sorted(decisions, key=lambda decision: decision.distribution))


def _forget(path: Path, record: dict[str, Any]) -> None:
    record["files"] = [file for file in record["files"] if not file.startswith(_LOSERS)]
    paths = record["paths_data"]
    paths["paths"] = [entry for entry in paths["paths"] if not entry["_path"].startswith(_LOSERS)]
    path.unlink()
    path.write_text(json.dumps(record, indent=2))


def _decision(file: str, loser: str, owners: dict[str, str]) -> Decision:
    path = file.removeprefix(_LOSERS).split("/", 1)[1]
    return Decision(
        distribution=path,
        owner=owners.get(path, "conda"),
        reason=f"conda's {loser} brings it too, and is installed before",
    )
