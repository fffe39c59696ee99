"""conda-pack: checks an installed environment and rewrites the prefixes of its files.

`conda_pack.core.Packer` reads whole files into memory, so it is given only files that hold a prefix; all others
are streamed past it (docs/measurements.md). `Packer` is not public API: the range of versions is capped in
`pyproject.toml` and tests hold its behaviour.
"""

from __future__ import annotations

import io
import mmap
import os
import stat
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from mlflow_dbimage.errors import VerificationError
from mlflow_dbimage.oci.tar import EntryKind, TarEntry, file_entry, symlink_entry


class CondaPack:
    """The `Packer` of the pipeline."""

    def entries(self, prefix: Path, image_prefix: str, *, verbatim: frozenset[str]) -> Iterator[TarEntry]:
        """Yield every file of the environment, and conda-pack's activation scripts.

        Raises:
            VerificationError: `image-invalid`, conda-pack finds the environment damaged.
        """
        for file in _checked_files(prefix):
            entry = _entry(file, prefix, image_prefix, verbatim=file.target in verbatim)
            if entry is not None:
                yield entry
        yield from _activation_scripts(prefix, image_prefix)


def _checked_files(prefix: Path) -> list[Any]:
    from conda_pack import CondaEnv, CondaPackException

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a cleaned package cache is a warning, and would lose prefixes
        try:
            files = CondaEnv.from_prefix(str(prefix)).files
        except (CondaPackException, UserWarning) as error:
            raise VerificationError(
                "image-invalid", f"conda-pack refuses the environment: {str(error).strip()}"
            ) from error
    unique = {file.target: file for file in files}  # one entry a target, as on disk
    return [unique[target] for target in sorted(unique)]


def _entry(file: Any, prefix: Path, image_prefix: str, *, verbatim: bool) -> TarEntry | None:
    # Of thousands of files: each is asked for once, and pathlib would take as long as all else.
    source: str = file.source
    status = os.lstat(source)
    if stat.S_ISLNK(status.st_mode):
        return symlink_entry(file.target, _relocated(os.readlink(source), prefix, image_prefix))  # noqa: PTH115
    if stat.S_ISDIR(status.st_mode):
        return None  # a directory that no file needs has no owner, and no meaning
    mode = 0o755 if status.st_mode & 0o111 else 0o644
    if file.file_mode is None or verbatim or not _holds_prefix(file, prefix):
        return TarEntry(
            path=file.target,
            kind=EntryKind.FILE,
            mode=mode,
            size=status.st_size,
            content=lambda: open(source, "rb"),  # noqa: PTH123
        )
    return _rewritten_entry(file, prefix, image_prefix, mode)


def _relocated(target: str, prefix: Path, image_prefix: str) -> str:
    """Turn an absolute link into the build prefix into one into the image's."""
    inside = f"{prefix}/"
    return f"{image_prefix}/{target[len(inside) :]}" if target.startswith(inside) else target


def _holds_prefix(file: Any, prefix: Path) -> bool:
    placeholder = file.prefix_placeholder if file.file_mode != "unknown" else str(prefix)
    size = Path(file.source).stat().st_size
    if not placeholder or size == 0:
        return False
    with Path(file.source).open("rb") as stream, _mapped(stream) as content:
        return content.find(placeholder.encode()) != -1


def _mapped(stream: BinaryIO) -> mmap.mmap:
    return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)


def _rewritten_entry(file: Any, prefix: Path, image_prefix: str, mode: int) -> TarEntry:
    def rewrite() -> BinaryIO:
        return io.BytesIO(_rewritten(file, prefix, image_prefix))

    # The size must be known before the content is framed; rewriting twice costs less than keeping it.
    size = len(_rewritten(file, prefix, image_prefix))
    return TarEntry(path=file.target, kind=EntryKind.FILE, mode=mode, size=size, content=rewrite)


def _rewritten(file: Any, prefix: Path, image_prefix: str) -> bytes:
    from conda_pack.core import Packer

    sink = _Sink()
    Packer(str(prefix), sink, image_prefix).add(file)
    return sink.content[file.target]


def _activation_scripts(prefix: Path, image_prefix: str) -> Iterator[TarEntry]:
    from conda_pack.core import Packer

    sink = _Sink()
    Packer(str(prefix), sink, image_prefix).finish()
    for target in sorted(sink.content):
        yield file_entry(target, sink.content[target], sink.modes[target])


@dataclass
class _Sink:
    """The archive that `Packer` writes to: its two methods, keeping what they are given."""

    content: dict[str, bytes] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)

    def add(self, source: str, target: str) -> None:
        self.add_bytes(source, Path(source).read_bytes(), target)

    def add_bytes(self, source: str, data: bytes, target: str) -> None:
        self.content[target] = data
        self.modes[target] = 0o755 if Path(source).stat().st_mode & 0o111 else 0o644
