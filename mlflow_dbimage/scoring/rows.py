"""The rows of a job's input: which files, in which format, and their chunks one after the other."""

from __future__ import annotations

import glob
import io
import os
import sys
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Dict, Iterator, List, Optional, Set, TextIO

from .bodies import Body, read_body
from .chunk import Chunk, chunk_of_rows
from .failures import BadInput, BadRequest
from .row_formats import read_csv, read_jsonl, read_parquet

STREAM = "-"
INPUT_FORMATS = ("csv", "jsonl", "json", "parquet")
_SUFFIXES = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
}


class Rows:
    """The rows of all files of an input.

    Args:
        place: A file, a folder of part files, a glob pattern, or `-` for the standard input.
        form: One of `INPUT_FORMATS`, or None to go by the files' names.
        chunk_rows: How many rows a chunk has at most.

    Raises:
        BadRequest: The format cannot be told, or cannot be read from a stream.
        BadInput: There is no such file.
    """

    def __init__(self, place: str, form: Optional[str], chunk_rows: int) -> None:
        self.files = find_files(place)
        self.form = form or _common_format(self.files)
        self._chunk_rows = chunk_rows
        if place == STREAM and self.form == "parquet":
            raise BadRequest("Parquet cannot be read from the standard input: name a file")
        self._bodies: Dict[str, Body] = {}
        if self.form == "json":
            for path in self.files:
                with _reading(path), _text(path) as stream:
                    self._bodies[path] = read_body(stream)

    @property
    def params(self) -> Dict[str, Any]:
        """The parameters that a JSON body brings along."""
        merged: Dict[str, Any] = {}
        for body in self._bodies.values():
            merged.update(body.params or {})
        return merged

    def chunks(self, wanted: Optional[Set[str]]) -> Iterator[Chunk]:
        """Read all rows, in order.

        Args:
            wanted: Columns that a format which can leave others out should read; None for all.

        Raises:
            BadInput: A file cannot be read.
        """
        first = 1
        for path in self.files:
            with _reading(path):
                for chunk in self._file_chunks(path, wanted):
                    yield replace(chunk, first=first, source=path)
                    first += chunk.size

    def _file_chunks(self, path: str, wanted: Optional[Set[str]]) -> Iterator[Chunk]:
        if self.form == "parquet":
            yield from read_parquet(path, self._chunk_rows, wanted)
            return
        if self.form == "json":
            rows = self._bodies[path].rows
            for start in range(0, len(rows), self._chunk_rows):
                yield chunk_of_rows(rows[start : start + self._chunk_rows])
            return
        with _text(path) as stream:
            yield from (read_csv if self.form == "csv" else read_jsonl)(stream, self._chunk_rows)


def find_files(place: str) -> List[str]:
    """Return the files that an input names, in the order of their names.

    Raises:
        BadInput: There are none.
    """
    if place == STREAM:
        return [place]
    if os.path.isdir(place):
        found = sorted(
            os.path.join(place, name)
            for name in os.listdir(place)
            if name[0] not in "._" and os.path.isfile(os.path.join(place, name))
        )
        if not found:
            raise BadInput("the folder `%s` has no files to score" % place)
        return found
    if not os.path.exists(place):
        found = sorted(path for path in glob.glob(place, recursive=True) if os.path.isfile(path))
        if not found:
            raise BadInput("no such file: `%s`" % place)
        return found
    return [place]


def format_of(path: str) -> Optional[str]:
    """Tell the format by a file's name; None where it does not tell."""
    return _SUFFIXES.get(os.path.splitext(path)[1].lower())


def _common_format(files: List[str]) -> str:
    if files == [STREAM]:
        raise BadRequest("the standard input has no name that tells its format: give --input-format")
    formats = {path: format_of(path) for path in files}
    for path, form in formats.items():
        if form is None:
            raise BadRequest("the name `%s` does not tell its format: give --input-format" % path)
    if len(set(formats.values())) > 1:
        raise BadRequest(
            "the files are of several formats: %s" % ", ".join(sorted(set(map(str, formats.values()))))
        )
    return str(formats[files[0]])


@contextmanager
def _text(path: str) -> Iterator[TextIO]:
    if path == STREAM:
        yield io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", newline="")
        return
    with open(path, encoding="utf-8-sig", newline="") as stream:
        yield stream


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """Name the file in what goes wrong while it is read."""
    name = "the standard input" if path == STREAM else "`%s`" % path
    try:
        yield
    except BadInput as error:
        raise BadInput("cannot read %s: %s" % (name, error)) from error
    except UnicodeDecodeError as error:
        raise BadInput("cannot read %s: it is no UTF-8 text" % name) from error
    except OSError as error:
        raise BadInput("cannot read %s: %s" % (name, error.strerror or error)) from error
