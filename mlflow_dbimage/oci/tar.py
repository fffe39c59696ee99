"""Tar streams that are the same for the same files: sorted, constant times, owners as given, no names.

Source of the format: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Interchange Format". The headers
are written by hand because `tarfile` costs more than reading and hashing the files (docs/measurements.md).
"""

from __future__ import annotations

import enum
import io
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from mlflow_dbimage.errors import InputError, VerificationError

#: 1980-01-01T00:00:01Z in seconds: the time of every entry, and what byte code in our layers must state.
MTIME = 315532801

_BLOCK = 512
_CHUNK = 1 << 20
_WHITEOUT = ".wh."
_MOST_PROBLEMS = 20
_UNWRITABLE = re.compile("[\0\ud800-\udfff]")
# What a path has that has a problem; others have none of it.
_ODD = re.compile("[\0\ud800-\udfff]|^$|^/|/$|//|(?:^|/)\\.")
# Seven and eleven octal digits
_OWNER_LIMIT = 1 << 21
_SIZE_LIMIT = 1 << 33

Owner = tuple[int, int, int]
"""Mode, uid and gid."""


class EntryKind(enum.Enum):
    """What an entry is; the value is its type flag."""

    FILE = b"0"
    SYMLINK = b"2"
    DIRECTORY = b"5"


@dataclass(frozen=True, slots=True, kw_only=True)
class TarEntry:
    """One entry of a layer."""

    path: str
    """Relative to the root of the image, with `/` between components and none at either end."""
    kind: EntryKind
    mode: int
    """Permission bits."""
    size: int = 0
    """Bytes of a file's content."""
    link: str = ""
    """Target of a symbolic link, as it is read in the image."""
    content: Callable[[], BinaryIO] | None = None
    """Opens a file's content, which must have exactly `size` bytes."""
    uid: int = 0
    gid: int = 0


class Writer(Protocol):
    """Where a stream goes."""

    def write(self, data: bytes, /) -> object:
        """Take some bytes."""


def file_entry(path: str, source: Path | bytes, mode: int) -> TarEntry:
    """Return the entry of a file whose content is on disk or in memory."""
    if isinstance(source, bytes):
        data = source
        return TarEntry(
            path=path, kind=EntryKind.FILE, mode=mode, size=len(data), content=lambda: io.BytesIO(data)
        )
    place = source
    return TarEntry(
        path=path,
        kind=EntryKind.FILE,
        mode=mode,
        size=place.stat().st_size,
        # Most files are smaller than a buffer, and all are read in large pieces.
        content=lambda: cast(BinaryIO, place.open("rb", buffering=0)),
    )


def directory_entry(path: str, mode: int = 0o755, uid: int = 0, gid: int = 0) -> TarEntry:
    """Return the entry of a directory."""
    return TarEntry(path=path, kind=EntryKind.DIRECTORY, mode=mode, uid=uid, gid=gid)


def symlink_entry(path: str, target: str) -> TarEntry:
    """Return the entry of a symbolic link."""
    return TarEntry(path=path, kind=EntryKind.SYMLINK, mode=0o777, link=target)


def whiteouts(paths: Iterable[str], parents: Mapping[str, Owner]) -> list[TarEntry]:
    """Return the entries that hide paths of lower layers, sorted and with the directories above them.

    They must have a layer of their own: beside new content for the same directory, Docker and containerd
    leave the old files visible (docs/measurements.md).

    Args:
        paths: Of files and directories to hide.
        parents: As for `sorted_with_parents`.

    Raises:
        InputError: `model-unsafe`, a path leaves the root or stands twice.
    """
    hidden = list(paths)
    _refuse([problem for path in hidden if (problem := _path_problem(path))])
    entries = []
    for path in hidden:
        folder, slash, name = path.rpartition("/")
        entries.append(file_entry(f"{folder}{slash}{_WHITEOUT}{name}", b"", 0o644))
    return _arranged(entries, parents)


def hiding(gone: Iterable[str], staying: Iterable[str]) -> tuple[str, ...]:
    """Return what to hide so that some paths go and others stay: whole folders where nothing in them stays."""
    needed = {folder for path in staying for folder in _folders(path)}
    hidden = {next((each for each in reversed([*_folders(path)]) if each not in needed), path) for path in gone}
    return tuple(sorted(hidden))


def sorted_with_parents(entries: Iterable[TarEntry], parents: Mapping[str, Owner]) -> list[TarEntry]:
    """Sort entries bytewise and add every directory above them that is not among them.

    Implied directories would get the engine's own idea of a mode (docs/measurements.md).

    Args:
        entries: In any order, without whiteouts.
        parents: Mode, uid and gid of directories that the layers below have; others get 0755 and root.

    Raises:
        InputError: `model-unsafe`, a path leaves the root, stands twice, lies below what is no directory, or
            would hide another layer's files; or a link's target cannot be written.
    """
    wanted = list(entries)
    problems = [problem for entry in wanted if (problem := _path_problem(entry.path))]
    problems += [f"`{each.path}` links to {each.link!r}, which is no path" for each in wanted if _bad_link(each)]
    _refuse(problems)
    return _arranged(wanted, parents)


def _arranged(entries: Iterable[TarEntry], parents: Mapping[str, Owner]) -> list[TarEntry]:
    by_path: dict[str, TarEntry] = {}
    problems = []
    for entry in entries:
        if entry.path in by_path:
            problems.append(f"`{entry.path}` stands twice")
        by_path[entry.path] = entry
    for path in list(by_path):
        for folder in _folders(path):
            above = by_path.get(folder)
            if above is None:
                by_path[folder] = directory_entry(folder, *parents.get(folder, (0o755, 0, 0)))
                continue
            if above.kind is not EntryKind.DIRECTORY:
                problems.append(f"`{path}` lies below `{folder}`, which is no directory")
            break  # what lies above it was added with it, or is in its own turn
    _refuse(problems)
    return sorted(by_path.values(), key=lambda entry: entry.path.encode())


