"""Descriptors: what a manifest says of each thing that it points to; and platforms and media types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .digest import Digest

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER_TAR = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER_TAR = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER_ZSTD = "application/vnd.docker.image.rootfs.diff.tar.zstd"

INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_INDEX})
MANIFEST_TYPES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})


@dataclass(frozen=True, slots=True)
class Platform:
    """An operating system and processor, as images name them: `linux/amd64`, `linux/arm64/v8`."""

    os: str
    architecture: str
    variant: str | None = None

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read `os/architecture[/variant]`.

        Raises:
            ValueError: The text has another form.
        """
        parts = text.split("/")
        if len(parts) not in (2, 3) or not all(parts):
            raise ValueError(f"not a platform: {text!r}")
        return cls(*parts)

    def accepts(self, other: Platform) -> bool:
        """Whether an image of platform `other` runs where this one is wanted."""
        same = (self.os, self.architecture) == (other.os, other.architecture)
        return same and (self.variant is None or other.variant in (None, self.variant))

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """Type, digest and size of a blob or manifest.

    Source: OCI image specification 1.1, descriptor.md.
    """

    media_type: str
    digest: Digest
    size: int
    """In bytes, as stored (compressed)."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: Platform | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Descriptor:
        """Read a descriptor of a manifest or index.

        Raises:
            ValueError: A required property is missing or malformed.
        """
        try:
            digest = Digest.parse(data["digest"])
            size, media_type = data["size"], data["mediaType"]
            platform = None if data.get("platform") is None else _platform(data["platform"])
            annotations = {str(key): str(value) for key, value in (data.get("annotations") or {}).items()}
        except KeyError as error:
            raise ValueError(f"a descriptor lacks {error.args[0]!r}") from None
        except (TypeError, AttributeError):
            raise ValueError(f"malformed descriptor: {data!r:.200}") from None
        if type(size) is not int or size < 0 or not isinstance(media_type, str):
            raise ValueError(f"malformed descriptor of {digest}")
        return cls(media_type=media_type, digest=digest, size=size, annotations=annotations, platform=platform)

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form, without what is empty."""
        data: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": self.size,
        }
        if self.platform is not None:
            data["platform"] = {
                key: value
                for key, value in (
                    ("os", self.platform.os),
                    ("architecture", self.platform.architecture),
                    ("variant", self.platform.variant),
                )
                if value
            }
        if self.annotations:
            data["annotations"] = dict(sorted(self.annotations.items()))
        return data


def _platform(data: Mapping[str, Any]) -> Platform:
    variant = data.get("variant")
    return Platform(str(data["os"]), str(data["architecture"]), str(variant) if variant else None)
