"""The environment that a golden base holds: its lock and every file, so that images on top carry what differs.

The base carries it as a layer of its own (kind `inventory`), so that it is read without the base's other layers.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import IO, Any

from mlflow_dbimage.base_record import BaseRecord
from mlflow_dbimage.errors import InputError
from mlflow_dbimage.locked_env import LockedEnv
from mlflow_dbimage.locking.field_checks import is_sha256
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.documents import read_json
from mlflow_dbimage.oci.image import Image, Layer, canonical_json
from mlflow_dbimage.oci.image_files import read_files
from mlflow_dbimage.oci.layer_members import read_layer
from mlflow_dbimage.oci.tar import EntryKind, TarEntry, file_entry
from mlflow_dbimage.oci.tar_members import OpenContent
from mlflow_dbimage.packed_env import PackedEnv, is_prefix

INVENTORY_PATH = "opt/dbimage/base/environment.json"

#: Of the file's form.
_VERSION = 1
_CHUNK = 1 << 20
# The list of a 10 GB environment has about 40 MB.
_LARGEST = 512 << 20

FileState = tuple[str, int, str]
"""Kind (`file` or `link`), permission bits, and the sha256 of a file's content or the target of a link."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseEnvironment:
    """What a golden base holds at its environment prefix."""

    prefix: str
    locked: LockedEnv
    bytecode: str
    """`all` or `none`."""
    files: Mapping[str, FileState]
    """Every file and link, by path in the image (relative to its root)."""

    @property
    def digest(self) -> Digest:
        """The identity of what layers on top rely on: place, byte code, packages and files."""
        files = {path: list(state) for path, state in self.files.items()}
        return Digest.of(canonical_json([self.prefix, self.bytecode, str(self.locked.digest), files]))

    def to_entry(self) -> TarEntry:
        """Give the file of the inventory layer; it is the same whichever mirrors the packages were found on."""
        data = {
            "version": _VERSION,
            "prefix": self.prefix,
            "bytecode": self.bytecode,
            "lock": self.locked.without_places().to_record(),
            "files": {path: list(state) for path, state in sorted(self.files.items())},
        }
        return file_entry(INVENTORY_PATH, canonical_json(data), 0o644)

    @classmethod
    def from_bytes(cls, data: bytes) -> BaseEnvironment:
        """Read the file of an inventory layer; where its packages were found is not believed.

        Raises:
            ValueError: It has another form, or a field that we would not write.
        """
        content = read_json(data)
        try:
            if content["version"] != _VERSION:
                raise ValueError(f"it has the form {content['version']!r:.20}, and {_VERSION} is known")
            prefix, bytecode = content["prefix"], content["bytecode"]
            if not is_prefix(prefix):
                raise ValueError(f"no environment can be at {prefix!r:.100}")
            if bytecode not in ("all", "none"):
                raise ValueError(f"{bytecode!r:.20} is no kind of byte code")
            return cls(
                prefix=prefix,
                locked=LockedEnv.from_record(content["lock"]).without_places(),
                bytecode=bytecode,
                files={path: _state_of(path, state, prefix) for path, state in content["files"].items()},
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"it is no inventory: {type(error).__name__}: {error}") from None


def file_states(env: PackedEnv) -> dict[str, FileState]:
    """Read every file of a packed environment for its digest."""
    entries = (entry for distribution in env.distributions for entry in distribution.entries)
    return states_of(entries)


def states_of(entries: Iterable[TarEntry]) -> dict[str, FileState]:
    """Return the state of each entry, by path; files are read."""
    return {entry.path: _state(entry) for entry in entries}


def states_in_layers(layers: Iterable[Layer], prefix: str) -> dict[str, FileState]:
    """Return the state of each file and link that layers have below a prefix; what is above wins.

    Layers that were made before are read, so that a base's inventory does not need its environment again.

    Args:
        layers: Of an environment, lowest first; they have no whiteouts.
        prefix: The absolute path in the image.

    Raises:
        InputError: `base-invalid`, a layer is broken.
    """
    states: dict[str, FileState] = {}
    for layer in layers:
        states.update(_states_in(layer, f"{prefix[1:]}/"))
    return states


def read(image: Image) -> BaseEnvironment | None:
    """Read what a golden base, or an image on top of one, holds; None where its base is no golden base.

    Raises:
        InputError: `base-invalid`, the base says that it has an environment, and its inventory cannot be read.
        VerificationError: `digest-mismatch`, from reading the layer.
    """
    record = BaseRecord.from_labels(image.labels)
    if record is None:
        return None
    layer = _inventory_layer(image, record)
    try:
        found = read_files(replace(image, layers=(layer,)), [INVENTORY_PATH], _LARGEST)
        if INVENTORY_PATH not in found:
            raise ValueError(f"its layer has no `{INVENTORY_PATH}`")
        return BaseEnvironment.from_bytes(found[INVENTORY_PATH].data)
    except ValueError as error:
        raise InputError(
            "base-invalid",
            f"the inventory of the golden base `{record.title}` cannot be read: {error}",
            hint="build the base again with this version",
        ) from error


def _states_in(layer: Layer, start: str) -> dict[str, FileState]:
    states: dict[str, FileState] = {}

    def look(member: tarfile.TarInfo, content: OpenContent) -> None:
        if member.name.startswith(start) and member.issym():
            states[member.name] = ("link", member.mode & 0o7777, member.linkname)
        elif member.name.startswith(start) and member.isreg():
            states[member.name] = ("file", member.mode & 0o7777, _hash(content()))

    read_layer(layer, f"the environment layer {layer.descriptor.digest}", look)
    return states


def _state(entry: TarEntry) -> FileState:
    if entry.kind is EntryKind.SYMLINK:
        return ("link", entry.mode, entry.link)
    assert entry.content is not None, "an environment has files and links"
    with entry.content() as stream:
        return ("file", entry.mode, _hash(stream))


def _hash(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _inventory_layer(image: Image, record: BaseRecord) -> Layer:
    wanted = {layer.diff_id for layer in record.layers if layer.kind == "inventory"}
    found = [layer for layer in image.layers if str(layer.diff_id) in wanted]
    if not found:
        raise InputError(
            "base-invalid",
            f"the golden base `{record.title}` lacks the inventory that its record names",
            hint="build the base again; squashing a golden base loses what images on top need",
        )
    return found[0]


def _state_of(path: str, state: Any, prefix: str) -> FileState:
    kind, mode, value = state
    is_known = {"file": is_sha256(value), "link": isinstance(value, str) and value != ""}.get(kind, False)
    if not is_known or type(mode) is not int or not 0 <= mode <= 0o7777:
        raise ValueError(f"`{path}` has no state")
    if path.startswith("/") or {"", ".", ".."} & set(path.split("/")):
        raise ValueError(f"`{path}` leaves the root, or is not written plainly")
    if not f"/{path}".startswith(f"{prefix}/"):
        raise ValueError(f"`{path}` is not of the environment at `{prefix}`")  # or an image on top would hide it
    return (kind, mode, value)
