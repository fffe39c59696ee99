"""Which wheel of a distribution an environment takes: that of the most specific tag that its platform has.

The tags are those of the target, not of the Python that runs this: its minor version, its processor, and the
glibc of its base image.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import BuildTag, InvalidWheelFilename, parse_wheel_filename

from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.target_markers import MACHINES

# PEP 600: the older names of three glibc versions, and the oldest glibc of any tag.
_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
_OLDEST_GLIBC = {"x86_64": 5}
_OLDEST_GLIBC_ELSEWHERE = 17


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedWheel:
    """A wheel that an index or the model has."""

    file_name: str
    sha256: str | None
    size: int | None = None
    url: str | None = None
    path: str | None = None


@lru_cache(maxsize=8)
def tags(python_minor: str, glibc: str, platform: Platform) -> tuple[Tag, ...]:
    """Return the wheel tags that an environment can take, best first.

    Source: PEP 425 and PEP 600.
    """
    major, minor = (int(part) for part in python_minor.split("."))
    platforms = list(_platforms(glibc, MACHINES[platform.architecture]))
    interpreter = f"cp{major}{minor}"
    abi = interpreter + ("m" if (major, minor) < (3, 8) else "")
    return (
        *cpython_tags((major, minor), [abi], platforms),
        *compatible_tags((major, minor), interpreter, platforms),
    )


def choose(offered: Sequence[OfferedWheel], wanted: Sequence[Tag]) -> OfferedWheel | None:
    """Return the best of some wheels of one version, or None where none fits.

    Among wheels of the same rank the highest build number wins, then the name.
    """
    rank = {tag: index for index, tag in enumerate(wanted)}
    best: tuple[int, tuple[int, str], str] | None = None
    chosen: OfferedWheel | None = None
    for wheel in offered:
        parsed = _parsed(wheel.file_name)
        if parsed is None:
            continue
        build, wheel_tags = parsed
        ranks = [rank[tag] for tag in wheel_tags if tag in rank]
        if not ranks:
            continue
        key = (-min(ranks), (build[0], build[1]) if build else (-1, ""), wheel.file_name)
        if best is None or key > best:
            best, chosen = key, wheel
    return chosen


def _parsed(file_name: str) -> tuple[BuildTag, Iterable[Tag]] | None:
    try:
        _, _, build, wheel_tags = parse_wheel_filename(file_name)
    except InvalidWheelFilename:
        return None
    return build, wheel_tags


def _platforms(glibc: str, architecture: str) -> Iterator[str]:
    newest = int(glibc.split(".")[1])
    for minor in range(newest, _OLDEST_GLIBC.get(architecture, _OLDEST_GLIBC_ELSEWHERE) - 1, -1):
        yield f"manylinux_2_{minor}_{architecture}"
        if minor in _LEGACY:
            yield f"{_LEGACY[minor]}_{architecture}"
    yield f"linux_{architecture}"
