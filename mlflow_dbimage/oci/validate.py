"""Every invariant of an image, recomputed from its bytes; after go-containerregistry's `validate`."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import Any

from mlflow_dbimage.errors import InputError, VerificationError
from mlflow_dbimage.oci.compression import damage_of, open_decompressed
from mlflow_dbimage.oci.descriptor import (
    DOCKER_CONFIG,
    DOCKER_LAYER_GZIP,
    DOCKER_LAYER_TAR,
    DOCKER_LAYER_ZSTD,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER_GZIP,
    OCI_LAYER_TAR,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
    Descriptor,
)
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.documents import read_json
from mlflow_dbimage.oci.image import Image, Layer
from mlflow_dbimage.oci.layer_members import Visitor, tell
from mlflow_dbimage.oci.tar import MTIME
from mlflow_dbimage.oci.tar_members import TarMembers
from mlflow_dbimage.oci.verified import DigestingStream

#: What may stand in a manifest, by its own media type: config, and layers.
_FAMILIES = {
    OCI_MANIFEST: (OCI_CONFIG, {OCI_LAYER_TAR, OCI_LAYER_GZIP, OCI_LAYER_ZSTD}),
    DOCKER_MANIFEST: (DOCKER_CONFIG, {DOCKER_LAYER_TAR, DOCKER_LAYER_GZIP, DOCKER_LAYER_ZSTD}),
}


def problems(image: Image, *, from_layer: int = 0) -> tuple[str, ...]:
    """List all that is wrong with an image; empty where all is right.

    Args:
        image: The image.
        from_layer: The first layer that is ours, whose bytes are read and held to our own rules too: sorted,
            with all parents, of one time, without set-user bits. Layers below may be elsewhere.
    """
    try:
        manifest, config = read_json(image.manifest), read_json(image.config)
        found = [*_manifest_problems(manifest, image), *_config_problems(config, image)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return (f"manifest or config cannot be read: {type(error).__name__}: {error}",)
    for position, layer in enumerate(image.layers):
        if position >= from_layer:
            found += [f"layer {position}: {problem}" for problem in layer_problems(layer)]
    return tuple(found)


def _manifest_problems(manifest: dict[str, Any], image: Image) -> Iterator[str]:
    described = Descriptor.from_dict(manifest["config"])
    if described.digest != Digest.of(image.config):
        yield f"the manifest says {described.digest} of the config, which has {Digest.of(image.config)}"
    if described.size != len(image.config):
        yield f"the manifest says {described.size} bytes of the config, which has {len(image.config)}"
    listed = [Descriptor.from_dict(each) for each in manifest["layers"]]
    if listed != [layer.descriptor for layer in image.layers]:
        yield "the manifest lists other layers than the image has"
    stated = manifest.get("mediaType", image.media_type)
    if stated != image.media_type:
        yield f"the manifest says that it is `{stated}`, not `{image.media_type}`"
    if image.media_type not in _FAMILIES:
        yield f"`{image.media_type}` is no media type of a manifest"
        return
    config_type, layer_types = _FAMILIES[image.media_type]
    if described.media_type != config_type:
        yield f"the config has the media type `{described.media_type}`, not `{config_type}`"
    for position, each in enumerate(listed):
        if each.media_type not in layer_types:
            yield f"layer {position} has the media type `{each.media_type}`, which a manifest of that type lacks"


def _config_problems(config: dict[str, Any], image: Image) -> Iterator[str]:
    for key in ("os", "architecture"):
        if not config.get(key):
            yield f"the config states no `{key}`"
    diff_ids = config["rootfs"]["diff_ids"]
    if diff_ids != [str(layer.diff_id) for layer in image.layers]:
        yield "the config lists other diff IDs than the layers have"
    history = config.get("history")
    if history is not None:
        described = sum(1 for line in history if not line.get("empty_layer"))
        if described != len(diff_ids):
            yield f"the history describes {described} layers of {len(diff_ids)}"


def layer_problems(layer: Layer, visitor: Visitor | None = None) -> tuple[str, ...]:
    """List all that is wrong with a layer of ours, by its bytes, which are read once.

    Args:
        layer: The layer.
        visitor: Is told of its members meanwhile, until something is wrong: what it was told is then of no use.
    """
    found: list[str] = []
    try:
        with layer.open() as blob, damage_of("the blob"):
            stored = DigestingStream(blob)
            members = TarMembers(open_decompressed(stored, layer.descriptor.media_type))
            rules = _Rules()
            for member, content in members:
                found += rules.broken_by(member)
                if visitor is not None and not found:
                    tell(visitor, member, content)
            found += rules.broken_by_all()
            stored.drain()
    except (InputError, VerificationError) as error:
        return (*found, error.message)
    if stored.digest != layer.descriptor.digest:
        found.append(f"its bytes have the digest {stored.digest}, not {layer.descriptor.digest}")
    if stored.size != layer.descriptor.size:
        found.append(f"it has {stored.size} bytes, not {layer.descriptor.size}")
    if members.digest != layer.diff_id:
        found.append(f"its tar stream has the diff ID {members.digest}, not {layer.diff_id}")
    return tuple(found)


class _Rules:
    """Our own rules of layers, held against one member after the other."""

    def __init__(self) -> None:
        self._seen = {""}
        self._previous = b""
        self._whiteouts = self._others = False

    def broken_by(self, member: tarfile.TarInfo) -> Iterator[str]:
        """Tell what is wrong with a member, and with its place."""
        path = member.name.rstrip("/")
        folder, _, name = path.rpartition("/")
        encoded = path.encode(errors="surrogateescape")
        if path in self._seen:
            yield f"`{path}` stands twice"
        elif encoded < self._previous:
            yield f"`{path}` is out of order"
        if folder not in self._seen:
            yield f"the directory of `{path}` has no entry before it"
        yield from _member_problems(member, path)
        hidden = name.startswith(".wh.")
        self._whiteouts |= hidden
        self._others |= not hidden and not member.isdir()
        self._seen.add(path)
        self._previous = encoded

    def broken_by_all(self) -> Iterator[str]:
        """Tell what is wrong with the members together."""
        if self._whiteouts and self._others:
            yield "it mixes whiteouts with files, which some engines show wrongly"


def _member_problems(member: tarfile.TarInfo, path: str) -> Iterator[str]:
    if member.name.startswith("/") or {"..", "."} & set(path.split("/")):
        yield f"`{path}` leaves the root, or is no plain path"
    if member.mode & 0o6000 and not member.isdir():
        yield f"`{path}` changes the user that runs it"
    if not (member.isreg() or member.isdir() or member.issym()):
        yield f"`{path}` is no file, directory or symbolic link"
    if member.mtime != MTIME:
        yield f"`{path}` has the time {member.mtime}, not {MTIME}"
