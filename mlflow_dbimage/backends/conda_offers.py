"""Records of channels as offers: which of them the target's Python and glibc allow."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import rattler
from rattler.exceptions import InvalidMatchSpecError

from mlflow_dbimage.backends.conda_records import Channel, package_of
from mlflow_dbimage.locking.environment_solver import CondaRequest
from mlflow_dbimage.locking.exact_packages import CondaOffer


def offers_of(
    records: Sequence[rattler.RepoDataRecord], channels: Sequence[Channel], request: CondaRequest
) -> tuple[CondaOffer, ...]:
    """Return what channels offer, in the order of the channels.

    Args:
        records: Of the channels; those without a sha256 cannot be locked, and are left out.
        channels: That were asked.
        request: Says the target's Python and glibc, and the day after which nothing is taken.
    """
    unfit = _fitness(request)
    newest = request.exclude_newer
    usable = [
        record
        for record in records
        if record.sha256 is not None and (newest is None or record.timestamp is None or record.timestamp <= newest)
    ]
    offers = [
        CondaOffer(package=package_of(record, channels), unfit=_first(unfit, record.depends)) for record in usable
    ]
    order = {channel.canonical: at for at, channel in reversed(list(enumerate(channels)))}
    return tuple(sorted(offers, key=lambda offer: _place(offer, order)))


def _place(offer: CondaOffer, order: dict[str, int]) -> int:
    channel = offer.package.canonical_url.rsplit("/", 2)[0]
    return order.get(channel, len(order))


def _first(unfit: Callable[[str], str | None], depends: Sequence[str]) -> str | None:
    return next(filter(None, map(unfit, depends)), None)


def _fitness(request: CondaRequest) -> Callable[[str], str | None]:
    """Return what says of a dependency why the target does not have it; other packages' are not asked for."""
    have = {
        "python": _record("python", request.python, request.platform),
        "__glibc": _record("__glibc", request.glibc, request.platform),
    }

    @functools.cache
    def unfit(dependency: str) -> str | None:
        name = dependency.split(" ", 1)[0]
        if name not in have:
            return None
        try:
            fits = rattler.MatchSpec(dependency).matches(have[name])
        except InvalidMatchSpecError:
            return None
        wanted = dependency.removeprefix(name).strip()
        what = "glibc" if name == "__glibc" else "Python"
        return None if fits else f"that build needs {what} {wanted}"

    return unfit


def _record(name: str, version: str, platform: str) -> rattler.PackageRecord:
    return rattler.PackageRecord(name, version, rattler.BuildString("0"), 0, platform)
