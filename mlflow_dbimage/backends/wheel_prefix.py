"""Puts one unpacked wheel into a prefix: by links where it can, and never over a file that is there.

A linked file is the very file of the cache, so nobody writes to it: it is read-only, and belongs to this user.
Where that cannot be, it is copied. Either way what lies in the prefix in the end is held against the listing.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

from installer.records import Hash, RecordEntry
from installer.scripts import Script
from installer.utils import construct_record_file, fix_shebang

from mlflow_dbimage.backends.wheel_listing import ListedFile, WheelListing, joined, schemes
from mlflow_dbimage.errors import InputError

_CHUNK = 1 << 18
# What a system says of a link that cannot be: to another file system, one too many, or another user's file.
_NO_LINKS = (errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class Damaged(Exception):
    """An unpacked file is not what the listing says, or is gone."""


def check_script(name: str) -> None:
    """Refuse a script that would not be in its folder.

    Raises:
        InputError: `model-unsafe`.
    """
    if "/" in name or "\\" in name or name in ("", ".", "..") or name.startswith(".wh."):
        raise InputError("model-unsafe", f"a wheel has a script named {name!r}")


class PlacedWheel:
    """One wheel in a prefix.

    Args:
        prefix: Of the environment on this machine.
        python_minor: `3.11`.
        interpreter: The Python that scripts name, in the image.
        omitted: Paths relative to the prefix that are not written and not recorded.
    """

    def __init__(self, prefix: Path, python_minor: str, interpreter: str, omitted: Iterable[str] = ()) -> None:
        self._prefix = str(prefix)
        self._real_prefix = os.path.realpath(prefix)
        self._python_minor = python_minor
        self._interpreter = interpreter
        self._omitted = frozenset(omitted)
        self._folders: set[str] = set()
        self._written: list[str] = []
        self._buffer = bytearray(_CHUNK)

    def put(self, listing: WheelListing, unpacked: Path) -> None:
        """Put in all files of a wheel.

        Args:
            listing: Of the wheel.
            unpacked: Where its files are, by their numbers.

        Raises:
            Damaged: A file is not what the listing says.
            InputError: `model-unsafe`.
            OSError: The disk is full, or a file is there already.
        """
        places = schemes(self._python_minor, listing.distribution)
        records: list[tuple[str, RecordEntry]] = []
        for each in listing.scripts:
            check_script(each.name)
            section: Any = each.section
            name, content = Script(each.name, each.module, each.attr, section).generate(self._interpreter, "posix")
            target = self._target(joined(places["scripts"], name))
            if target is not None:
                records.append(("scripts", self._write(target, name, content, executable=True)))
        for number, file in enumerate(listing.files):
            target = self._target(joined(places[file.scheme], file.path))
            if target is not None:
                records.append((file.scheme, self._put_file(f"{unpacked}/{number}", target, file)))
        self._write_record(listing, places, records)

    def undo(self) -> None:
        """Take out again what was put in."""
        for path in self._written:
            with suppress(FileNotFoundError):
                os.unlink(path)  # noqa: PTH108  # of thousands of files
        self._written.clear()

    def _put_file(self, source: str, target: str, file: ListedFile) -> RecordEntry:
        if file.scheme == "scripts":  # is rewritten, and executable as pip has it
            content = b"".join(map(bytes, self._content(source, file)))
            with fix_shebang(BytesIO(content), self._interpreter) as fixed:
                return self._write(target, file.path, fixed.read(), executable=True)
        if not self._linked(source, target, file):
            self._copy(source, target, file)
        return RecordEntry(file.path, Hash("sha256", _record_hash(file.stated or file.sha256)), file.size)

    def _write(self, target: str, path: str, content: bytes, *, executable: bool) -> RecordEntry:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o755 if executable else 0o644)
        self._written.append(target)
        with os.fdopen(descriptor, "wb") as out:
            out.write(content)
        return RecordEntry(path, Hash("sha256", _record_hash(hashlib.sha256(content).hexdigest())), len(content))

    def _write_record(
        self, listing: WheelListing, places: dict[str, str], records: list[tuple[str, RecordEntry]]
    ) -> None:
        scheme, path = listing.record
        target = self._target(joined(places[scheme], path))

        def to_scheme(other: str) -> str | None:
            return None if other == scheme else os.path.relpath(places[other] or ".", places[scheme]) + "/"

        if target is None:
            return
        every: list[Any] = [*records, (scheme, RecordEntry(path, None, None))]
        with construct_record_file(every, to_scheme) as stream:
            self._write(target, path, stream.read(), executable=False)

    def _target(self, place: str) -> str | None:
        """Return the path of a file whose folder is there now; None where it is left out."""
        if place in self._omitted:
            return None
        folder = place.rpartition("/")[0]
        if folder not in self._folders:
            self._make_folder(folder)
        return f"{self._prefix}/{place}"

    def _make_folder(self, folder: str) -> None:
        above = folder.rpartition("/")[0]
        if folder and above not in self._folders:
            self._make_folder(above)
        path = f"{self._prefix}/{folder}"
        try:
            os.mkdir(path)  # noqa: PTH102  # of thousands of folders: pathlib takes five times as long
        except FileExistsError:
            self._must_be_inside(path)
        except FileNotFoundError:
            if folder:
                raise
            os.makedirs(path, exist_ok=True)  # noqa: PTH103
        self._folders.add(folder)

    def _must_be_inside(self, folder: str) -> None:
        """Refuse a folder to which a link of a conda package leads."""
        real = os.path.realpath(folder)
        if real != self._real_prefix and not real.startswith(f"{self._real_prefix}/"):
            raise InputError(
                "model-unsafe", f"a wheel has files below `{folder}`, which leads out of the environment"
            )

    def _linked(self, source: str, target: str, file: ListedFile) -> bool:
        """Link a file, and say whether nobody else can change it."""
        try:
            os.link(source, target, follow_symlinks=False)
        except FileNotFoundError as error:
            raise Damaged(source) from error
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return False
        self._written.append(target)
        with _opened(target) as descriptor:
            status = os.fstat(descriptor)
            alone = status.st_uid == os.geteuid() and not status.st_mode & 0o222
            if alone and bool(status.st_mode & 0o111) == file.executable:
                for _ in self._checked(descriptor, source, file):
                    pass
                return True
        os.unlink(target)  # noqa: PTH108  # of thousands of files
        return False

    def _copy(self, source: str, target: str, file: ListedFile) -> None:
        mode = 0o755 if file.executable else 0o644
        with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as out:
            self._written.append(target)
            for chunk in self._content(source, file):
                out.write(chunk)

    def _content(self, source: str, file: ListedFile) -> Iterator[memoryview]:
        with _opened(source) as descriptor:
            yield from self._checked(descriptor, source, file)

    def _checked(self, descriptor: int, source: str, file: ListedFile) -> Iterator[memoryview]:
        """Yield a file's content, in parts that last until the next; whoever takes all knows that it is right."""
        status = os.fstat(descriptor)
        digest, left, view = hashlib.sha256(), file.size, memoryview(self._buffer)
        if not stat.S_ISREG(status.st_mode) or status.st_size != left:
            raise Damaged(source)
        while left > 0:
            count = os.readv(descriptor, [self._buffer])
            if count == 0:
                break
            digest.update(view[:count])
            left -= count
            yield view[:count]
        if left != 0 or digest.hexdigest() != file.sha256:
            raise Damaged(source)


@contextmanager
def _opened(path: str) -> Iterator[int]:
    """Open a file of the cache, whatever lies at its place."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise Damaged(path) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _record_hash(sha256: str) -> str:
    return base64.urlsafe_b64encode(bytes.fromhex(sha256)).decode().rstrip("=")
