"""The files of one wheel, unpacked into a folder; what may not be installed is refused.

The rules of the format (schemes, entry points, RECORD) are pypa's `installer`'s: what it would do is noted, and
done by `wheel_prefix` for each environment.
"""

from __future__ import annotations

import base64
import configparser
import errno
import hashlib
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from email.parser import HeaderParser
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import installer
from installer.destinations import WheelDestination
from installer.exceptions import InstallerError
from installer.records import InvalidRecordEntry, RecordEntry, parse_record_file
from installer.sources import WheelFile
from installer.utils import Scheme

from mlflow_dbimage.backends.wheel_archive import WheelArchive
from mlflow_dbimage.backends.wheel_listing import ListedFile, ListedScript, WheelListing
from mlflow_dbimage.backends.wheel_prefix import check_script
from mlflow_dbimage.errors import InputError

if TYPE_CHECKING:
    from installer.scripts import ScriptSection
    from installer.sources import WheelContentElement

# Written to INSTALLER of each wheel: by it the packer knows that RECORD, not conda-meta, lists the files.
_INSTALLER = {"INSTALLER": b"dbimage\n"}

_CHUNK = 1 << 20
#: Bytes of one file about a wheel: the longest RECORD that we know of has 4 MB.
_LARGEST_METADATA = 64 * 2**20
#: Bytes that a wheel unpacks to: the largest that we know of has 5 GB.
_LARGEST_WHEEL = 64 * 2**30

#: What reading a wheel raises that is none.
_INVALID = (
    AssertionError,  # installer's, of an entry point of no known form
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    InstallerError,
    InvalidRecordEntry,
    configparser.Error,
    KeyError,
    NotImplementedError,
    RuntimeError,  # it is encrypted
    ValueError,
)


def unpack(wheel: Path, sha256: str, folder: Path) -> WheelListing:
    """Unpack all that is installed of a wheel, each file under its number in the listing, and return that.

    Args:
        wheel: The file.
        sha256: Its own.
        folder: An empty one.

    Raises:
        InputError: `model-unsafe`.
        OSError: The disk is full.
    """
    with _opened(wheel) as (source, hashes):
        noted = _Noted(folder, hashes)
        installer.install(source, noted, dict(_INSTALLER))
        metadata = HeaderParser().parsestr(source.read_dist_info("METADATA"))
        return WheelListing(
            sha256=sha256,
            distribution=source.distribution,
            scripts=tuple(noted.scripts),
            files=tuple(noted.files),
            record=noted.record,
            requirements=tuple(str(line) for line in metadata.get_all("Requires-Dist", [])),
        )


class _WheelFile(WheelFile):
    """A wheel without the byte code in it: its source is compiled against its path in the image."""

    def get_contents(self) -> Iterator[WheelContentElement]:
        return (each for each in super().get_contents() if "__pycache__" not in each[0][0].split("/")[:-1])


class _Noted(WheelDestination):
    """Takes note of what `installer` does, and keeps the files, which nobody writes to any more."""

    def __init__(self, folder: Path, hashes: Mapping[tuple[str, str], str]) -> None:
        self._folder = str(folder)
        self._hashes = hashes
        self.scripts: list[ListedScript] = []
        self.files: list[ListedFile] = []
        self.record = ("", "")

    def write_script(self, name: str, module: str, attr: str, section: ScriptSection) -> RecordEntry:
        check_script(name)
        self.scripts.append(ListedScript(name, module, attr, section))
        return RecordEntry(name, None, None)

    def write_file(
        self, scheme: Scheme, path: str | os.PathLike[str], stream: BinaryIO, is_executable: bool
    ) -> RecordEntry:
        text = os.fspath(path)
        target = f"{self._folder}/{len(self.files)}"
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o555 if is_executable else 0o444)
        with os.fdopen(descriptor, "wb") as out:
            sha256, size = _copy(stream, out)
        stated = self._hashes.get((scheme, text))
        self.files.append(ListedFile(scheme, text, size, sha256, is_executable, stated))
        return RecordEntry(text, None, None)

    def finalize_installation(
        self, scheme: Scheme, record_file_path: str, records: Iterable[tuple[Scheme, RecordEntry]]
    ) -> None:
        self.record = (scheme, record_file_path)


def _copy(stream: BinaryIO, out: BinaryIO) -> tuple[str, int]:
    state, size = hashlib.sha256(), 0
    while chunk := stream.read(_CHUNK):
        state.update(chunk)
        out.write(chunk)
        size += len(chunk)
    return state.hexdigest(), size


@contextmanager
def _opened(wheel: Path) -> Iterator[tuple[WheelFile, dict[tuple[str, str], str]]]:
    """Open a wheel whose member names are safe, with the hashes of its RECORD by name."""
    try:
        with wheel.open("rb") as stream, WheelArchive(stream) as archive:
            _check_names(wheel.name, archive.namelist())
            _check_sizes(wheel.name, archive.infolist())
            source = _WheelFile(archive)
            yield source, _record_hashes(source)
    except _INVALID as error:
        raise _invalid(wheel, error) from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # of the disk; else an offset in the archive that is none
            raise
        raise _invalid(wheel, error) from error


def _invalid(wheel: Path, error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return InputError("model-unsafe", f"`{wheel.name}` is not a valid wheel: {reason}")


def _check_sizes(wheel: str, members: Iterable[zipfile.ZipInfo]) -> None:
    """Refuse what would fill memory or disk, before any of it is read; zipfile gives no more than is stated."""
    total = 0
    for member in members:
        total += member.file_size
        if ".dist-info/" in member.filename and member.file_size > _LARGEST_METADATA:
            raise InputError("model-unsafe", f"`{wheel}` has {member.file_size:,} bytes in {member.filename!r}")
    if total > _LARGEST_WHEEL:
        raise InputError("model-unsafe", f"`{wheel}` would unpack to {total:,} bytes")


def _check_names(wheel: str, names: Iterable[str]) -> None:
    problems: list[str] = []
    seen: set[str] = set()
    for name in names:
        parts = name.rstrip("/").split("/")
        if name.startswith("/") or "\\" in name or "\0" in name or {"", ".", ".."} & set(parts):
            problems.append(f"{name!r} leaves the environment")
        elif name in seen:
            problems.append(f"{name!r} is there twice")
        elif any(part.startswith(".wh.") for part in parts):
            problems.append(f"{name!r} would delete a file of the image")
        elif ".data/data/conda-meta" in name:
            problems.append(f"{name!r} would change conda's records")
        seen.add(name)
    if problems:
        raise InputError("model-unsafe", f"`{wheel}` must not be installed:\n  " + "\n  ".join(problems[:10]))


def _record_hashes(source: WheelFile) -> dict[tuple[str, str], str]:
    """Return the sha256 that RECORD states, by scheme and path in it; the root counts as both libraries."""
    hashes: dict[tuple[str, str], str] = {}
    for path, text, _ in parse_record_file(source.read_dist_info("RECORD").splitlines()):
        algorithm, _, value = text.partition("=")
        if algorithm != "sha256":
            continue
        sha256 = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).hex()
        if path.startswith(f"{source.data_dir}/"):
            scheme, _, rest = path.removeprefix(f"{source.data_dir}/").partition("/")
            hashes[scheme, rest] = sha256
        else:
            hashes["purelib", path] = hashes["platlib", path] = sha256
    return hashes
