"""Conda packages by py-rattler: solved for the target's platform and glibc, fetched, and installed.

Credentials come from where rattler looks for them (its own store, `RATTLER_AUTH_FILE`, netrc, keyring) or
from a mapped channel's URL; nothing that leaves this module has them.
"""

from __future__ import annotations

import asyncio
import functools
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import rattler
from rattler.exceptions import GatewayError, InstallerError, SolverError
from rattler.package_cache import PackageCacheLayer, ValidationMode

from mlflow_dbimage.backends.conda_access import ChannelAsOf, channel_client
from mlflow_dbimage.backends.conda_archives import check_local_archives, local_path, spoil_unreadable
from mlflow_dbimage.backends.conda_contents import ContentCheck
from mlflow_dbimage.backends.conda_errors import service_error, unsolvable
from mlflow_dbimage.backends.conda_keeping import kept_or_new, with_the_rest
from mlflow_dbimage.backends.conda_offers import offers_of
from mlflow_dbimage.backends.conda_prefix import settle_shared_paths
from mlflow_dbimage.backends.conda_records import Channel, channels_of, must_be_sound, record_of
from mlflow_dbimage.backends.conda_specs import attempts, specifications, virtual_packages
from mlflow_dbimage.backends.credentials_in_urls import scrubbed, secrets_of
from mlflow_dbimage.backends.unpacking_watch import UnpackingWatch
from mlflow_dbimage.errors import ServiceError
from mlflow_dbimage.locking.environment_solver import CondaRequest, CondaSolution
from mlflow_dbimage.locking.exact_packages import CondaOffer
from mlflow_dbimage.locking.locked_packages import CondaPackage, Decision
from mlflow_dbimage.progress import Progress

# When rattler's threads are at rest: so many looks in a row in which this process used almost no processor.
_MOST_LOOKS, _QUIET_LOOKS = 100, 3
_LOOK_SECONDS, _AT_REST_SECONDS = 0.1, 0.005


