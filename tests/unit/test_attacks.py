"""The attacks on what reads archives and documents (docs/security.md), one row each, with the code of its refusal.

Each row gives what an attacker would to the reader that a build gives it to. Whatever is said, nothing outside the
folder of the reader is made, changed or read.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import shutil
import subprocess
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from mlflow_dbimage import model_spec
from mlflow_dbimage.backends.image_runs import model_example
from mlflow_dbimage.backends.layer_unpacking import unpack_layer
from mlflow_dbimage.backends.unpacked_env import unpack
from mlflow_dbimage.build_receipt import ImageRecord, LayerRecord
from mlflow_dbimage.errors import DbimageError, InputError
from mlflow_dbimage.locked_env import conda_request
from mlflow_dbimage.model_reference import parse
from mlflow_dbimage.oci import disk_room
from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.descriptor import OCI_LAYER_GZIP, OCI_LAYER_TAR, Descriptor, Platform
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.docker_archive import read_archive
from mlflow_dbimage.oci.image import Addition, Image, Layer, RunConfig, append
from mlflow_dbimage.oci.root_listing import read_listing
from mlflow_dbimage.oci.rootfs import image_of_layer, rootfs_image
from mlflow_dbimage.progress import SilentProgress
from score_images import record
from solving import make_options, make_solver, make_spec
from toy_channel import ToyPackage, make_toy_channel, toy_python
from toy_wheels import install_wheel, make_wheel, read_contents

LINUX = Platform("linux", "amd64")
SECRET = "secret of this machine"
Member = tuple[tarfile.TarInfo, bytes]
Attack = Callable[[Path], object]


def member(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "", **pax: str) -> Member:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname, info.pax_headers, info.mtime = kind, len(data), link, pax, 315532801
    return info, data


def link(name: str, target: str) -> Member:
    return member(name, kind=tarfile.SYMTYPE, link=target)


def hard(name: str, target: str) -> Member:
    return member(name, kind=tarfile.LNKTYPE, link=target)


def tar(members: Iterable[Member]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def bomb(name: str, size: int = 2**50) -> bytes:
    """A small archive with a file that says it is very large, compressed as zeros are."""
    info = tarfile.TarInfo(name)
    info.size = size
    return gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(2**20))


def layer(data: bytes, *, diff_id: Digest | None = None, media_type: str = OCI_LAYER_TAR) -> Layer:
    descriptor = Descriptor(media_type=media_type, digest=Digest.of(data), size=len(data))
    return Layer(descriptor=descriptor, diff_id=diff_id or Digest.of(data), open=lambda: io.BytesIO(data))


def image(one: Layer) -> Image:
    return image_of_layer(one.descriptor, one.diff_id, lambda digest: one.open(), LINUX)


# Each of these returns a reader, which is given the folder that it may use.


def unpacked(*members: Member) -> Attack:
    return lambda folder: unpack_layer(layer(tar(members)), folder)


def listed(*members: Member) -> Attack:
    return lambda folder: read_listing(image(layer(tar(members))), lambda path: True)


def wheel(files: Mapping[str, bytes]) -> Attack:
    def read(folder: Path) -> None:
        path = make_wheel(folder, "evil", files=files)
        read_contents(path, "3.11")

    return read


def wheel_with_two(folder: Path) -> None:
    path = make_wheel(folder, "evil")
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("evil/__init__.py", b"another")
    read_contents(path, "3.11")


def wheel_of_a_size(folder: Path) -> None:
    path = make_wheel(folder, "evil", files={"evil/data": b""})
    with zipfile.ZipFile(path, "a") as archive:
        archive.getinfo("evil/data").file_size = 2**50
        archive._didModify = True  # type: ignore[attr-defined]  # else nothing is written
    read_contents(path, "3.11")


def wheel_through_a_link(folder: Path) -> None:
    """A conda package brings a link, and a wheel writes below it."""
    site = folder / "env/lib/python3.11/site-packages"
    site.mkdir(parents=True)
    (site / "evil").symlink_to(folder.parent / "outside")
    install_wheel(make_wheel(folder, "evil", files={"evil/new.py": b"x"}), folder / "env", "3.11", "/p")


def conda(paths: Iterable[dict[str, object]], *members: Member, **said: object) -> Attack:
    """A package whose `paths.json` says what it likes, in a channel whose index does so too."""

    def install(folder: Path) -> None:
        channel = make_toy_channel(folder / "channel", [toy_python("3.11.7"), ToyPackage(name="evil")])
        package = folder / "channel" / "linux-64" / "evil-1.0-0.tar.bz2"
        with tarfile.open(package) as archive:
            index = archive.extractfile("info/index.json").read()  # type: ignore[union-attr]
        listing = json.dumps({"paths": list(paths), "paths_version": 1}).encode()
        head = [member("info/index.json", index), member("info/paths.json", listing)]
        for info, _ in members:
            info.linkname = info.linkname.replace("OUTSIDE", str(folder.parent / "outside"))
        package.write_bytes(bz2.compress(tar([*head, *members])))
        repodata = folder / "channel" / "linux-64" / "repodata.json"
        known = json.loads(repodata.read_text())
        entry = known["packages"][package.name]
        entry["size"], entry["sha256"] = package.stat().st_size, Digest.of(package.read_bytes()).hex
        entry.pop("md5", None)
        entry.update(said)
        for other in repodata.parent.glob("repodata*"):
            shutil.rmtree(other) if other.is_dir() else other.unlink()
        repodata.write_text(json.dumps(known))
        solver = make_solver(folder / "solver")
        spec = make_spec(folder, "3.11", conda=("evil",))
        packages = solver.conda.solve(conda_request(spec, make_options(channel))).packages
        solver.conda.install(packages, folder / "env", "linux-64", offline=False, progress=SilentProgress())

    return install


#: Zeros, of which a disk that the test makes small has no room for half.
conda_bomb = conda([{"_path": "big", "path_type": "hardlink"}], member("big", bytes(24 << 20)))


def path_of(path: str, kind: str = "hardlink", **more: object) -> dict[str, object]:
    return {"_path": path, "path_type": kind, **more}


def our_image(*members: Member, prefix: str = "/opt/dbimage/env") -> Image:
    """An image that says it is of ours."""
    own = layer(tar(members))
    base = image(layer(tar([member("etc/os-release")])))
    said = record(base_layers=1).to_labels()
    recorded = ImageRecord.from_labels(said)
    assert recorded is not None
    layers = (
        LayerRecord(
            kind="model", digest=str(own.descriptor.digest), diff_id=str(own.diff_id), size=1, contents=()
        ),
    )
    labels = replace(recorded, environment_prefix=prefix, layers=layers).to_labels()
    return append(base, [Addition(layer=own, created_by="an attacker")], RunConfig(labels=labels))


def archive_of_an_image(*members: Member) -> Attack:
    def read(folder: Path) -> None:
        path = folder / "image.tar"
        path.write_bytes(tar(members))
        read_archive(path, folder)

    return read


def compressed_archive(folder: Path) -> None:
    """More zeros than the disk that the test makes small has room for."""
    path = folder / "image.tar.gz"
    path.write_bytes(gzip.compress(bytes(2**20)))
    read_archive(path, folder)


def root_file_system(data: bytes) -> Attack:
    def read(folder: Path) -> None:
        (folder / "root.tar").write_bytes(data)
        rootfs_image(folder / "root.tar", LINUX, folder, Compression.GZIP)

    return read


def model(**files: str) -> Attack:
    def read(folder: Path) -> None:
        (folder / "model").mkdir()
        for name, text in files.items():
            (folder / "model" / name.replace("_DOT_", ".")).write_text(text)
        model_spec.read(parse(str(folder / "model")), folder / "model")

    return read


def model_with(make: Callable[[Path], object]) -> Attack:
    def read(folder: Path) -> None:
        (folder / "model").mkdir()
        (folder / "model" / "MLmodel").write_text("flavors: {}")
        make(folder / "model")
        model_spec.read(parse(str(folder / "model")), folder / "model")

    return read


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefg", "bcdefgh", strict=True)
)
DEEP = "[" * 100_000

ATTACKS: dict[str, tuple[Attack, str]] = {
    # Layers that are unpacked to run them.
    "a layer climbs": (unpacked(member("../escaped", b"x")), "image-invalid"),
    "a layer climbs later": (unpacked(member("a/../../escaped", b"x")), "image-invalid"),
    "a layer is absolute": (unpacked(member("/escaped", b"x")), "image-invalid"),
    "a layer writes through a link": (unpacked(link("out", ".."), member("out/escaped", b"x")), "image-invalid"),
    "a layer links out, hard": (unpacked(hard("mine", "../outside/secret")), "image-invalid"),
    "a layer links out, hard, through a link": (
        unpacked(link("out", "../outside"), hard("mine", "out/secret")),
        "image-invalid",
    ),
    "a layer has a link without a target": (unpacked(link("x", "")), "image-invalid"),
    "a layer hides what is outside": (unpacked(member(".wh...")), "image-invalid"),
    "a layer has a device": (unpacked(member("disk", kind=tarfile.BLKTYPE)), "image-invalid"),
    "a layer has a pipe": (unpacked(member("pipe", kind=tarfile.FIFOTYPE)), "image-invalid"),
    "a layer has a NUL in a name": (unpacked(member("x", b"x", path="a\0b")), "image-invalid"),
    "a layer has a file as a folder": (unpacked(member("a", b"x"), member("a/b", b"x")), "image-invalid"),
    "a layer is not what its diff ID says": (
        lambda folder: unpack_layer(layer(tar([member("a")]), diff_id=Digest.of(b"another")), folder),
        "digest-mismatch",
    ),
    "a layer is a bomb": (
        lambda folder: unpack_layer(
            layer(bomb("zeros"), diff_id=Digest.of(b""), media_type=OCI_LAYER_GZIP), folder
        ),
        "disk-failed",
    ),
    "a base is a bomb that breaks off": (
        lambda folder: read_listing(
            image(layer(bomb("zeros"), diff_id=Digest.of(b""), media_type=OCI_LAYER_GZIP)), lambda path: True
        ),
        "base-invalid",
    ),
    "a layer is cut off": (
        lambda folder: unpack_layer(layer(tar([member("a", b"x" * 9999)])[:5000]), folder),
        "base-invalid",
    ),
    # Bases, whose layers are listed.
    "a base climbs": (listed(member("../escaped")), "base-invalid"),
    "a base is absolute": (listed(member("/escaped")), "base-invalid"),
    "a base links to nothing, hard": (listed(hard("mine", "../outside/secret")), "base-invalid"),
    "a base is not what its diff ID says": (
        lambda folder: read_listing(image(layer(tar([member("a")]), diff_id=Digest.of(b"x"))), lambda path: True),
        "base-invalid",
    ),
    "a root file system is no archive": (root_file_system(b"no archive" * 99), "base-invalid"),
    "a root file system is a bomb that breaks off": (root_file_system(bomb("zeros")), "base-invalid"),
    # Archives of images.
    "an archive links in a circle": (
        archive_of_an_image(link("manifest.json", "other"), link("other", "manifest.json")),
        "base-invalid",
    ),
    "an archive links out": (archive_of_an_image(link("manifest.json", "../outside/secret")), "base-invalid"),
    "an archive has a document without end": (
        archive_of_an_image(member("manifest.json", DEEP.encode())),
        "base-invalid",
    ),
    "an archive has an absurd document": (
        archive_of_an_image(member("manifest.json", bytes(5 << 20))),
        "base-invalid",
    ),
    "an archive unpacks to more than there is room for": (compressed_archive, "disk-failed"),
    # Wheels.
    "a wheel climbs": (wheel({"../escaped": b"x"}), "model-unsafe"),
    "a wheel is absolute": (wheel({"/escaped": b"x"}), "model-unsafe"),
    "a wheel climbs from its data": (wheel({"evil-1.0.data/data/../../escaped": b"x"}), "model-unsafe"),
    "a wheel speaks Windows": (wheel({"evil\\..\\escaped": b"x"}), "model-unsafe"),
    "a wheel hides a file of the image": (wheel({"evil/.wh.os.py": b"x"}), "model-unsafe"),
    "a wheel changes conda's records": (wheel({"evil-1.0.data/data/conda-meta/x.json": b"x"}), "model-unsafe"),
    "a wheel has two of a name": (wheel_with_two, "model-unsafe"),
    "a wheel is a bomb": (wheel_of_a_size, "model-unsafe"),
    "a wheel writes through a link of a conda package": (wheel_through_a_link, "model-unsafe"),
    # Conda packages.
    "a package climbs by its list": (
        conda([path_of("../evil-1.0-0/x")], member("x", b"x")),
        "model-unsafe",
    ),
    "a package is absolute by its list": (conda([path_of("/escaped")], member("x", b"x")), "model-unsafe"),
    "a package takes a file through a link": (
        conda([path_of("lib/secret")], link("lib", "OUTSIDE")),
        "model-unsafe",
    ),
    "a package takes a file as its text": (
        conda([path_of("x", file_mode="text", prefix_placeholder="machine")], link("x", "OUTSIDE/secret")),
        "model-unsafe",
    ),
    "a package changes conda's records": (
        conda([path_of("conda-meta/evil.json")], member("conda-meta/evil.json", b"{}")),
        "model-unsafe",
    ),
    "a package hides a file of the image": (conda([path_of(".wh.bin")], member(".wh.bin")), "model-unsafe"),
    "a package writes through a link while it is unpacked": (
        conda([], link("out", "OUTSIDE"), member("out/escaped", b"x")),
        "channel-failed",
    ),
    "a package links out, hard": (conda([path_of("x")], hard("x", "OUTSIDE/secret")), "channel-failed"),
    "a package is a bomb": (conda_bomb, "disk-failed"),
    "a package lacks what it lists": (conda([path_of("x")]), "channel-failed"),
    # Channels.
    "a channel's package has a build string that is none": (conda([], build="../0"), "channel-failed"),
    "a channel's package has no hash": (conda([], sha256=None), "channel-failed"),
    "a channel's package says that modules lie elsewhere": (
        conda([], python_site_packages_path="../../outside"),
        "channel-failed",
    ),
    # Models.
    "a model laughs a billion times": (model(MLmodel=LAUGHS), "model-invalid"),
    "a model is nested without end": (model(MLmodel=DEEP), "model-invalid"),
    "a model makes objects": (model(MLmodel="a: !!python/object/apply:os.system [x]"), "model-invalid"),
    "a model is absurdly large": (model(MLmodel="#" * (5 << 20)), "model-invalid"),
    "a model links out": (
        model_with(lambda place: (place / "data").symlink_to(place.parent.parent / "outside/secret")),
        "model-unsafe",
    ),
    "a model has a pipe": (model_with(lambda place: os.mkfifo(place / "pipe")), "model-unsafe"),
    "a model hides a file of the image": (model_with(lambda place: (place / ".wh.x").touch()), "model-unsafe"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder that a reader may use, beside one that it may not."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text(SECRET)
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def nothing_happened_outside(folder: Path) -> bool:
    outside = folder.parent / "outside"
    return (
        sorted(os.listdir(folder.parent)) == ["outside", "work"]
        and os.listdir(outside) == ["secret"]
        and (outside / "secret").read_text() == SECRET
        and not list(folder.rglob("escaped"))
    )


def make_small(folder: Path, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the disk have so much room beside its reserve and what is in a folder now."""

    def used() -> int:
        found = subprocess.run(["du", "-sk", folder], capture_output=True, text=True, check=False)
        return int(found.stdout.split()[0]) << 10

    usage, before = shutil.disk_usage(folder), used()
    monkeypatch.setattr(
        shutil, "disk_usage", lambda place: usage._replace(free=disk_room.RESERVE + room + before - used())
    )


