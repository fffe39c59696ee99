"""The licences of an environment's packages, as they say them themselves.

Source: PEP 639 (`License-Expression`) and the core metadata before it (`License`, classifiers); `license` of
conda's package records.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path

from packaging.utils import canonicalize_name

_CLASSIFIER = "License :: "
_TRADEMARK = "OSI Approved :: "
#: Longer ones are the licence's text rather than its name.
_LONGEST = 80

Licences = Mapping[tuple[str, str], str]
"""By manager (`conda` or `pip`) and name."""


def read_licences(prefix: Path) -> dict[tuple[str, str], str]:
    """Read the licences of all packages that are installed in a prefix; who says none is left out."""
    return {**_of_conda(prefix), **_of_wheels(prefix)}


def _of_conda(prefix: Path) -> dict[tuple[str, str], str]:
    found = {}
    for path in sorted((prefix / "conda-meta").glob("*.json")):
        record = json.loads(path.read_bytes())
        licence = _name_of(str(record.get("license") or ""))
        if licence is not None:
            found["conda", str(record["name"])] = licence
    return found


def _of_wheels(prefix: Path) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    for path in sorted(prefix.glob("lib/python3*/site-packages/*.dist-info/METADATA")):
        metadata = HeaderParser().parsestr(path.read_text(encoding="utf-8", errors="replace"))
        licence = _of_metadata(metadata)
        if licence is not None:
            name = canonicalize_name(str(metadata.get("Name") or ""))
            found["pip", name] = licence
    return found


def _of_metadata(metadata: Message) -> str | None:
    for field in ("License-Expression", "License"):
        licence = _name_of(str(metadata.get(field) or ""))
        if licence is not None:
            return licence
    classified = [
        str(each)[len(_CLASSIFIER) :].removeprefix(_TRADEMARK)
        for each in metadata.get_all("Classifier") or ()
        if str(each).startswith(_CLASSIFIER)
    ]
    return _name_of(", ".join(classified))


def _name_of(text: str) -> str | None:
    text = text.strip()
    known = text and "\n" not in text and len(text) <= _LONGEST and text.upper() != "UNKNOWN"
    return text if known else None
