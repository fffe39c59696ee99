"""Conda packages between rattler's records and ours, and channels by name, mirror and canonical URL."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import rattler
from rattler.exceptions import InvalidChannelError

from mlflow_dbimage.errors import InputError, ServiceError
from mlflow_dbimage.locking.field_checks import checked_conda
from mlflow_dbimage.locking.lock_inputs import without_credentials
from mlflow_dbimage.locking.locked_packages import CondaPackage

# What Anaconda's `defaults` stands for on Linux.
_DEFAULTS = ("https://repo.anaconda.com/pkgs/main", "https://repo.anaconda.com/pkgs/r")

_MOST_SHOWN = 10

# What every record has as a field of its own, or what differs between mirrors of one channel.
_NOT_METADATA = frozenset(
    ("name", "version", "build", "build_number", "subdir", "sha256", "size", "fn", "url", "channel")
) | {"indexed_timestamp"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A channel to search."""

    name: str
    """As the model or the configuration names it, without credentials."""
    url: str
    """Where it is read, perhaps a mirror; without credentials and without a slash at the end."""
    secret_url: str
    """The same with the credentials that it was configured with."""
    canonical: str
    """The public URL that its name stands for; no slash at the end."""


def channels_of(names: Sequence[str], channel_map: Mapping[str, str]) -> list[Channel]:
    """Return the channels of some names, in their order; `nodefaults` is none.

    Raises:
        InputError: `model-environment-invalid`, one is no name or URL of a channel.
    """
    channels: list[Channel] = []
    for name in names:
        if name == "nodefaults":
            continue
        mapped = channel_map.get(name)
        canonical = _DEFAULTS if name == "defaults" else (without_credentials(_base_url(name)),)
        places = (mapped,) if mapped else _DEFAULTS if name == "defaults" else (_base_url(name),)
        channels += [
            Channel(
                name=without_credentials(name),
                url=without_credentials(url).rstrip("/"),
                secret_url=url.rstrip("/"),
                canonical=public.rstrip("/"),
            )
            for url, public in zip(places, canonical, strict=False)
        ]
    return channels


def package_of(record: rattler.RepoDataRecord, channels: Sequence[Channel]) -> CondaPackage:
    """Return a solved record as a package of a lock, without credentials."""
    data = json.loads(record.to_json())
    subdir = data["url"].rsplit("/", 2)[1]  # what it says of itself may be another
    channel = next(each for each in channels if data["url"].startswith(f"{each.url}/"))
    place = f"{subdir}/{data['fn']}"
    return CondaPackage(
        name=data["name"],
        version=data["version"],
        build=data["build"],
        build_number=data["build_number"],
        subdir=subdir,
        file_name=data["fn"],
        sha256=data.get("sha256") or "",
        size=data.get("size"),
        channel=channel.name,
        canonical_url=f"{channel.canonical}/{place}",
        url=data["url"],
        metadata={key: data[key] for key in sorted(data.keys() - _NOT_METADATA)},
    )


def must_be_sound(packages: Iterable[CondaPackage]) -> None:
    """Refuse packages of which a channel says what must not be locked or installed.

    Raises:
        ServiceError: `channel-failed`; lists all of them.
    """
    wrong = [f"`{each.channel}`: {each.file_name}: {fault}" for each in packages if (fault := _fault(each))]
    if wrong:
        listed = "\n  ".join(wrong[:_MOST_SHOWN])
        raise ServiceError(
            "channel-failed",
            f"what a conda channel says of its packages is malformed:\n  {listed}",
            hint="index the channel again, or map its name to a mirror that is right",
        )


def _fault(package: CondaPackage) -> str | None:
    if not package.sha256:
        return "the channel does not say its sha256"
    try:
        checked_conda(package)
    except ValueError as error:
        return str(error)
    return None


def record_of(package: CondaPackage) -> rattler.RepoDataRecord:
    """Return the record by which rattler fetches and installs a package of a lock."""
    known = package.metadata
    record = rattler.PackageRecord(
        package.name,
        package.version,
        rattler.BuildString(package.build),
        package.build_number,
        package.subdir,
        arch=known.get("arch"),
        platform=known.get("platform"),
        noarch=rattler.NoArchType(known.get("noarch")),
        depends=list(known.get("depends") or ()),
        constrains=list(known.get("constrains") or ()),
        sha256=bytes.fromhex(package.sha256),
        md5=bytes.fromhex(known["md5"]) if known.get("md5") else None,
        size=package.size,
        features=known.get("features"),
        license=known.get("license"),
        license_family=known.get("license_family"),
        python_site_packages_path=known.get("python_site_packages_path"),
    )
    if "timestamp" in known:
        record.timestamp = datetime.fromtimestamp(known["timestamp"] / 1000, timezone.utc)
    if known.get("track_features"):
        record.track_features = _words(known["track_features"])
    return rattler.RepoDataRecord(record, package.file_name, package.url, package.url.rsplit("/", 2)[0])


def _words(value: Any) -> list[str]:
    return value.split() if isinstance(value, str) else list(value)


def _base_url(name: str) -> str:
    try:
        return str(rattler.Channel(name).base_url)
    except InvalidChannelError:
        raise InputError(
            "model-environment-invalid", f"`{_shown(name)}` is no name or URL of a conda channel"
        ) from None


def _shown(name: str) -> str:
    try:
        return without_credentials(name)
    except ValueError:  # nobody can say where its password ends
        return f"{name.partition(':')[0]}://..."
