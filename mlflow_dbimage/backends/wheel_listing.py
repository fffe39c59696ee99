"""What `installer` does with a wheel, noted once: which files go where, which scripts are written.

A listing is kept beside the unpacked files: ownership and installing neither open nor parse the wheel again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from mlflow_dbimage.locking.package_owners import PlacedFile, WheelContents

#: Raised when the form of a listing changes, or what unpacking does: older ones count as none.
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class ListedScript:
    """A script that the installation writes, for an entry point."""

    name: str
    module: str
    attr: str
    section: str
    """`console` or `gui`."""


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file of a wheel. Its place among all of them is its name where the wheel is unpacked."""

    scheme: str
    path: str
    """Relative to the scheme's folder."""
    size: int
    sha256: str
    """Of the content: 64 hexadecimal digits."""
    executable: bool
    stated: str | None
    """The sha256 that the wheel's own RECORD states; None where it states none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelListing:
    """All that is installed of a wheel, in the order in which RECORD has it."""

    sha256: str
    """The wheel's own."""
    distribution: str
    scripts: tuple[ListedScript, ...]
    files: tuple[ListedFile, ...]
    record: tuple[str, str]
    """Scheme and path of RECORD."""
    requirements: tuple[str, ...]

    def to_bytes(self) -> bytes:
        """Give a line with the checksum of what follows, and the JSON form."""
        content = {
            "format": _FORMAT,
            "sha256": self.sha256,
            "distribution": self.distribution,
            "scripts": [[each.name, each.module, each.attr, each.section] for each in self.scripts],
            "files": [
                [each.scheme, each.path, each.size, each.sha256, each.executable, each.stated]
                for each in self.files
            ],
            "record": self.record,
            "requirements": self.requirements,
        }
        data = json.dumps(content).encode()
        return b"%b\n%b" % (_checksum(data), data)

    @classmethod
    def from_bytes(cls, data: bytes, sha256: str) -> WheelListing:
        """Read the listing of one wheel.

        Raises:
            ValueError: It is damaged, or another wheel's, or of another format.
        """
        try:
            checksum, _, rest = data.partition(b"\n")
            if checksum != _checksum(rest):
                raise ValueError("a listing that was changed")
            content: Mapping[str, Any] = json.loads(rest)
            if (content["format"], content["sha256"]) != (_FORMAT, sha256):
                raise ValueError("a listing of another wheel or format")
            scheme, path = content["record"]
            return cls(
                sha256=sha256,
                distribution=content["distribution"],
                scripts=tuple(ListedScript(*each) for each in content["scripts"]),
                files=tuple(ListedFile(*each) for each in content["files"]),
                record=(scheme, path),
                requirements=tuple(content["requirements"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"no listing: {error}") from None

    def contents(self, python_minor: str) -> WheelContents:
        """Return where each file is installed, with the hash that RECORD states, and what the wheel needs."""
        folders = schemes(python_minor, self.distribution)
        found = [
            *(("scripts", each.name, None) for each in self.scripts),
            # A script's first line is rewritten, and what is written here is in no RECORD.
            *((each.scheme, each.path, None if each.scheme == "scripts" else each.stated) for each in self.files),
            (*self.record, None),
        ]
        placed = [
            PlacedFile(scheme=scheme, path=joined(folders[scheme], path), sha256=sha256)
            for scheme, path, sha256 in found
        ]
        return WheelContents(
            files=tuple(sorted(placed, key=lambda file: file.path)),
            requires=frozenset(_required(self.requirements)),
            requirements=self.requirements,
        )


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


def joined(folder: str, path: str) -> str:
    """Join a scheme's folder and a path in it."""
    return f"{folder}/{path}" if folder else path


def _required(lines: Iterable[str]) -> Iterator[str]:
    """Yield the names of what is required without an extra."""
    for line in lines:
        with suppress(InvalidRequirement):
            requirement = Requirement(line)
            if "extra" not in str(requirement.marker or ""):
                yield canonicalize_name(requirement.name)


def _checksum(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()
