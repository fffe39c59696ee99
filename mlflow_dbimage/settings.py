"""All settings: one table of keys, from which come `-C` parsing, the configuration file and the environment.

`Settings` is the table: a field is a key, with its kind, default and documentation. `settings_sources` finds
the values: what a caller gives, then `DBIMAGE_<KEY>`, then the project's `dbimage.toml`, then the user's.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import platformdirs

from mlflow_dbimage import setting_kinds as kinds
from mlflow_dbimage.image_check import Mode
from mlflow_dbimage.image_location import ImageLocation
from mlflow_dbimage.oci.descriptor import Platform

APPLICATION = "dbimage"

_EMPTY: Mapping[str, Any] = MappingProxyType({})


class Scope(enum.Enum):
    """Where a key may be set."""

    BUILD = "build"
    """Anywhere: for one deployment, in the environment, in a file."""
    EXPERT = "expert"
    """As BUILD; few people need it."""
    CALL = "call"
    """For one deployment or in the environment."""
    SITE = "site"
    """In the environment or a file."""
    RUN = "run"
    """For one local run, nowhere else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One setting: its name, what it takes, and what it is for."""

    name: str
    kind: kinds.Kind
    default_text: str
    """The default for people; empty where nothing is set."""
    scope: Scope
    doc: str

    @property
    def variable(self) -> str:
        """The environment variable."""
        return f"DBIMAGE_{self.name.upper()}"


def _key(
    kind: kinds.Kind, doc: str, *, scope: Scope = Scope.BUILD, default: str | None = None
) -> dict[str, object]:
    """Make the metadata of a field that is a key; `default` is what people read of its default."""
    return {"kind": kind, "doc": doc, "scope": scope, "default_text": default}


_expert = partial(_key, scope=Scope.EXPERT)
_site = partial(_key, scope=Scope.SITE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting with its value; `origins` says where those that are not defaults came from."""

    runtime: str | None = field(
        default=None,
        metadata=_key(kinds.TEXT, "the Databricks Runtime to match, such as `15.4-lts` or `15.4-lts-ml`"),
    )
    base_image: ImageLocation | None = field(
        default=None, metadata=_key(kinds.BASE, "base image to build on, in the place of the runtime's own")
    )
    env_layout: str = field(
        default="auto",
        metadata=_key(
            kinds.choice("auto", "isolated", "overlay", "cluster"),
            "where the environment goes: alone, over a golden base's, or into the cluster's Python",
        ),
    )
    channels: tuple[str, ...] = field(
        default=(), metadata=_key(kinds.CHANNELS, "conda channels to use instead of the model's, first is first")
    )
    index_url: str | None = field(
        default=None, metadata=_key(kinds.URL, "package index for the pip part", default="as `uv` is configured")
    )
    extra_index_url: tuple[str, ...] = field(default=(), metadata=_key(kinds.URLS, "further package indexes"))
    exclude_newer: datetime | None = field(
        default=None,
        metadata=_key(
            kinds.MOMENT,
            "resolve what the model leaves unpinned as of then; a date means to its end, in UTC",
            default="the day on which the model was logged",
        ),
    )
    offline: bool = field(
        default=False, metadata=_key(kinds.FLAG, "use no network to make the environment, only the caches")
    )
    platform: Platform = field(
        default=Platform("linux", "amd64"),
        metadata=_key(kinds.PLATFORM, "platform of the image", default="linux/amd64"),
    )
    tag: str | None = field(default=None, metadata=_key(kinds.TAG, "a further tag to set"))
    repository: str = field(
        default="{prefix}/{name}", metadata=_key(kinds.REPOSITORY, "repository of a deployment in a registry")
    )
    immutable_tags: bool = field(default=False, metadata=_key(kinds.FLAG, "set only tags that never move"))
    load: str = field(
        default="auto",
        metadata=_key(
            kinds.choice("auto", "never"),
            "whether what goes to the default destination is also loaded into a Docker engine that answers",
        ),
    )
    insecure: bool = field(default=False, metadata=_key(kinds.FLAG, "reach the registry by plain http"))
    ca_cert: Path | None = field(
        default=None, metadata=_key(kinds.FILE, "certificates (PEM) to trust besides the system's")
    )
    verify: Mode = field(
        default="auto",
        metadata=_key(
            kinds.choice("auto", "engine", "static", "none"),
            "how an image is proven before it gets its name: run in the best way there is, run by an engine,"
            " looked at, or not at all",
        ),
    )
    expected_output: Path | None = field(
        default=None,
        metadata=_key(
            kinds.FILE,
            "predictions that the model should give for its example, as `score` writes them",
            default="`expected_output.json` of the model, if it has one",
        ),
    )
    dry_run: bool = field(
        default=False,
        metadata=_key(kinds.FLAG, "plan the build, say what it would do, and stop", scope=Scope.CALL),
    )
    config: Path | None = field(
        default=None,
        metadata=_key(
            kinds.FILE, "configuration file to read instead of the project's and the user's", scope=Scope.CALL
        ),
    )

    sign_key: str | None = field(
        default=None,
        metadata=_key(
            kinds.TEXT, "private key (PEM) or plugin's URI that signs images and statements; or `sigstore`"
        ),
    )
    sbom: str = field(
        default="cyclonedx",
        metadata=_expert(
            kinds.choice("cyclonedx", "spdx", "none"),
            "form of the bill of materials that is attached; `spdx` adds to CycloneDX",
        ),
    )
    compression: str = field(
        default="gzip", metadata=_expert(kinds.choice("gzip", "zstd"), "how layers are compressed")
    )
    bytecode: str = field(
        default="imported",
        metadata=_expert(
            kinds.choice("imported", "all", "none"),
            "which modules get byte code: those that the model imports, all, or none",
        ),
    )
    layers: int = field(
        default=12,
        metadata=_expert(
            kinds.integer(1, 40), "most layers that the environment's packages may take; its lock has one more"
        ),
    )
    shared_cache: str = field(
        default="auto",
        metadata=_expert(
            kinds.choice("auto", "renew", "off"),
            "records in the registry that images go to, by which other machines need not make what one has made:"
            " used, replaced with what is solved anew, or neither read nor written",
        ),
    )
    sandbox: str = field(
        default="auto",
        metadata=_expert(
            kinds.choice("auto", "required"), "the sandbox of models' code: the best there is, or a real one"
        ),
    )
    model_seconds: int = field(
        default=900, metadata=_expert(kinds.integer(1, 86400), "seconds that a model may take to load and predict")
    )
    model_memory: int | None = field(
        default=None,
        metadata=_expert(kinds.integer(1, 10**8), "its memory meanwhile, in MB", default="three quarters"),
    )
    model_disk: int = field(
        default=10_000, metadata=_expert(kinds.integer(1, 10**8), "what it may write meanwhile, in MB")
    )

    target: ImageLocation | None = field(
        default=None,
        metadata=_site(
            kinds.TARGET, "destination where none is named", default="an OCI layout in the user's data folder"
        ),
    )
    cache_dir: Path = field(
        default_factory=lambda: Path(platformdirs.user_cache_dir(APPLICATION)),
        metadata=_site(kinds.PATH, "folder of the caches", default="the user's cache folder"),
    )
    cache_mb: int = field(
        default=50_000,
        metadata=_site(
            kinds.integer(1, 10**9),
            "how many MB the caches may hold before what was not used for longest goes",
        ),
    )
    channel_map: Mapping[str, str] = field(
        default_factory=lambda: _EMPTY,
        metadata=_site(kinds.URL_TABLE, "where conda channels are found, by name (also `defaults`)"),
    )
    local_version_indexes: Mapping[str, str] = field(
        default_factory=lambda: _EMPTY,
        metadata=_site(
            kinds.URL_TABLE,
            "package indexes of local versions, by label (`+cu117`), for lines such as `torch==1.13.1+cu117`",
        ),
    )
    bases: Mapping[str, ImageLocation] = field(
        default_factory=lambda: _EMPTY, metadata=_site(kinds.BASE_TABLE, "base images of runtimes, by runtime")
    )
    runtimes_dir: Path | None = field(
        default=None, metadata=_site(kinds.PATH, "folder with further runtime descriptions")
    )
    apt_mirror: str | None = field(
        default=None,
        metadata=_site(kinds.URL, "apt mirror of `apt:` bases", default="as this machine's apt is configured"),
    )
    apt_packages: tuple[str, ...] = field(
        default=(), metadata=_site(kinds.NAMES, "packages to add to `apt:` bases")
    )

    rules: tuple[Mapping[str, object], ...] = field(
        default=(), metadata=_site(kinds.RULES, "which events of the registry build what; first match wins")
    )
    service_database: str | None = field(
        default=None,
        metadata=_site(
            kinds.service_url("sqlite", "postgresql"),
            "database of the service's builds",
            default="an SQLite file in the user's data folder",
        ),
    )
    service_queue: str | None = field(
        default=None,
        metadata=_site(
            kinds.service_url("redis", "rediss"),
            "queue of the service's builds",
            default="an SQLite file in the user's data folder",
        ),
    )
    service_token: kinds.Secret | None = field(
        default=None, metadata=_site(kinds.TOKEN, "what people and programs show that may see and change builds")
    )
    service_proxy_header: str | None = field(
        default=None, metadata=_site(kinds.HEADER, "header in which a proxy of `service_proxies` names its user")
    )
    service_proxies: tuple[kinds.Network, ...] = field(
        default=(), metadata=_site(kinds.NETWORKS, "proxies whose `service_proxy_header` is believed")
    )
    webhook_secrets: tuple[kinds.Secret, ...] = field(
        default=(),
        metadata=_site(kinds.SECRETS, "secrets that sign deliveries; two while one takes the other's place"),
    )
    webhook_unsigned: bool = field(
        default=False, metadata=_site(kinds.FLAG, "take deliveries that nobody signed, too")
    )
    worker_builds: int = field(
        default=1, metadata=_site(kinds.integer(1, 64), "builds that a worker runs at a time")
    )
    worker_grace: int = field(
        default=30,
        metadata=_site(
            kinds.integer(0, 86400),
            "seconds that a worker which is told to stop gives its builds, before it hands them back",
        ),
    )
    build_timeout: int = field(
        default=3600, metadata=_site(kinds.integer(1, 604800), "seconds that a build of the service may take")
    )
    build_attempts: int = field(
        default=5,
        metadata=_site(kinds.integer(1, 1000), "how often a build is begun that fails for what may pass"),
    )
    build_retry: int = field(
        default=10,
        metadata=_site(
            kinds.integer(1, 3600),
            "seconds before a build's second attempt; twice as long before each further one",
        ),
    )
    build_lease: int = field(
        default=60,
        metadata=_site(
            kinds.integer(2, 86400),
            "seconds without a sign of life after which a worker's builds are given to others",
        ),
    )
    build_keep: int = field(
        default=90,
        metadata=_site(
            kinds.integer(0, 36500),
            "days that the service keeps logs and deliveries of builds that ended; 0 is for ever",
        ),
    )
    reconcile_every: int = field(
        default=300,
        metadata=_site(
            kinds.integer(0, 604800), "seconds between looks at the registry for what no event told; 0 is never"
        ),
    )
    reconcile_models: tuple[str, ...] = field(
        default=(),
        metadata=_site(
            kinds.NAMES,
            "models to look at, as `model`, or `catalog.schema` and `catalog.schema.model` of Unity Catalog",
            default="all, but none of Unity Catalog",
        ),
    )

    input: Path | None = field(
        default=None,
        metadata=_key(kinds.FILE, "rows to score", scope=Scope.RUN, default="the model's own example"),
    )
    output: Path | None = field(
        default=None,
        metadata=_key(kinds.PATH, "file for the predictions", scope=Scope.RUN, default="the standard output"),
    )

    origins: Mapping[str, str] = field(default_factory=dict)
    """By key, where its value came from; a key that is not here has its default."""
    warnings: tuple[str, ...] = ()
    """What was ignored and might have been meant."""

    @property
    def destination(self) -> ImageLocation:
        """The target, or the default one: an OCI layout in the user's data folder."""
        if self.target is not None:
            return self.target
        return ImageLocation(transport="oci", path=self.data_dir / "images")

    @property
    def data_dir(self) -> Path:
        """The user's data folder: the default destination, and what the service keeps."""
        return Path(platformdirs.user_data_dir(APPLICATION))

    def explained(self) -> tuple[tuple[str, object, str], ...]:
        """Give name, value as JSON with its secrets masked, and origin of every key."""
        return tuple(
            (key.name, kinds.shown(getattr(self, key.name)), self.origins.get(key.name, "default"))
            for key in KEYS
            if key.scope is not Scope.RUN
        )


def _keys() -> tuple[Key, ...]:
    declared = [each for each in fields(Settings) if "kind" in each.metadata]
    return tuple(_described(each.name, each.default, each.metadata) for each in declared)


def _described(name: str, default: object, metadata: Mapping[str, Any]) -> Key:
    text = metadata["default_text"]
    if text is None:
        nothing = default is None or default is MISSING or default == ()
        text = "" if nothing else str(default).lower() if isinstance(default, bool) else str(default)
    return Key(name=name, kind=metadata["kind"], default_text=text, scope=metadata["scope"], doc=metadata["doc"])


#: Every key, in the order of the documentation.
KEYS: tuple[Key, ...] = _keys()