def _refuse(problems: list[str]) -> None:
    if problems:
        shown = "\n  ".join(sorted(problems)[:_MOST_PROBLEMS])
        more = f"\n  and {len(problems) - _MOST_PROBLEMS} more" if len(problems) > _MOST_PROBLEMS else ""
        raise InputError("model-unsafe", f"paths that cannot go into an image:\n  {shown}{more}")


def _path_problem(path: str) -> str | None:
    if _ODD.search(path) is None:
        return None
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return f"{path!r} is not a path below the root"
    if any(part.startswith(_WHITEOUT) for part in parts):
        return f"`{path}` would hide files of the layers below"
    return None if _is_writable(path) else f"{path!r} is not UTF-8, or holds a NUL"


def _bad_link(entry: TarEntry) -> bool:
    return entry.kind is EntryKind.SYMLINK and not (entry.link and _is_writable(entry.link))


def _is_writable(text: str) -> bool:
    return _UNWRITABLE.search(text) is None


def _folders(path: str) -> Iterable[str]:
    end = path.rfind("/")
    while end != -1:
        yield path[:end]
        end = path.rfind("/", 0, end)


def write_tar(entries: Iterable[TarEntry], out: Writer) -> None:
    """Write a whole tar stream; content passes through in pieces of one MiB.

    Args:
        entries: Sorted bytewise and without duplicates, as `sorted_with_parents` returns them.
        out: Where the bytes go.

    Raises:
        VerificationError: `image-invalid`, the order is wrong, or a file changed its size meanwhile.
    """
    previous = b""
    for entry in entries:
        path = entry.path.encode()
        if path <= previous:
            raise VerificationError("image-invalid", f"`{entry.path}` stands twice or out of order in its layer")
        previous = path
        out.write(_header(entry))
        if entry.kind is EntryKind.FILE:
            _copy(entry, out)
    out.write(b"\0" * (2 * _BLOCK))


def _copy(entry: TarEntry, out: Writer) -> None:
    left = entry.size
    assert entry.content is not None, "a file has content"
    with entry.content() as stream:
        while chunk := stream.read(min(_CHUNK, left + 1)):
            left -= len(chunk)
            if left < 0:
                break
            out.write(chunk)
    if left != 0:
        raise VerificationError(
            "image-invalid", f"`{entry.path}` does not have the {entry.size} bytes that it had before"
        )
    out.write(b"\0" * (-entry.size % _BLOCK))


def _header(entry: TarEntry) -> bytes:
    """Give the header of an entry, with a pax header before it where ustar has no room."""
    path = (entry.path + ("/" if entry.kind is EntryKind.DIRECTORY else "")).encode()
    name, prefix = _split(path)
    link = entry.link.encode()
    records = b""
    if name is None:
        records += _pax_record(b"path", path)
        name, prefix = path[:100], b""
    if len(link) > 100 or not link.isascii():
        records += _pax_record(b"linkpath", link)
    for key, value, limit in (
        (b"uid", entry.uid, _OWNER_LIMIT),
        (b"gid", entry.gid, _OWNER_LIMIT),
        (b"size", entry.size, _SIZE_LIMIT),
    ):
        if value >= limit:
            records += _pax_record(key, b"%d" % value)
    numbers = (
        entry.mode & 0o7777,
        entry.uid if entry.uid < _OWNER_LIMIT else 0,
        entry.gid if entry.gid < _OWNER_LIMIT else 0,
        entry.size if entry.size < _SIZE_LIMIT else 0,
    )
    header = _ustar((name, prefix, link[:100]), entry.kind.value, numbers)
    return _pax_header(records) + header if records else header


def _split(path: bytes) -> tuple[bytes | None, bytes]:
    """Share a path out to the 100 bytes of `name` and the 155 of `prefix`; None where it does not fit."""
    if not path.isascii():
        return None, b""
    if len(path) <= 100:
        return path, b""
    cut = path.find(b"/", len(path) - 101)
    if cut in (-1, len(path) - 1) or cut > 155:
        return None, b""
    return path[cut + 1 :], path[:cut]


def _pax_record(key: bytes, value: bytes) -> bytes:
    length = len(key) + len(value) + 3
    digits = len(b"%d" % length)
    while len(b"%d" % (length + digits)) != digits:
        digits += 1
    return b"%d %s=%s\n" % (length + digits, key, value)


def _pax_header(records: bytes) -> bytes:
    header = _ustar((b"././@PaxHeader", b"", b""), b"x", (0o644, 0, 0, len(records)))
    return header + records + b"\0" * (-len(records) % _BLOCK)


def _ustar(texts: tuple[bytes, bytes, bytes], flag: bytes, numbers: tuple[int, int, int, int]) -> bytes:
    """Give one header block: of name, prefix and link; type flag; mode, uid, gid and size."""
    name, prefix, link = texts
    mode, uid, gid, size = numbers
    head = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0" % (name.ljust(100, b"\0"), mode, uid, gid, size, MTIME)
    tail = b"%b%bustar\x0000%b%07o\0%07o\0%b" % (
        flag,
        link.ljust(100, b"\0"),
        b"\0" * 64,
        0,
        0,
        prefix.ljust(155, b"\0") + b"\0" * 12,
    )
    checksum = sum(head) + sum(tail) + 8 * 0x20
    return b"%b%06o\0 %b" % (head, checksum, tail)
