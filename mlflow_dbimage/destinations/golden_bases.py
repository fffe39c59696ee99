"""Golden bases at a destination: how they are called there, and how they are found again.

They stand beside the deployments and never among them: in a registry as `{prefix}/bases/<name>`, in a layout
under tags that begin with `base-`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from mlflow_dbimage.base_record import BaseRecord
from mlflow_dbimage.build_receipt import RECORD_LABEL
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.progress import Progress

#: Where the names of deployments and bases share a place, those of bases begin so.
MARK = "base-"

_CURRENT = "base"
_UNIQUE = re.compile(rf"{MARK}(?P<name>.+)-[0-9a-f]{{12}}")


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenBase:
    """A golden base that has a name."""

    name: str
    reference: str
    """A base image's location, by digest where the destination has digests."""
    digest: str
    tags: tuple[str, ...]
    record: BaseRecord
    size: int
    """Bytes of all layers, as `Deployment.size`."""

    def to_dict(self) -> dict[str, Any]:
        """Give what people want to know of it, flat."""
        return {
            "name": self.name,
            "reference": self.reference,
            "digest": self.digest,
            "runtime": self.record.runtime,
            "python": self.record.python,
            "packages": self.record.packages,
            "drift": len(self.record.drift),
            "size": self.size,
            "tags": list(self.tags),
            "record": asdict(self.record),
        }


class BaseShelf(Protocol):
    """Where golden bases are kept."""

    def bases(self) -> tuple[GoldenBase, ...]:
        """List them, by name."""

    def put(self, name: str, image: Image, progress: Progress) -> GoldenBase:
        """Write a base and name it, its own tag last.

        Raises:
            InputError: `already-deployed`, something else is in the way.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseTags:
    """How the tags of a golden base are made.

    Attributes:
        named: Whether tags begin with its name: where many share a place.
        immutable: Whether only tags that never move are made.
        extra: A further tag that the user wants, or None.
    """

    named: bool
    immutable: bool = False
    extra: str | None = None

    def tags(self, name: str, digest: Digest) -> tuple[str, ...]:
        """Return the tags to set, the one that moves last."""
        current = self.current(name)
        extra = () if self.extra is None else (f"{current}-{self.extra}" if self.named else self.extra,)
        return (f"{current}-{digest.short}", *extra, *(() if self.immutable else (current,)))

    def current(self, name: str) -> str:
        """Return the tag of the newest build."""
        return f"{MARK}{name}" if self.named else _CURRENT

    def names(self, tags: Iterable[str]) -> tuple[str, ...]:
        """Return the names that tags speak of, where tags begin with names."""
        found = (_UNIQUE.fullmatch(tag) for tag in tags)
        return tuple(sorted({match["name"] for match in found if match is not None}))

    def listed(self, name: str, tags: Iterable[str]) -> tuple[str, ...]:
        """Return, of all tags, those of the images to list: the newest, or all where no tag moves."""
        own = self.of_name(name, tags)
        current = self.current(name)
        return (current,) if current in own else tuple(tag for tag in own if _is_unique(tag, current))

    def of_name(self, name: str, tags: Iterable[str]) -> tuple[str, ...]:
        """Return those of `tags` that belong to a base."""
        current = self.current(name)
        return tuple(sorted(tag for tag in tags if tag == current or _is_unique(tag, current) or not self.named))


def _is_unique(tag: str, current: str) -> bool:
    return re.fullmatch(rf"{re.escape(current)}-[0-9a-f]{{12}}", tag) is not None


def base_of(name: str, reference: str, image: Image, tags: Iterable[str]) -> GoldenBase | None:
    """Describe an image that is a golden base; None where it is not."""
    record = record_of_base(image.labels)
    if record is None:
        return None
    return GoldenBase(
        name=name,
        reference=reference,
        digest=str(image.digest),
        tags=tuple(tags),
        record=record,
        size=sum(layer.descriptor.size for layer in image.layers),
    )


def record_of_base(labels: Mapping[str, str]) -> BaseRecord | None:
    """Return the record of an image that is a golden base; None also for images on top of one."""
    return None if RECORD_LABEL in labels else BaseRecord.from_labels(labels)
