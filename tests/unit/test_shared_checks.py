"""Every field of what another machine left is checked."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from mlflow_dbimage.shared_checks import check
from scripts.fuzz.record_seeds import RECORDS

CASES = [found for bundle in RECORDS.values() for found in bundle]
SEEDS = {kind: json.loads(json.dumps(content)) for kind, content in CASES}
COMMAND = "\x1b[2J"


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of everything in a record."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield (*path, key)
        yield from places(each, (*path, key))


def changed(record: Any, path: tuple[Any, ...], new: Any) -> Any:
    altered = copy.deepcopy(record)
    holder = altered
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = new
    return altered


@pytest.mark.parametrize("kind", SEEDS)
def test_ours_is_taken(kind: str) -> None:
    check(kind, SEEDS[kind])


@pytest.mark.parametrize("kind", SEEDS)
@pytest.mark.parametrize(
    "hostile", [COMMAND, {"x": {"y": 1}}, [[["x"]]], 1.5], ids=["command", "table", "list", "float"]
)
def test_no_field_is_taken_as_it_comes(kind: str, hostile: object) -> None:
    taken = []
    for path in places(SEEDS[kind]):
        try:
            check(kind, changed(SEEDS[kind], path, hostile))
        except ValueError:
            continue
        taken.append(path)
    assert taken == []


@pytest.mark.parametrize("kind", SEEDS)
def test_no_field_may_be_missing(kind: str) -> None:
    for name in SEEDS[kind]:
        fewer = {key: value for key, value in SEEDS[kind].items() if key != name}
        if (kind, name) == ("locks", "cluster") or kind == "layer-facts":
            continue  # these have defaults
        with pytest.raises(ValueError, match="not a record of"):
            check(kind, fewer)


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("locks", ("wheels", 0, "file_name"), "../../six-1.0-py3-none-any.whl"),
        ("locks", ("wheels", 0, "path"), "../six.whl"),
        ("locks", ("wheels", 0, "path"), "/etc/six.whl"),
        ("locks", ("wheels", 0, "url"), "https://me:secret@x.example/six.whl"),
        ("locks", ("wheels", 0, "omitted", 0), "../bin"),
        ("locks", ("wheels", 0, "sha256"), "0" * 63),
        ("locks", ("wheels", 0, "built_from", "location"), "../code"),
        ("locks", ("conda", 0, "file_name"), "a/b.conda"),
        ("locks", ("conda", 0, "url"), "https://x.example/linux-64/another.conda"),
        ("locks", ("conda", 0, "url"), "ftp://x.example/linux-64/python-3.11.7-h1_0.conda"),
        ("locks", ("conda", 0, "sha256"), "Z" * 64),
        ("locks", ("conda", 0, "size"), -1),
        ("locks", ("conda", 0, "build_number"), True),
        ("locks", ("conda", 0, "metadata", "timestamp"), 10**20),
        ("locks", ("conda", 0, "metadata", "noarch"), "x"),
        ("locks", ("conda", 0, "metadata", "md5"), "x"),
        ("locks", ("conda", 0, "metadata", "license"), ["x"]),
        ("locks", ("conda", 0, "metadata"), {"track_features": 7}),
        ("locks", ("python",), "2.7"),
        ("locks", ("version",), 2),
        ("locks", ("platform",), "linux"),
        ("environments", ("layers",), []),
        ("environments", ("layers", 0, "kind"), "model"),
        ("environments", ("layers", 0, "descriptor", "size"), 0),
        ("environments", ("layers", 0, "descriptor", "mediaType"), "application/octet-stream"),
        ("environments", ("layers", 0, "diff_id"), "sha512:00"),
        ("environments", ("bytecode",), "some"),
        ("environments", ("notes",), ["the sky is green"]),
        ("environments", ("licences", 0), ["pip", "six"]),
        ("inventories", ("glibc",), "2"),
        ("inventories", ("glibc",), "new"),
        ("inventories", ("directories",), {"../opt": [493, 0, 0]}),
        ("inventories", ("directories",), {"opt": [493, 0]}),
        ("inventories", ("directories",), {"opt": [493, 0, -1]}),
        ("cluster-pythons", ("paths", 0), "/databricks/six.py"),
        ("cluster-pythons", ("distributions", 0, "files"), {"six.py": "00"}),
    ],
)
def test_what_could_do_harm_is_refused(kind: str, path: tuple[Any, ...], value: object) -> None:
    with pytest.raises(ValueError, match=f"not a record of {kind}"):
        check(kind, changed(SEEDS[kind], path, value))


def test_other_kinds_are_none() -> None:
    with pytest.raises(ValueError, match="not a record of references"):
        check("references", {})