@pytest.mark.parametrize("name", ATTACKS)
def test_each_attack_is_refused(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attack, code = ATTACKS[name]
    if attack is compressed_archive:
        usage = shutil.disk_usage(folder)._replace(free=(256 << 20) + 1000)
        monkeypatch.setattr(shutil, "disk_usage", lambda place: usage)
    if attack is conda_bomb:
        make_small(folder, 5 << 20, monkeypatch)
    with pytest.raises(DbimageError) as caught:
        attack(folder)
    assert caught.value.code == code
    assert SECRET not in caught.value.message
    assert nothing_happened_outside(folder)


RECORD = "opt/env/conda-meta/x.json"


def conda_record(path: str) -> bytes:
    return json.dumps({"paths_data": {"paths": [{"_path": path, "file_mode": "text"}]}}).encode()


@pytest.mark.parametrize(
    ("prefix", "members"),
    [
        (
            "/opt/env",
            [link("opt/env/lib", "OUTSIDE"), member("opt/env/conda-meta/x.json", conda_record("lib/secret"))],
        ),
        (
            "/opt/env",
            [link("opt/env/file", "OUTSIDE/secret"), member("opt/env/conda-meta/x.json", conda_record("file"))],
        ),
        ("/opt/env", [member("opt/env/conda-meta/x.json", conda_record("../../../../outside/secret"))]),
        ("/opt/env", [link("opt/env", "OUTSIDE")]),
        ("/opt/a/env", [link("opt/a", "OUTSIDE")]),
        ("/opt/env", [member(RECORD, DEEP.encode())]),
        ("/opt/env", [member(RECORD, b"[]")]),
    ],
)
def test_an_image_that_is_unpacked_has_nothing_else_rewritten(
    folder: Path, prefix: str, members: list[Member]
) -> None:
    outside = folder.parent / "outside"
    (outside / "conda-meta").mkdir()
    (outside / "conda-meta" / "x.json").write_bytes(conda_record("secret"))
    (outside / "secret").write_text(SECRET + prefix)
    for info, _ in members:
        info.linkname = info.linkname.replace("OUTSIDE", str(outside))
    unpack(our_image(*members, prefix=prefix), folder / "unpacked")
    assert (outside / "secret").read_text() == SECRET + prefix


def test_a_text_of_an_image_that_is_far_too_large_is_left(folder: Path) -> None:
    large = b"/opt/env" * (1 << 21) + b"!"
    members = [member(RECORD, conda_record("text")), member("opt/env/text", large)]
    root = unpack(our_image(*members, prefix="/opt/env"), folder / "unpacked")
    assert (root / "opt/env/text").stat().st_size == len(large)


@pytest.mark.parametrize(
    "members",
    [
        [link("opt/dbimage/model", "OUTSIDE")],
        [link("opt/dbimage/model/MLmodel", "OUTSIDE/MLmodel")],
        [link("opt/dbimage/model/secret", "OUTSIDE/secret"), member("opt/dbimage/model/MLmodel", b"EXAMPLE")],
        [link("opt/dbimage/model/sub", "OUTSIDE"), member("opt/dbimage/model/MLmodel", b"SUB")],
        [member("opt/dbimage/model/MLmodel", b"CLIMBS")],
    ],
)
def test_an_image_cannot_give_a_file_of_this_machine_as_its_example(folder: Path, members: list[Member]) -> None:
    outside = folder.parent / "outside"
    texts = {b"EXAMPLE": "secret", b"SUB": "sub/secret", b"CLIMBS": "../../../../outside/secret"}
    (outside / "MLmodel").write_text("saved_input_example_info: {artifact_path: secret}")
    filled: list[Member] = []
    for info, data in members:
        info.linkname = info.linkname.replace("OUTSIDE", str(outside))
        text = f"saved_input_example_info: {{artifact_path: {texts[data]}}}" if data in texts else ""
        filled.append(member(info.name, text.encode()) if text else (info, data))
    assert model_example(our_image(*filled), folder) is None


def test_names_that_differ_by_case_or_form_are_two_files(folder: Path) -> None:
    names = ["Name", "name", "n\u0303", "\u00f1", "a\nb", ".WH.name"]
    unpack_layer(layer(tar([member(name, name.encode()) for name in names])), folder)
    assert sorted(os.listdir(folder)) == sorted(names)
    assert all((folder / name).read_text() == name for name in names)


def test_what_an_attacker_named_cannot_command_a_terminal() -> None:
    error = InputError("model-unsafe", "`\x1b[2J\u202e\udcff`\nas said")
    assert error.message == str(error) == "`\ufffd[2J\ufffd\ufffd`\nas said"