class RattlerConda:
    """The `CondaBackend`.

    Args:
        cache: Where repodata and packages are kept.
        channel_map: URLs of channels by name, whose credentials are used to install a lock that was solved before.
    """

    def __init__(self, cache: Path, channel_map: Mapping[str, str] | None = None) -> None:
        self.identity = f"py-rattler {rattler.__version__}"
        self._repodata = cache / "repodata"
        self._packages = cache / "pkgs"
        self._configured = tuple((channel_map or {}).values())

    def solve(self, request: CondaRequest) -> CondaSolution:
        """Return the newest packages that the channels have for the request.

        What has no solution with the model's exact Python, or as of the day of the model, is solved with its
        minor version, then as of today; a note says so. What a base has is taken before anything newer, however
        late it was published, and what of it nothing asks for stays beside the solution.
        """
        channels = channels_of(request.channels, request.channel_map)
        self._configured = (*self._configured, *(channel.secret_url for channel in channels))
        wanted = specifications(request, channels)
        failure: SolverError | None = None
        for python, newest, note in attempts(request):
            try:
                records = self._run(
                    functools.partial(self._solve, request, channels, [python, *wanted], newest),
                    [channel.secret_url for channel in channels],
                    offline=request.offline,
                )
            except SolverError as error:
                failure = error
                continue
            solved = [kept_or_new(record, request, channels) for record in records]
            must_be_sound(solved)
            packages, contradictions = with_the_rest(solved, request)
            return CondaSolution(packages=packages, notes=(*([note] if note else []), *contradictions))
        raise unsolvable(str(failure), request, functools.partial(self._pythons, request, channels))

    async def _solve(
        self,
        request: CondaRequest,
        channels: Sequence[Channel],
        specs: Sequence[str],
        newest: datetime | None,
    ) -> Any:
        gateway = self._gateway(request, channels)
        found = [rattler.Channel(channel.url) for channel in channels]
        sources: Any = found if newest is None else [ChannelAsOf(gateway, each, newest) for each in found]
        platforms: Any = [request.platform, "noarch"]
        return await rattler.solve(
            sources=sources,
            specs=list(specs),
            gateway=gateway,
            platforms=platforms,
            locked_packages=[record_of(package) for package in request.kept],
            virtual_packages=virtual_packages(request),
        )

    def _gateway(self, request: CondaRequest, channels: Sequence[Channel]) -> rattler.Gateway:
        action: Any = "force-cache-only" if request.offline else "cache-or-fetch"
        return rattler.Gateway(
            cache_dir=self._repodata,
            default_config=rattler.SourceConfig(cache_action=action),
            client=channel_client([channel.secret_url for channel in channels]),
        )

    def offers(self, request: CondaRequest, names: Sequence[str]) -> tuple[CondaOffer, ...]:
        """Return all packages of some names, those of the first channel first, and which cannot be used."""
        channels = channels_of(request.channels, request.channel_map)
        self._configured = (*self._configured, *(channel.secret_url for channel in channels))
        platforms: Any = [request.platform, "noarch"]
        query = functools.partial(
            self._gateway(request, channels).query,
            [rattler.Channel(channel.url) for channel in channels],
            platforms,
            list(names),
            recursive=False,
        )
        found = self._run(query, [channel.secret_url for channel in channels], offline=request.offline)
        return offers_of([record for records in found for record in records], channels, request)

    def _pythons(self, request: CondaRequest, channels: Sequence[Channel]) -> tuple[str, ...]:
        """Return the versions of Python that the channels have, oldest first."""
        sources = [rattler.Channel(channel.url) for channel in channels]
        platforms: Any = [request.platform]
        query = self._gateway(request, channels).query
        records = self._run(
            functools.partial(query, sources, platforms, ["python"], recursive=False),
            [channel.secret_url for channel in channels],
            offline=request.offline,
        )
        return tuple(str(version) for version in sorted({each.version for found in records for each in found}))

    def install(
        self,
        packages: Sequence[CondaPackage],
        prefix: Path,
        platform: str,
        *,
        offline: bool,
        progress: Progress,
        image_prefix: str | None = None,
    ) -> tuple[Decision, ...]:
        """Install packages into a new prefix; scripts of packages are not run.

        What the cache has is held against its hashes first, and fetched again where it differs.

        Raises:
            InputError: `model-unsafe`, a package would write where it may not.
            ServiceError: `channel-failed`, `offline`; `disk-failed`, what is unpacked would fill the disk.
            VerificationError: `digest-mismatch`.
        """
        must_be_sound(packages)
        records = [record_of(each) for each in packages]
        content = ContentCheck(self._packages, packages)
        check_local_archives(packages)
        spoil_unreadable(self._packages, packages)
        layer = PackageCacheLayer(self._packages).with_validation_mode(ValidationMode.full())
        cache = rattler.PackageCache.from_layers([layer])
        if offline:
            self._refuse_missing(packages, records, cache)
        self._packages.mkdir(parents=True, exist_ok=True)
        watch = UnpackingWatch([self._packages, prefix.parent])
        with progress.step("installing conda packages") as step, watch:
            step.total(len(packages))
            install = functools.partial(
                rattler.install,
                records,
                prefix,
                platform=rattler.Subdir(platform),
                execute_link_scripts=False,
                show_progress=False,
                client=channel_client(self._configured),
                reporter=_Reporter(step.advance, content.look, watch),
                package_cache=cache,
                alternative_target_prefix=image_prefix,
            )
            urls = [each.url.rsplit("/", 2)[0] for each in packages]
            self._install(functools.partial(self._run, install, urls, offline=offline), content, watch)
        return settle_shared_paths(prefix)

    @staticmethod
    def _install(run: Callable[[], None], content: ContentCheck, watch: UnpackingWatch) -> None:
        try:
            run()
        except BaseException:  # Ctrl-C as well
            _let_workers_end()
            content.refuse()
            watch.refuse()
            raise
        content.refuse()

    def validators(self, request: CondaRequest) -> dict[str, str]:
        """Return size and time of the index of each channel that is a local directory."""
        known: dict[str, str] = {}
        for channel in channels_of(request.channels, request.channel_map):
            for subdir in (request.platform, "noarch"):
                index = local_path(f"{channel.url}/{subdir}/repodata.json")
                if index is not None and index.is_file():
                    status = index.stat()
                    known[f"{channel.name}/{subdir}"] = f"{status.st_size}-{status.st_mtime_ns}"
        return known

    def _refuse_missing(
        self,
        packages: Sequence[CondaPackage],
        records: Sequence[rattler.RepoDataRecord],
        cache: rattler.PackageCache,
    ) -> None:
        index = asyncio.run(cache.index())
        missing = [
            each.file_name
            for each, record in zip(packages, records, strict=True)
            if local_path(each.url) is None and not index.contains_record(record)
        ]
        if missing:
            raise ServiceError(
                "offline",
                f"the package cache lacks {', '.join(missing)}, and the network may not be used",
                hint="build once with the network, or copy the cache of a machine that has",
            )

    def _run(self, work: Callable[[], Any], urls: Sequence[str], *, offline: bool) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", rattler.exceptions.GatewayWarning)
                return asyncio.run(work())
        except (GatewayError, InstallerError) as error:
            secrets = secrets_of((*urls, *self._configured))
            raise service_error(scrubbed(str(error), secrets), urls, offline=offline) from None


class _Reporter:
    """Passes on rattler's word on finished packages, and on those that it is about to install."""

    def __init__(self, advance: Callable[[int], None], look: Callable[[str], None], watch: UnpackingWatch) -> None:
        self._advance = advance
        self._look = look
        self._watch = watch

    def on_populate_cache_start(self, operation: int, package_name: str) -> int:
        """Take note of a package that is fetched and unpacked, if it is not in the cache."""
        self._watch.begin(operation, package_name)
        return operation

    def on_populate_cache_complete(self, cache_entry: int) -> None:
        """Take note that it is in the cache."""
        self._watch.end(cache_entry)

    def on_link_start(self, operation: int, package_name: str) -> int:
        """Look at a package that is in the cache now."""
        self._look(package_name)
        return operation

    def on_transaction_operation_complete(self, operation: int) -> None:
        """Count one package."""
        self._advance(1)

    def __getattr__(self, name: str) -> Callable[..., int]:
        """Ignore all else that rattler reports."""
        if not name.startswith("on_"):
            raise AttributeError(name)
        return lambda *values: 0


def _let_workers_end() -> None:
    """Wait until this process is at rest: rattler's threads go on with what they have begun after a failure.

    They write into the prefix, and crash the process when it ends under them.
    """
    quiet = 0
    for _ in range(_MOST_LOOKS):
        before = time.process_time()
        time.sleep(_LOOK_SECONDS)
        quiet = quiet + 1 if time.process_time() - before < _AT_REST_SECONDS else 0
        if quiet == _QUIET_LOOKS:
            return
