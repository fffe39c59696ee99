"""What builds keep on disk between runs: blobs by digest, records by key, and folders that libraries fill.

    blobs/<hex>              layer blobs, named by their digest
    records/<kind>/<key>.json  small facts: which layers an environment has, what a base holds, a lock
    bytecode/<python>/...    byte code by what it is made of
    roots/<key>/root         what images but for their models unpack to, for checks
    images/<hex>-<user>/     what images are above their bases, unpacked to be asked for predictions
    unpacked/<hex>-<user>/   wheels unpacked, whose files environments link to
    conda/ wheels/ uv/ ...   caches of the libraries that we use
    work/                    builds under way; safe to delete when none runs
    locks/                   one file a lock

Everything is written aside and renamed, so that a killed build leaves nothing half-written, and everything that
is read is checked: what is corrupted is dropped and made again. Nothing here is needed for a right result.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock

from mlflow_dbimage import cache_parts
from mlflow_dbimage.errors import ServiceError
from mlflow_dbimage.oci.digest import Digest

#: Raised when the form or meaning of what we cache changes: keys of other formats are never found again.
FORMAT = 1

# Users of one group may share a cache whose folders they all may write to.
_LOCK_MODE, _RECORD_MODE = 0o664, 0o644
_TRIES_TO_DELETE = 50


def cache_key(*parts: object) -> str:
    """Digest the JSON of some values into a key that is also a file name."""
    text = json.dumps([FORMAT, *parts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


class BuildCache:
    """A cache folder.

    Args:
        root: Its path; made when it is first written to.
        most: Bytes that it may hold after it was trimmed; None for any number.
    """

    def __init__(self, root: Path, most: int | None = None) -> None:
        self.root = root
        self._most = most

    @classmethod
    def open(cls, root: Path) -> BuildCache:
        """Open a cache, or one that ends with this process where `root` cannot be written to.

        A read-only cache, or that of another user, must not stop a build; whether it was replaced shows in `root`.
        """
        try:
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=root):
                pass
            usable = all(os.access(each, os.R_OK | os.W_OK | os.X_OK) for each in root.iterdir() if each.is_dir())
        except OSError:
            usable = False
        if not usable:
            temporary = Path(tempfile.mkdtemp(prefix="dbimage-cache-"))
            atexit.register(shutil.rmtree, temporary, ignore_errors=True)
            return cls(temporary)
        return cls(root)

    def directory(self, part: str) -> Path:
        """Return the folder of one part, made if need be.

        Raises:
            ServiceError: `disk-failed`.
        """
        path = self.root / part
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ServiceError("disk-failed", f"cannot make the cache folder `{path}`: {error}") from error
        return path

    def blob_path(self, digest: Digest) -> Path:
        """Return where the blob of that digest is, or would be."""
        return self.directory("blobs") / digest.hex

    def has_intact_blob(self, digest: Digest) -> bool:
        """Whether the blob is there with the right content; one with another content is dropped."""
        path = self.blob_path(digest)
        try:
            with path.open("rb") as stream:
                intact = Digest.of_stream(stream) == digest
        except FileNotFoundError:
            return False
        if intact:
            _note_use(path)
        else:
            path.unlink(missing_ok=True)
        return intact

    def open_blob(self, digest: Digest) -> BinaryIO:
        """Open a blob of the cache.

        Raises:
            ServiceError: `disk-failed`, it is gone: somebody emptied the cache under a running build.
        """
        try:
            return self.blob_path(digest).open("rb")
        except OSError as error:
            raise ServiceError(
                "disk-failed",
                f"the layer {digest.short} is gone from the cache `{self.root}`",
                hint="run the build again",
            ) from error

    def record(self, kind: str, key: str) -> dict[str, Any] | None:
        """Return what was recorded, or None; a record that cannot be read counts as none and is dropped."""
        path = self._record_path(kind, key)
        try:
            wrapped = json.loads(path.read_bytes())
            content = wrapped["content"]
            intact = wrapped["checksum"] == _checksum(content)
        except OSError:
            return None
        except (ValueError, KeyError, TypeError, RecursionError):
            intact, content = False, None
        if not intact or not isinstance(content, dict):
            path.unlink(missing_ok=True)
            return None
        _note_use(path)
        return content

    def put_record(self, kind: str, key: str, content: Mapping[str, Any]) -> None:
        """Record a JSON object with its checksum."""
        path = self._record_path(kind, key)
        plain = json.loads(json.dumps(content))
        data = json.dumps({"checksum": _checksum(plain), "content": plain}, sort_keys=True)
        write_aside(path, data.encode())

    def drop_record(self, kind: str, key: str) -> None:
        """Forget a record, if there is one."""
        self._record_path(kind, key).unlink(missing_ok=True)

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold the lock of that name; another process that wants it waits. Ends with the process."""
        with FileLock(str(self.directory("locks") / f"{name}.lock"), mode=_LOCK_MODE):
            yield

    @contextlib.contextmanager
    def work_directory(self) -> Iterator[Path]:
        """Give a new folder for one build, deleted at its end; also delete those that killed builds left."""
        work = self.directory("work")
        self._sweep(work)
        with scratch_directory(work) as path:
            yield path

    def _sweep(self, work: Path) -> None:
        for path in work.iterdir():
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > cache_parts.WORK_LEFT_BEHIND_AFTER:
                    shutil.rmtree(path, ignore_errors=True)

    def trim(self) -> None:
        """Delete what was not used for longest until the rest is no larger than it may be."""
        if self._most is not None:
            cache_parts.prune(self.root, keep_size=self._most)

    def _record_path(self, kind: str, key: str) -> Path:
        return self.directory(f"records/{kind}") / f"{key}.json"


@contextlib.contextmanager
def scratch_directory(parent: Path) -> Iterator[Path]:
    """Give a new folder, deleted at the end of the context.

    Threads of a library that were interrupted may write into it for a moment longer.
    """
    path = Path(tempfile.mkdtemp(dir=parent))
    try:
        yield path
    finally:
        for _ in range(_TRIES_TO_DELETE):
            shutil.rmtree(path, ignore_errors=True)
            if not path.exists():
                break
            time.sleep(0.1)


def write_aside(path: Path, data: bytes) -> None:
    """Write a whole file under another name beside it, then rename it into place.

    Raises:
        ServiceError: `disk-failed`; the file is as before.
    """
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.")
        aside = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
            aside.chmod(_RECORD_MODE)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise ServiceError("disk-failed", f"cannot write `{path}`: {error.strerror}") from error


def _note_use(path: Path) -> None:
    """Set the time of a file: what was not used for longest goes first when the cache is pruned."""
    with contextlib.suppress(PermissionError):  # it is another user's
        os.utime(path)


def _checksum(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
