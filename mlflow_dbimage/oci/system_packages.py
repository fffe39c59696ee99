"""The packages that dpkg knows as installed in a root file system.

Source: Debian Policy 5.1, "Syntax of control files"; dpkg(1), "INFORMATION ABOUT PACKAGES"; deb-src-control(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

#: Where dpkg keeps what it knows; images without dpkg (distroless) have a file for each package.
STATUS = re.compile(r"var/lib/dpkg/status(?:\.d/[^/]+)?")

#: Larger files are none of dpkg's.
MOST_STATUS = 32 << 20

_FIELD = re.compile(r"^(Package|Status|Version|Architecture|Source):[ \t]*(.*)$", re.MULTILINE)
_SOURCE = re.compile(r"(?P<name>\S+)(?:\s+\((?P<version>[^)]+)\))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemPackage:
    """One package of the operating system."""

    name: str
    version: str
    """With epoch and revision."""
    architecture: str
    source: str | None
    """Name and version of its source package (`openssl@3.0.1-1`), where either is another than its own."""

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        return asdict(self)


def read_status(texts: Iterable[str]) -> tuple[SystemPackage, ...]:
    """Read the packages that are installed; paragraphs that say too little are passed over.

    Args:
        texts: Contents of the files that `STATUS` names.
    """
    paragraphs = (paragraph for text in texts for paragraph in re.split(r"\n[ \t]*\n", text))
    found = {package.name: package for each in paragraphs if (package := _package(each)) is not None}
    return tuple(found[name] for name in sorted(found))


def _package(paragraph: str) -> SystemPackage | None:
    fields = dict(_FIELD.findall(paragraph))
    # Files of distroless images have no status: what is there is installed.
    if not fields.get("Status", "install ok installed").endswith(" installed"):
        return None
    name, version = fields.get("Package", "").strip(), fields.get("Version", "").strip()
    if not name or not version:
        return None
    return SystemPackage(
        name=name,
        version=version,
        architecture=fields.get("Architecture", "").strip() or "all",
        source=_source(fields.get("Source", ""), name, version),
    )


def _source(text: str, name: str, version: str) -> str | None:
    match = _SOURCE.match(text.strip())
    if match is None:
        return None
    known = (match["name"], match["version"] or version)
    return None if known == (name, version) else "@".join(known)
