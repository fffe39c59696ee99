"""The files of one wheel: where each goes, whether all may go there, and putting them there.

The rules of the format (schemes, entry points, RECORD) are pypa's `installer`'s, for listing as for
installing.
"""

from __future__ import annotations

import base64
import configparser
import errno
import hashlib
import os
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from email.parser import HeaderParser
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import installer
from installer.destinations import WheelDestination
from installer.exceptions import InstallerError
from installer.records import Hash, InvalidRecordEntry, RecordEntry, parse_record_file
from installer.scripts import Script
from installer.sources import WheelFile
from installer.utils import Scheme, construct_record_file, fix_shebang
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from mlflow_dbimage.errors import InputError
from mlflow_dbimage.locking.package_owners import PlacedFile, WheelContents

if TYPE_CHECKING:
    from installer.scripts import ScriptSection

# Written to INSTALLER of each wheel: by it the packer knows that RECORD, not conda-meta, lists the files.
_INSTALLER = {"INSTALLER": b"dbimage\n"}

_CHUNK = 1 << 20


def schemes(python_minor: str, distribution: str) -> dict[str, str]:
    """Return, by scheme, its folder relative to the prefix; the prefix itself is empty.

    Source: `sysconfig`'s scheme `posix_prefix`; headers go where pip puts them in a virtual environment.
    """
    site = f"lib/python{python_minor}/site-packages"
    return {
        "purelib": site,
        "platlib": site,
        "scripts": "bin",
        "data": "",
        "headers": f"include/site/python{python_minor}/{distribution}",
    }


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


def read_contents(wheel: Path, python_minor: str) -> WheelContents:
    """Return where each file of a wheel is installed, with the hash that RECORD states, and what it needs.

    Raises:
        InputError: `model-unsafe`.
    """
    with _opened(wheel) as (source, hashes):
        listing = _Listing(schemes(python_minor, source.distribution), hashes)
        installer.install(source, listing, dict(_INSTALLER))
        metadata = HeaderParser().parsestr(source.read_dist_info("METADATA"))
        requirements = tuple(str(line) for line in metadata.get_all("Requires-Dist", []))
        return WheelContents(
            files=tuple(sorted(listing.files, key=lambda file: file.path)),
            requires=frozenset(_required(requirements)),
            requirements=requirements,
        )


def install_wheel(
    wheel: Path, prefix: Path, python_minor: str, interpreter: str, omitted: Iterable[str] = ()
) -> None:
    """Install a wheel.

    Args:
        wheel: The file.
        prefix: Of the environment on this machine.
        python_minor: `3.11`.
        interpreter: The Python that scripts name, in the image.
        omitted: Paths relative to the prefix that are not written and not recorded.

    Raises:
        InputError: `model-unsafe`.
        OSError: The disk is full, or a file is there already.
    """
    with _opened(wheel) as (source, hashes):
        folders = schemes(python_minor, source.distribution)
        destination = _Prefix(prefix, folders, interpreter, omitted, hashes)
        installer.install(source, destination, dict(_INSTALLER))


class _Listing(WheelDestination):
    """Takes note of what would be written, and writes nothing."""

    def __init__(self, folders: dict[str, str], hashes: Mapping[tuple[str, str], str]) -> None:
        self._folders = folders
        self._hashes = hashes
        self.files: list[PlacedFile] = []

    def write_script(self, name: str, module: str, attr: str, section: ScriptSection) -> RecordEntry:
        _check_script(name)
        return self._note("scripts", name, None)

    def write_file(
        self, scheme: Scheme, path: str | os.PathLike[str], stream: BinaryIO, is_executable: bool
    ) -> RecordEntry:
        text = os.fspath(path)
        # A script's first line is rewritten, and what we write ourselves is in no RECORD.
        known = None if scheme == "scripts" else self._hashes.get((scheme, text))
        return self._note(scheme, text, known)

    def finalize_installation(
        self, scheme: Scheme, record_file_path: str, records: Iterable[tuple[Scheme, RecordEntry]]
    ) -> None:
        self._note(scheme, record_file_path, None)

    def _note(self, scheme: str, path: str, sha256: str | None) -> RecordEntry:
        place = _joined(self._folders[scheme], path)
        self.files.append(PlacedFile(scheme=scheme, path=place, sha256=sha256))
        return RecordEntry(path, None, None)


