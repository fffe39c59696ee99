"""Registries and repositories, against a registry that misbehaves on purpose."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.clock import FakeClock
from fakes.faulty_registry import Fault, FaultyRegistry, Reply, error, faulty_registry
from mlflow_dbimage.errors import DbimageError, InputError, ServiceError, VerificationError
from mlflow_dbimage.oci.descriptor import (
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Platform,
)
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import Image, canonical_json
from mlflow_dbimage.oci.registry import Registry, Repository
from mlflow_dbimage.oci.tombstone import is_tombstone
from mlflow_dbimage.oci.validate import problems
from oci_samples import LINUX, bytes_of, noise, small_image

UPLOAD = r"/blobs/uploads/\d+"


@pytest.fixture
def server() -> Iterator[FaultyRegistry]:
    with faulty_registry() as running:
        yield running


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def here(server: FaultyRegistry, clock: FakeClock) -> Repository:
    return Repository(Registry(server.host, clock=clock.clock), "team/app")


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return small_image(tmp_path, size=300_000)


def test_what_is_pushed_is_pulled_back(server: FaultyRegistry, here: Repository, image: Image) -> None:
    reported: list[int] = []
    pushed = here.push(image, reported.append)
    assert (pushed.uploaded, pushed.mounted, pushed.present) == (3, 0, 0)
    sizes = [layer.descriptor.size for layer in image.layers]
    assert pushed.uploaded_bytes == sum(sizes) + len(image.config) + len(image.manifest)
    assert sum(reported) == sum(sizes)
    back = here.image(str(image.digest), LINUX)
    assert (back.manifest, back.config) == (image.manifest, image.config)
    assert {layer.origin for layer in back.layers} == {f"{server.host}/team/app"}
    assert problems(back) == ()


def test_a_blob_is_sent_whole_with_its_length_and_no_range(
    server: FaultyRegistry, here: Repository, image: Image
) -> None:
    here.push(image)
    patches = [each for each in server.asked if each.method == "PATCH"]
    assert sorted(int(each.headers["content-length"]) for each in patches) == sorted(
        [len(image.config), *(layer.descriptor.size for layer in image.layers)]
    )
    assert not any({"content-range", "transfer-encoding"} & each.headers.keys() for each in patches)
    commits = [each for each in server.asked if each.method == "PUT" and "digest" in each.query]
    assert all(each.body == b"" and "_state" in each.query for each in commits)
    assert {each.headers["user-agent"] for each in server.asked} == {"mlflow-dbimage/0.1.0"}


def test_what_is_there_is_neither_opened_nor_sent(server: FaultyRegistry, here: Repository, image: Image) -> None:
    server.put(image)

    def fails() -> io.BytesIO:
        raise AssertionError("opened")

    closed = replace(image, layers=tuple(replace(layer, open=fails) for layer in image.layers))
    reported: list[int] = []
    pushed = here.push(closed, reported.append)
    assert (pushed.uploaded, pushed.mounted, pushed.present) == (0, 0, 3)
    assert pushed.uploaded_bytes == len(image.manifest)
    assert sum(reported) == sum(layer.descriptor.size for layer in image.layers)
    assert server.count("POST") == 0


def test_layers_of_the_same_registry_are_mounted(
    server: FaultyRegistry, here: Repository, image: Image, clock: FakeClock
) -> None:
    server.put(image, "golden/base")
    base = Repository(Registry(server.host, clock=clock.clock), "golden/base").image("v1", LINUX)
    reported: list[int] = []
    pushed = here.push(base, reported.append)
    assert (pushed.uploaded, pushed.mounted, pushed.present) == (1, 2, 0)
    assert sum(reported) == sum(layer.descriptor.size for layer in image.layers)
    mounts = [each.query for each in server.asked if "mount" in each.query]
    assert [each["from"] for each in mounts] == [["golden/base"]] * 2
    assert server.count("GET", "golden/base/blobs") == 1, "the config alone was fetched"


@pytest.mark.parametrize("status", [None, 400, 401, 403, 404, 405, 500])
def test_where_nothing_is_mounted_layers_are_sent(
    server: FaultyRegistry, here: Repository, image: Image, clock: FakeClock, status: int | None
) -> None:
    server.put(image, "golden/base")
    base = Repository(Registry(server.host, clock=clock.clock), "golden/base").image("v1", LINUX)
    server.mounts = False
    if status is not None:
        refusal = error(status, "DENIED", "no mounting")
        server.faults += [Fault(method="POST", path="uploads/$", asks="mount", reply=refusal)]
    pushed = here.push(base)
    assert (pushed.uploaded, pushed.mounted) == (3, 0)
    assert problems(here.image(str(image.digest), LINUX)) == ()


def test_layers_of_another_registry_are_sent_and_not_mounted(
    server: FaultyRegistry, here: Repository, image: Image, clock: FakeClock
) -> None:
    with faulty_registry() as other:
        other.put(image)
        elsewhere = Repository(Registry(other.host, clock=clock.clock), "team/app").image("v1", LINUX)
        assert here.push(elsewhere).uploaded == 3
        assert not any("mount" in each.query for each in server.asked)


@pytest.mark.parametrize(
    ("method", "path"), [("HEAD", "blobs"), ("POST", "uploads/$"), ("PUT", UPLOAD), ("PUT", "manifests")]
)
@pytest.mark.parametrize("status", [408, 429, 499, 500, 503, 522])
def test_what_may_pass_is_tried_again(
    server: FaultyRegistry,
    here: Repository,
    image: Image,
    clock: FakeClock,
    method: str,
    path: str,
    status: int,
) -> None:
    server.faults.append(Fault(method=method, path=path, reply=error(status, "UNAVAILABLE", "later")))
    here.push(image)
    assert clock.pauses == [1.0]
    assert problems(here.image(str(image.digest), LINUX)) == ()


@pytest.mark.parametrize("fault", [{"hear": 100_000}, {"reply": error(500, "UNKNOWN", "oops")}, {"hear": 1 << 30}])
def test_a_blob_whose_sending_broke_is_sent_again_from_its_start(
    server: FaultyRegistry, here: Repository, image: Image, clock: FakeClock, fault: dict[str, object]
) -> None:
    """The registry keeps half of what it got: going on in the same upload would store a wrong blob."""
    server.faults.append(Fault(method="PATCH", path=UPLOAD, **fault))
    reported: list[int] = []
    pushed = here.push(image, reported.append)
    assert pushed.uploaded == 3
    assert clock.pauses == [1.0]
    assert server.count("POST", "uploads/$") == 4
    assert sum(reported) == sum(layer.descriptor.size for layer in image.layers)
    assert problems(here.image(str(image.digest), LINUX)) == ()


def test_a_blob_whose_commit_was_not_heard_is_not_sent_again(
    server: FaultyRegistry, here: Repository, image: Image
) -> None:
    server.faults.append(Fault(method="PUT", path=UPLOAD, hear=0))
    assert here.push(image).uploaded == 3
    assert server.count("PATCH") == 3


def test_what_does_not_pass_is_an_error_after_three_tries(
    server: FaultyRegistry, here: Repository, image: Image, clock: FakeClock
) -> None:
    server.faults.append(Fault(method="PATCH", path=UPLOAD, times=100, hear=10))
    with pytest.raises(ServiceError) as caught:
        here.push(image)
    assert caught.value.code == "registry-unreachable"
    assert {1.0, 3.0} == set(clock.pauses)
    assert server.manifests == {}


def test_a_registry_says_how_long_to_wait(server: FaultyRegistry, here: Repository, clock: FakeClock) -> None:
    for after in ("7", "86400", "Wed, 21 Oct 2015 07:28:00 GMT"):
        busy = Reply(status=429, headers={"Retry-After": after})
        server.faults.append(Fault(method="GET", path="tags", reply=busy))
        here.tags()
    assert clock.pauses == [7.0, 60.0, 1.0]


def test_what_will_not_pass_is_not_tried_again(
    server: FaultyRegistry, here: Repository, image: Image, clock: FakeClock
) -> None:
    server.faults.append(
        Fault(method="POST", path="uploads", times=9, reply=error(404, "NAME_UNKNOWN", "no repo"))
    )
    with pytest.raises(ServiceError, match=r"answered 404 .*NAME_UNKNOWN: no repo") as caught:
        here.push(image)
    assert caught.value.code == "registry-failed"
    assert "made before it is pushed to" in str(caught.value)
    assert clock.pauses == []


def test_a_missing_location_is_told(server: FaultyRegistry, here: Repository, image: Image) -> None:
    server.faults.append(Fault(method="POST", path="uploads", times=9, reply=Reply(status=202)))
    with pytest.raises(ServiceError, match="gave no place for an upload"):
        here.push(image)


@pytest.mark.parametrize("form", ["relative", "absolute", "elsewhere"])
def test_a_location_may_have_any_form(server: FaultyRegistry, here: Repository, image: Image, form: str) -> None:
    with faulty_registry(FaultyRegistry(uploads=server.uploads, blobs=server.blobs)) as other:
        root = {"relative": "", "absolute": server.url, "elsewhere": other.url}[form]

        def alter(true: Reply) -> Reply:
            place = true.headers["Location"]
            return replace(true, headers={"Location": root + place if root else place.rpartition("/")[2]})

        server.faults.append(Fault(method="POST", path="uploads", times=9, alter=alter))
        assert here.push(image).uploaded == 3
        assert other.count("PATCH") == (3 if form == "elsewhere" else 0)


@pytest.mark.parametrize("length", ["shorter", "longer", "other"])
def test_a_layer_that_is_not_what_it_says_is_refused_and_not_stored(
    server: FaultyRegistry, here: Repository, image: Image, length: str
) -> None:
    first, *rest = image.layers
    true = bytes_of(first)
    data = {"shorter": true[:-1], "longer": true + b"!", "other": noise("other", len(true))}[length]
    lie = replace(image, layers=(replace(first, open=lambda: io.BytesIO(data)), *rest))
    with pytest.raises(VerificationError) as caught:
        here.push(lie)
    assert caught.value.code == "digest-mismatch"
    assert str(first.descriptor.digest) not in server.blobs.get("team/app", {})
    assert server.manifests == {}


def test_a_layer_that_cannot_be_read_is_not_the_registrys_fault(
    server: FaultyRegistry, here: Repository, image: Image, clock: FakeClock, tmp_path: Path
) -> None:
    first, *rest = image.layers
    gone = replace(first, open=lambda: (tmp_path / "gone").open("rb"))
    with pytest.raises(ServiceError, match=first.descriptor.digest.short) as caught:
        here.push(replace(image, layers=(gone, *rest)))
    assert caught.value.code == "disk-failed"
    assert clock.pauses == []


def test_a_manifest_that_is_stored_as_another_is_refused(
    server: FaultyRegistry, here: Repository, image: Image
) -> None:
    other = {"Docker-Content-Digest": f"sha256:{'0' * 64}"}
    server.faults.append(Fault(method="PUT", path="manifests", reply=Reply(status=201, headers=other)))
    with pytest.raises(VerificationError, match="was stored as sha256:000"):
        here.push(image)


# Pulling


@pytest.mark.parametrize("reference", ["tag", "digest"])
def test_a_manifest_with_another_digest_is_refused(
    server: FaultyRegistry, here: Repository, image: Image, reference: str
) -> None:
    server.put(image)
    server.faults.append(
        Fault(method="GET", path="manifests", alter=lambda true: replace(true, body=true.body + b" "))
    )
    with pytest.raises(VerificationError) as caught:
        here.resolve("v1" if reference == "tag" else str(image.digest))
    assert caught.value.code == "digest-mismatch"


@pytest.mark.parametrize("blob", ["config", "layer"])
@pytest.mark.parametrize("harm", ["other", "shorter", "longer"])
def test_a_broken_blob_is_refused(
    server: FaultyRegistry, here: Repository, image: Image, blob: str, harm: str
) -> None:
    server.put(image)
    digest = str(image.config_descriptor.digest if blob == "config" else image.layers[1].descriptor.digest)
    true = server.blobs["team/app"][digest]
    server.blobs["team/app"][digest] = {
        "other": noise("other", len(true)),
        "shorter": true[:-1],
        "longer": true + b"!",
    }[harm]
    with pytest.raises((VerificationError, ServiceError)) as caught:
        bytes_of(here.image("v1", LINUX).layers[1])
    assert caught.value.code == ("registry-unreachable" if harm == "shorter" else "digest-mismatch")


@pytest.mark.parametrize("ranges", [True, False])
def test_a_pull_that_breaks_goes_on_where_it_broke(
    server: FaultyRegistry, here: Repository, image: Image, clock: FakeClock, ranges: bool
) -> None:
    server.put(image)
    back = here.image("v1", LINUX)
    server.ranges = ranges
    server.faults.append(Fault(method="GET", path="blobs", times=2, say=100_000))
    assert bytes_of(back.layers[0]) == bytes_of(image.layers[0])
    assert clock.pauses == [1.0, 3.0]
    first, second = (int(each.headers["range"][6:-1]) for each in server.asked[-2:])
    assert 0 < first <= 100_000
    assert first <= second <= 200_000


def test_a_pull_that_breaks_always_is_an_error(server: FaultyRegistry, here: Repository, image: Image) -> None:
    server.put(image)
    back = here.image("v1", LINUX)
    server.faults.append(Fault(method="GET", path="blobs", times=99, say=10))
    with pytest.raises(ServiceError, match="while fetching the blob") as caught:
        bytes_of(back.layers[0])
    assert caught.value.code == "registry-unreachable"


def index_of(*images: tuple[Image, dict[str, str]]) -> bytes:
    entries = [{**image.descriptor.to_dict(), "platform": platform} for image, platform in images]
    return canonical_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})


def test_an_index_gives_the_image_of_the_platform(
    server: FaultyRegistry, here: Repository, image: Image, tmp_path: Path
) -> None:
    other = small_image(tmp_path / "other", seed="other")
    server.put(image)
    server.put(other, tag="other")
    index = index_of(
        (other, {"os": "linux", "architecture": "arm64"}), (image, {"os": "linux", "architecture": "amd64"})
    )
    server.put_manifest("team/app", "both", index, OCI_INDEX)
    assert here.image("both", LINUX).digest == image.digest
    assert here.image("both", LINUX).index == index
    assert here.image(str(image.digest), LINUX).index is None
    with pytest.raises(InputError, match="linux/amd64") as caught:
        here.image("both", Platform("linux", "s390x"))
    assert caught.value.code == "base-platform"


@pytest.mark.parametrize(
    ("media_type", "manifest"),
    [
        ("application/vnd.cncf.helm.config.v1+json", b"{}"),
        (OCI_MANIFEST, b"[]"),
        (OCI_MANIFEST, b"no JSON"),
        (OCI_MANIFEST, b"{}"),
        (OCI_MANIFEST, b'{"config": {"mediaType": "a", "digest": "md5:0", "size": 1}}'),
        (OCI_MANIFEST, b'{"mediaType": "%s", "manifests": []}' % OCI_INDEX.encode()),
        (
            OCI_MANIFEST,
            b'{"config": {"mediaType": "a", "digest": "sha256:%s", "size": 99999999}}' % (b"0" * 64),
        ),
        (OCI_MANIFEST, b'{"a": "%s"}' % (b"x" * (5 << 20))),
    ],
)
def test_what_is_no_image_is_told(
    server: FaultyRegistry, here: Repository, media_type: str, manifest: bytes
) -> None:
    server.put_manifest("team/app", "v1", manifest, media_type)
    with pytest.raises(InputError, match="team/app:v1") as caught:
        here.image("v1", LINUX)
    assert caught.value.code == "base-invalid"


def test_a_registry_that_knows_no_media_types_is_understood(
    server: FaultyRegistry, here: Repository, image: Image
) -> None:
    server.put(image)
    for told in ("application/json", "text/plain; charset=utf-8"):
        headers = {"Content-Type": told}
        server.faults.append(
            Fault(
                method="GET", path="manifests", alter=lambda true, headers=headers: replace(true, headers=headers)
            )
        )
        assert here.image("v1", LINUX).media_type == OCI_MANIFEST


def test_dockers_images_are_read(server: FaultyRegistry, here: Repository, image: Image) -> None:
    document = {**json.loads(image.manifest), "mediaType": DOCKER_MANIFEST}
    blobs = [bytes_of(layer) for layer in image.layers]
    server.put_manifest("team/app", "v1", canonical_json(document), DOCKER_MANIFEST, image.config, *blobs)
    assert here.image("v1", LINUX).media_type == DOCKER_MANIFEST


def test_what_does_not_exist_is_named(server: FaultyRegistry, here: Repository) -> None:
    with pytest.raises(InputError, match="team/app:v9` does not exist") as caught:
        here.image("v9", LINUX)
    assert caught.value.code == "base-not-found"


def test_what_is_known_to_be_there_is_neither_asked_for_nor_sent(
    server: FaultyRegistry, here: Repository, image: Image
) -> None:
    here.push(image)
    known = {image.config_descriptor.digest, *(layer.descriptor.digest for layer in image.layers)}
    server.asked.clear()
    assert here.push(image, present=known).uploaded == 0
    assert [each.method for each in server.asked] == ["PUT"]


def test_of_small_blobs_those_that_are_there_are_not_sent(server: FaultyRegistry, here: Repository) -> None:
    here.put_blobs([b"{}", b"1"])
    server.asked.clear()
    here.put_blobs([b"{}", b"2", b"2"])
    assert [each.method for each in server.asked].count("POST") == 1
    assert here.missing([Descriptor(media_type="", digest=Digest.of(b"2"), size=1)]) == set()


# Lists and deletion


def test_lists_are_read_over_pages(server: FaultyRegistry, here: Repository, image: Image) -> None:
    server.page = 2
    for number in range(5):
        server.put(image, tag=f"t{number}")
        server.put(image, repository=f"other{number}")
    assert here.tags() == ("t0", "t1", "t2", "t3", "t4")
    registry = Registry(server.host)
    assert registry.catalog() == ("other0", "other1", "other2", "other3", "other4", "team/app")
    assert registry.has_catalog()
    assert Repository(registry, "never/was").tags() == ()


@pytest.mark.parametrize("status", [401, 403, 404, 405])
def test_a_registry_may_have_no_catalog(server: FaultyRegistry, status: int) -> None:
    server.faults.append(Fault(method="GET", path="_catalog", times=4, reply=error(status, "UNSUPPORTED", "")))
    assert Registry(server.host).catalog() is None
    assert not Registry(server.host).has_catalog()


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"tags": 1}', b"null"])
def test_a_list_that_is_none_is_told(server: FaultyRegistry, here: Repository, body: bytes) -> None:
    server.faults.append(Fault(method="GET", path="tags", reply=Reply(status=200, body=body)))
    with pytest.raises(ServiceError, match="what is no list") as caught:
        here.tags()
    assert caught.value.code == "registry-failed"


def test_pages_without_end_are_told(server: FaultyRegistry, here: Repository) -> None:
    again = {"Link": '</v2/team/app/tags/list?start=1>; rel="next"'}
    endless = Reply(status=200, headers=again, body=b'{"tags": ["a"]}')
    server.faults.append(Fault(method="GET", path="tags", times=99, reply=endless))
    with pytest.raises(ServiceError, match="without end"):
        here.tags()


def test_a_list_that_breaks_off_is_not_taken_for_whole(
    server: FaultyRegistry, here: Repository, image: Image
) -> None:
    server.page = 1
    server.put(image, tag="a")
    server.put(image, tag="b")
    server.faults.append(Fault(method="GET", path="tags", skip=1, reply=error(404, "NAME_UNKNOWN", "")))
    with pytest.raises(ServiceError, match="answered 404"):
        here.tags()


@pytest.mark.parametrize("refusal", [400, 401, 403, 404, 405, 501])
@pytest.mark.parametrize("deletes", [True, False])
def test_a_tag_is_deleted_and_others_of_its_image_stay(
    server: FaultyRegistry, here: Repository, image: Image, refusal: int, deletes: bool
) -> None:
    server.deletes = deletes
    server.put(image, tag="v1")
    server.put(image, tag="deployed")
    server.faults.append(Fault(method="DELETE", path="manifests/deployed", reply=error(refusal, "X", "")))
    here.delete_tag("deployed")
    left = [tag for tag in here.tags() if not is_tombstone(here.resolve(tag)[1])]
    assert left == ["v1"]
    assert ("deployed" in here.tags()) is not deletes
    assert here.image("v1", LINUX).digest == image.digest


def test_where_a_tag_can_be_deleted_nothing_is_written(
    server: FaultyRegistry, here: Repository, image: Image
) -> None:
    server.put(image)
    server.faults.append(Fault(method="DELETE", path="manifests/v1", reply=Reply(status=202)))
    here.delete_tag("v1")
    assert server.count("PUT") == server.count("POST") == 0


def test_deleting_what_is_not_there_changes_nothing(server: FaultyRegistry, here: Repository) -> None:
    here.delete_tag("never-was")
    assert server.count("PUT") == server.count("POST") == 0


def test_two_tags_have_two_tombstones(server: FaultyRegistry, here: Repository, image: Image) -> None:
    """Else deleting one would delete the other, which may name an image again."""
    server.deletes = False
    for tag in ("a", "b"):
        server.put(image, tag=tag)
        here.delete_tag(tag)
    assert len(set(server.tag_digests["team/app"].values())) == 2


def test_an_interrupted_push_ends_at_once_and_names_nothing(
    server: FaultyRegistry, here: Repository, tmp_path: Path
) -> None:
    image = small_image(tmp_path, layers=4, size=5_000_000)

    once = threading.Lock()

    def interrupt(size: int) -> None:
        if size and once.acquire(blocking=False):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        here.push(image, interrupt)
    assert server.manifests == {}
    assert here.push(image).uploaded_bytes > 0


def test_failures_of_one_layer_end_the_others(server: FaultyRegistry, here: Repository, tmp_path: Path) -> None:
    image = small_image(tmp_path, layers=8, size=2_000_000)
    server.faults.append(Fault(method="POST", path="uploads", reply=error(400, "X", "no")))
    with pytest.raises(DbimageError, match="answered 400"):
        here.push(image)
    assert len(server.blobs.get("team/app", {})) < 7
