"""What any request for an image has: settings, and what they say of the image and of finding its packages."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mlflow_dbimage.locked_env import LockedEnv
from mlflow_dbimage.locking.environment_solver import EnvironmentOptions
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """An image that somebody wants."""

    settings: Settings

    @property
    def platform(self) -> Platform:
        """The platform of the image."""
        return self.settings.platform

    @property
    def compression(self) -> str:
        """How layers are compressed: `gzip` or `zstd`."""
        return self.settings.compression

    @property
    def layers(self) -> int:
        """Most layers that the environment's packages may take."""
        return self.settings.layers

    def environment_options(self, glibc: str, kept: LockedEnv | None = None) -> EnvironmentOptions:
        """Return how to find the environment's packages.

        Args:
            glibc: Of what lies below the environment.
            kept: The packages of the base that stay unless others are asked for; None where there are none.
        """
        settings = self.settings
        options = EnvironmentOptions(
            platform=settings.platform,
            glibc=glibc,
            channel_map=settings.channel_map,
            channels=settings.channels or None,
            index_url=settings.index_url,
            extra_index_urls=settings.extra_index_url,
            exclude_newer=settings.exclude_newer,
            offline=settings.offline,
            local_version_indexes=settings.local_version_indexes,
        )
        return options if kept is None else replace(options, kept=kept.as_kept())
