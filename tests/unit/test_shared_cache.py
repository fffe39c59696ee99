"""What other machines left is used, never kept, and replaced where it is of no use."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import pytest

from mlflow_dbimage.backends import default_tools
from mlflow_dbimage.build_cache import BuildCache
from mlflow_dbimage.environment_layers import NOT_LOADED, NOT_RUN
from mlflow_dbimage.errors import InputError, ServiceError
from mlflow_dbimage.layer_facts import KIND as FACTS
from mlflow_dbimage.layer_facts import facts_key
from mlflow_dbimage.layer_parts import KIND as PARTS
from mlflow_dbimage.layer_parts import OF_BASES as BASE_PARTS
from mlflow_dbimage.layer_parts import part_key
from mlflow_dbimage.oci.descriptor import Descriptor
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.progress import SilentProgress
from mlflow_dbimage.settings import Settings
from mlflow_dbimage.shared_cache import SharedCache, read_records
from mlflow_dbimage.shared_checks import NOT_LOADED_THERE
from oci_samples import small_image
from scripts.fuzz.record_seeds import RECORDS

KEY, OTHER = "0" * 64, "1" * 64
CONTENTS = {kind: json.loads(json.dumps(content)) for found in RECORDS.values() for kind, content in found}
ENVIRONMENT = CONTENTS["environments"]


@dataclass
class Shelf:
    """A shelf in memory, which may fail."""

    place: str = "registry.example/team/dbimage-cache"
    records: dict[str, bytes] = field(default_factory=dict)
    blobs: dict[Digest, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    fails: Exception | None = None
    mounts: bool = True

    def has(self, name: str) -> bool:
        self._note(f"has {name}")
        return name in self.records

    def read(self, name: str) -> bytes | None:
        self._note(f"read {name}")
        return self.records.get(name)

    def write(self, name: str, data: bytes, layers: Sequence[Descriptor], deployment: str) -> bool:
        self._note(f"write {name}")
        if layers and not self.mounts:
            return False
        self.records[name] = data
        self.blobs.update({each.digest: b"layer" for each in layers})
        return True

    def missing(self, blobs: Iterable[Descriptor]) -> set[Digest]:
        self._note("missing")
        return {each.digest for each in blobs} - self.blobs.keys()

    def open_blob(self, blob: Descriptor) -> BinaryIO:
        return io.BytesIO(self.blobs[blob.digest])

    def _note(self, what: str) -> None:
        self.asked.append(what)
        if self.fails is not None:
            raise self.fails


@pytest.fixture
def base(tmp_path: Path) -> Image:
    return small_image(tmp_path / "base", layers=1)


@pytest.fixture
def filled(tmp_path: Path) -> Shelf:
    """A shelf on which a machine has left all that a build uses."""
    shelf = Shelf()
    assert left(SharedCache(tmp_path / "first", shelf)) == ()
    assert sorted(shelf.records) == [f"{kind}-{KEY[:32]}" for kind in ("base", "environment", "lock")]
    shelf.asked.clear()
    return shelf


def left(cache: SharedCache, environment: dict[str, object] = ENVIRONMENT) -> tuple[str, ...]:
    """Record what a build makes, and leave it."""
    digest = Digest.parse(str(ENVIRONMENT["bytecode_modules"]))
    cache.put_record("inventories", KEY, CONTENTS["inventories"])
    cache.put_record(BASE_PARTS, KEY, CONTENTS[BASE_PARTS])
    cache.put_record("locks", KEY, CONTENTS["locks"])
    cache.put_record("environments", KEY, environment)
    cache.put_record(FACTS, facts_key(digest, digest), CONTENTS[FACTS])
    cache.put_record(PARTS, part_key(digest, digest), CONTENTS[PARTS])
    cache.put_record("references", KEY, {"a": 1})
    return cache.share("churn")


def used(cache: SharedCache) -> list[str]:
    return [kind for kind in ("inventories", "locks", "environments") if cache.record(kind, KEY) is not None]


def test_what_another_machine_left_is_used_and_not_kept(tmp_path: Path, filled: Shelf) -> None:
    cache = SharedCache(tmp_path / "second", filled)
    for kind in ("inventories", "locks", "environments"):
        assert cache.record(kind, KEY) == CONTENTS[kind]
        assert cache.record(kind, KEY) == CONTENTS[kind]
        assert cache.record(kind, OTHER) is None
    digest = Digest.parse(str(ENVIRONMENT["bytecode_modules"]))
    assert cache.record(FACTS, facts_key(digest, digest)) == CONTENTS[FACTS]
    assert cache.record(PARTS, part_key(digest, digest)) == CONTENTS[PARTS]
    assert cache.record(BASE_PARTS, KEY) == CONTENTS[BASE_PARTS]
    assert cache.record("references", KEY) is None
    assert not [path for path in (tmp_path / "second").rglob("*") if path.is_file()]
    assert BuildCache(tmp_path / "second").record("locks", KEY) is None
    told = "what the base holds and the lock and the environment's layers"
    assert cache.notes == (f"{told}: as another machine left it in `{filled.place}`",)
    assert cache.share("churn") == ()
    assert len(filled.asked) == 6, "each is asked for once, and nothing is written"


def test_what_this_machine_has_is_asked_of_nobody(tmp_path: Path, filled: Shelf) -> None:
    cache = SharedCache(tmp_path / "first", filled)
    assert used(cache) == ["inventories", "locks", "environments"]
    assert filled.asked == []
    assert cache.notes == ()
    assert cache.share("churn") == ()
    assert [each.split()[0] for each in filled.asked] == ["has"] * 3


def test_to_renew_is_to_read_nothing_and_to_write_all(tmp_path: Path, filled: Shelf) -> None:
    cache = SharedCache(tmp_path / "second", filled, renew=True)
    assert used(cache) == []
    blob = Descriptor(media_type="x", digest=next(iter(filled.blobs)), size=5)
    assert cache.lacking([blob], [blob.digest]) == {blob.digest}
    assert left(cache) == ()
    assert [each.split()[0] for each in filled.asked] == ["write"] * 3


def test_to_renew_is_to_solve_anew_where_a_lock_is_known_too(tmp_path: Path) -> None:
    assert left(SharedCache(tmp_path)) == ()
    cache = SharedCache(tmp_path, renew=True)
    assert used(cache) == ["inventories", "environments"]
    cache.put_record("locks", KEY, CONTENTS["locks"])
    assert used(cache) == ["inventories", "locks", "environments"]


def test_without_a_shelf_it_is_a_cache(tmp_path: Path, base: Image) -> None:
    cache = SharedCache(tmp_path)
    assert cache.record("locks", KEY) is None
    assert left(cache) == ()
    assert cache.notes == ()
    assert cache.with_origins(base) is base
    assert BuildCache(tmp_path).record("locks", KEY) == CONTENTS["locks"]


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense",
        b'{"records": []}',
        b'{"version": 1, "records": 7}',
        b'{"version": 2, "records": []}',
        b'{"version": 1, "records": []}',
        json.dumps({"version": 1, "records": [["locks", KEY, []]]}).encode(),
        json.dumps({"version": 1, "records": [["locks", KEY, {}]]}).encode(),
        json.dumps({"version": 1, "records": [["locks", OTHER, CONTENTS["locks"]]]}).encode(),
        json.dumps(
            {"version": 1, "records": [["locks", KEY, CONTENTS["locks"]], [FACTS, OTHER, CONTENTS[FACTS]]]}
        ).encode(),
    ],
)
def test_what_is_broken_is_as_good_as_nothing_and_replaced(tmp_path: Path, filled: Shelf, data: bytes) -> None:
    with pytest.raises(ValueError, match="record|Expecting|object"):
        read_records(data, "locks", KEY)
    before = dict(filled.records)
    filled.records[f"lock-{KEY[:32]}"] = data
    cache = SharedCache(tmp_path / "second", filled)
    assert used(cache) == ["inventories", "environments"]
    cache.put_record("locks", KEY, CONTENTS["locks"])
    assert cache.share("churn") == ()
    assert filled.records == before


def test_layers_that_are_gone_are_made_and_left_again(tmp_path: Path, filled: Shelf) -> None:
    filled.blobs.clear()
    cache = SharedCache(tmp_path / "second", filled)
    assert used(cache) == ["inventories", "locks", "environments"]
    layer = Descriptor.from_dict(ENVIRONMENT["layers"][0]["descriptor"])
    assert cache.lacking([layer], [layer.digest]) == {layer.digest}
    assert not cache.lends(layer.digest)
    cache.put_record("environments", KEY, ENVIRONMENT)
    assert "layers" not in " ".join(cache.notes)
    assert cache.share("churn") == ()
    assert set(filled.blobs) == {layer.digest}


def test_layers_of_the_shelf_are_taken_from_there(tmp_path: Path, base: Image) -> None:
    first = base.layers[0].descriptor
    shelf = Shelf(blobs={first.digest: b"layer"})
    cache = SharedCache(tmp_path, shelf)
    blobs = [layer.descriptor for layer in base.layers]
    assert cache.lacking(blobs, []) == set()
    assert shelf.asked == [], "what the destination has is asked of nobody"
    assert cache.lacking(blobs, [first.digest]) == set()
    assert cache.lends(first.digest)
    assert cache.open_lent(first.digest).read() == b"layer"
    assert [layer.origin for layer in cache.with_origins(base).layers] == [shelf.place]


def test_a_shelf_that_fails_stops_nothing(tmp_path: Path, base: Image) -> None:
    shelf = Shelf(fails=ServiceError("registry-denied", "no\nmore"))
    cache = SharedCache(tmp_path, shelf)
    assert used(cache) == []
    blob = base.layers[0].descriptor
    assert cache.lacking([blob], [blob.digest]) == {blob.digest}
    assert left(cache) == (f"nothing is left for other machines in `{shelf.place}`: no",)
    shelf.fails = InputError("base-invalid", "too large")
    assert used(SharedCache(tmp_path / "other", shelf)) == []


def test_a_registry_that_mounts_nothing_is_told_of(tmp_path: Path) -> None:
    shelf = Shelf(mounts=False)
    (note,) = left(SharedCache(tmp_path, shelf))
    assert "takes no layers from elsewhere" in note
    assert f"environment-{KEY[:32]}" not in shelf.records


def test_what_was_looked_at_since_is_added(tmp_path: Path, filled: Shelf) -> None:
    whole = filled.records[f"environment-{KEY[:32]}"]
    document = json.loads(whole)
    filled.records[f"environment-{KEY[:32]}"] = json.dumps(
        {**document, "records": document["records"][:1]}
    ).encode()
    cache = SharedCache(tmp_path / "second", filled)
    assert used(cache) == ["inventories", "locks", "environments"]
    digest = Digest.parse(str(ENVIRONMENT["bytecode_modules"]))
    cache.put_record(FACTS, facts_key(digest, digest), CONTENTS[FACTS])
    cache.put_record(PARTS, part_key(digest, digest), CONTENTS[PARTS])
    assert cache.share("churn") == ()
    assert filled.records[f"environment-{KEY[:32]}"] == whole


def test_what_holds_for_one_machine_is_not_left(tmp_path: Path) -> None:
    shelf = Shelf()
    left(SharedCache(tmp_path / "a", shelf), {**ENVIRONMENT, "notes": [f"{NOT_RUN} linux/arm64"]})
    assert f"environment-{KEY[:32]}" not in shelf.records
    said = [f"{NOT_LOADED}: cannot read /home/ann/model, password is 7f3a", "without a sandbox: this machine"]
    left(SharedCache(tmp_path / "b", shelf), {**ENVIRONMENT, "notes": said})
    found = read_records(shelf.records[f"environment-{KEY[:32]}"], "environments", KEY)
    assert found["environments", KEY]["notes"] == [NOT_LOADED_THERE]


def test_the_caches_of_a_build_have_the_limit_of_the_settings(tmp_path: Path) -> None:
    blob = tmp_path / "blobs" / "old"
    blob.parent.mkdir()
    blob.write_bytes(bytes(2 * 10**6))
    os.utime(blob, (0, 0))
    for most, there in ((2, True), (1, False)):
        tools = default_tools(Settings(cache_dir=tmp_path, cache_mb=most), SilentProgress())
        tools.makers.cache.trim()
        assert blob.exists() is there