class _Prefix(WheelDestination):
    """Writes into a prefix, but for what is omitted; never over a file that is there."""

    def __init__(
        self,
        prefix: Path,
        folders: Mapping[str, str],
        interpreter: str,
        omitted: Iterable[str],
        hashes: Mapping[tuple[str, str], str],
    ) -> None:
        self._prefix = str(prefix)
        self._real_prefix = os.path.realpath(prefix)
        self._folders = folders
        self._interpreter = interpreter
        self._omitted = frozenset(omitted)
        self._hashes = hashes
        self._made: set[str] = set()

    def write_script(self, name: str, module: str, attr: str, section: ScriptSection) -> RecordEntry:
        _check_script(name)
        name, content = Script(name, module, attr, section).generate(self._interpreter, "posix")
        return self._write("scripts", name, BytesIO(content), executable=True)

    def write_file(
        self, scheme: Scheme, path: str | os.PathLike[str], stream: BinaryIO, is_executable: bool
    ) -> RecordEntry:
        if scheme != "scripts":
            return self._write(scheme, os.fspath(path), stream, executable=is_executable)
        with fix_shebang(stream, self._interpreter) as fixed:
            return self._write(scheme, os.fspath(path), fixed, executable=True)  # as pip does

    def finalize_installation(
        self, scheme: Scheme, record_file_path: str, records: Iterable[tuple[Scheme, RecordEntry]]
    ) -> None:
        kept = [each for each in records if self._place(each[0], each[1].path) not in self._omitted]
        root = self._folders[scheme]

        def to_scheme(other: str) -> str | None:
            return None if other == scheme else os.path.relpath(self._folders[other] or ".", root) + "/"

        with construct_record_file(kept, to_scheme) as stream:
            self._write(scheme, record_file_path, stream, executable=False)

    def _write(self, scheme: str, path: str, stream: BinaryIO, *, executable: bool) -> RecordEntry:
        place = self._place(scheme, path)
        if place in self._omitted:
            return RecordEntry(path, None, None)
        target = f"{self._prefix}/{place}"
        folder = target.rpartition("/")[0]
        if folder not in self._made:
            self._must_be_inside(folder)
            Path(folder).mkdir(parents=True, exist_ok=True)
            self._made.add(folder)
        known = None if scheme == "scripts" else self._hashes.get((scheme, path))
        mode = 0o755 if executable else 0o644
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as out:
            digest, size = _copy(stream, out, hashed=known is None)
        return RecordEntry(path, Hash("sha256", _record_hash(known or digest)), size)

    def _must_be_inside(self, folder: str) -> None:
        """Refuse a folder to which a link of a conda package leads."""
        real = os.path.realpath(folder)  # of thousands of folders: pathlib takes five times as long
        if real != self._real_prefix and not real.startswith(f"{self._real_prefix}/"):
            raise InputError(
                "model-unsafe", f"a wheel has files below `{folder}`, which leads out of the environment"
            )

    def _place(self, scheme: str, path: str) -> str:
        return _joined(self._folders[scheme], path)


def _copy(stream: BinaryIO, out: BinaryIO, *, hashed: bool) -> tuple[str, int]:
    state, size = hashlib.sha256(), 0
    while chunk := stream.read(_CHUNK):
        if hashed:
            state.update(chunk)
        out.write(chunk)
        size += len(chunk)
    return state.hexdigest(), size


def _record_hash(sha256: str) -> str:
    return base64.urlsafe_b64encode(bytes.fromhex(sha256)).decode().rstrip("=")


@contextmanager
def _opened(wheel: Path) -> Iterator[tuple[WheelFile, dict[tuple[str, str], str]]]:
    """Open a wheel whose member names are safe, with the hashes of its RECORD by name."""
    try:
        with zipfile.ZipFile(wheel) as archive, warnings.catch_warnings():
            # Byte code in a wheel is left out: its source is compiled against its path in the image.
            warnings.filterwarnings("ignore", message="Skip installing", category=RuntimeWarning)
            _check_names(wheel.name, archive.namelist())
            _check_sizes(wheel.name, archive.infolist())
            source = WheelFile(archive)
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


def _check_script(name: str) -> None:
    if "/" in name or "\\" in name or name in ("", ".", "..") or name.startswith(".wh."):
        raise InputError("model-unsafe", f"a wheel has a script named {name!r}")


def _required(lines: Iterable[str]) -> Iterator[str]:
    """Yield the names of what is required without an extra."""
    for line in lines:
        with suppress(InvalidRequirement):
            requirement = Requirement(line)
            if "extra" not in str(requirement.marker or ""):
                yield canonicalize_name(requirement.name)


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


def _joined(folder: str, path: str) -> str:
    return f"{folder}/{path}" if folder else path
