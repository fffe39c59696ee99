"""The tools of this machine, as the settings describe them.

What one command alone needs, and what talks to an engine, is imported where it is made.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow_dbimage.backends.base_sources import LocalBaseSources
from mlflow_dbimage.backends.conda import RattlerConda
from mlflow_dbimage.backends.conda_pack import CondaPack
from mlflow_dbimage.backends.engine_check import EngineChecker
from mlflow_dbimage.backends.environment_python import EnvironmentPython
from mlflow_dbimage.backends.kept_roots import KeptRoots
from mlflow_dbimage.backends.layer_unpacking import unpack_layer
from mlflow_dbimage.backends.mlflow_store import MlflowStore
from mlflow_dbimage.backends.mmdebstrap import PACKAGES, Mmdebstrap
from mlflow_dbimage.backends.namespace_check import NamespaceChecker
from mlflow_dbimage.backends.packed_check import PackedChecker
from mlflow_dbimage.backends.pip import UvResolver
from mlflow_dbimage.backends.sandbox import Sandbox
from mlflow_dbimage.backends.sandbox_settings import limits_of, sandbox_of
from mlflow_dbimage.backends.signing_keys import signing_key
from mlflow_dbimage.backends.unpacked_wheels import UnpackedWheels
from mlflow_dbimage.backends.wheels import WheelStore
from mlflow_dbimage.build_cache import BuildCache
from mlflow_dbimage.destinations.archive import ArchiveDestination
from mlflow_dbimage.destinations.base_shelves import ArchiveBases, EngineBases, LayoutBases, RegistryBases
from mlflow_dbimage.destinations.deployment import Destination, TagScheme
from mlflow_dbimage.destinations.engine import EngineDestination
from mlflow_dbimage.destinations.golden_bases import BaseShelf, BaseTags
from mlflow_dbimage.destinations.layout import LayoutDestination
from mlflow_dbimage.destinations.loaded import LoadedDestination
from mlflow_dbimage.destinations.record_shelf import RegistryShelf
from mlflow_dbimage.destinations.registry import RegistryDestination
from mlflow_dbimage.environment_layers import EnvironmentMakers
from mlflow_dbimage.errors import ServiceError, UsageError
from mlflow_dbimage.evidence.signing_key import Signer
from mlflow_dbimage.image_check import CheckLimits
from mlflow_dbimage.image_location import ImageLocation
from mlflow_dbimage.image_proof import ProofTools
from mlflow_dbimage.installed_env import LockInstaller
from mlflow_dbimage.locking.environment_solver import IndexAccess, Solver
from mlflow_dbimage.oci.registry import Registry
from mlflow_dbimage.progress import Progress
from mlflow_dbimage.runtimes import Catalogue
from mlflow_dbimage.settings import Settings
from mlflow_dbimage.shared_cache import SharedCache

if TYPE_CHECKING:
    from mlflow_dbimage.backends.docker_engine import DockerEngine
    from mlflow_dbimage.base_pipeline import BaseTools
    from mlflow_dbimage.pipeline import Tools
    from mlflow_dbimage.rebase_pipeline import RebaseTools
    from mlflow_dbimage.reproduce_pipeline import ReproduceTools
    from mlflow_dbimage.static_verification import VerificationTools


class Toolbox:
    """Makes each tool when it is first asked for."""

    def __init__(self, settings: Settings, progress: Progress) -> None:
        self._settings = settings
        self._progress = progress
        self._registries: dict[str, Registry] = {}

    def tools(self) -> Tools:
        """Return all tools of a build."""
        from mlflow_dbimage.pipeline import Tools

        return Tools(
            store=MlflowStore(),
            catalogue=self._catalogue(),
            bases=self._bases(),
            solver=self.solver,
            makers=self._makers(self.shared),
            shared=self.shared,
            destination=self.destination(),
            signer=self.signer,
            proof=self._proof(self.shared),
            progress=self._progress,
        )

    def rebase_tools(self) -> RebaseTools:
        """Return the tools of a rebase."""
        from mlflow_dbimage.rebase_pipeline import RebaseTools

        return RebaseTools(
            store=MlflowStore(),
            catalogue=self._catalogue(),
            bases=self._bases(),
            cache=self.cache,
            destination=self.destination(),
            signer=self.signer,
            proof=self._proof(self.cache),
            progress=self._progress,
        )

    def verification_tools(self) -> VerificationTools:
        """Return the tools of a verification."""
        from mlflow_dbimage.static_verification import VerificationTools

        return VerificationTools(
            bases=self._bases(),
            destination=self.destination,
            catalogue=self._catalogue(),
            cache=self.cache,
            proof=self._proof(self.cache),
            progress=self._progress,
        )

    def reproduce_tools(self) -> ReproduceTools:
        """Return the tools that build an image again."""
        from mlflow_dbimage.reproduce_pipeline import ReproduceTools

        return ReproduceTools(
            reading=self.verification_tools(),
            store=MlflowStore(),
            solver=self.solver,
            makers=self._makers(self.cache),
            unpack=unpack_layer,
            progress=self._progress,
        )

    def base_tools(self) -> BaseTools:
        """Return all tools of the build of a golden base."""
        from mlflow_dbimage.base_pipeline import BaseTools

        return BaseTools(
            catalogue=self._catalogue(),
            systems=self._bases(),
            solver=self.solver,
            makers=self._makers(self.cache),
            shelf=self.base_shelf(),
            progress=self._progress,
        )

    def _makers(self, cache: BuildCache) -> EnvironmentMakers:
        # A sandbox that is required is looked for before anything is fetched.
        found = self.sandbox if self._settings.sandbox == "required" else None
        return EnvironmentMakers(
            installer=LockInstaller(solver=self.solver, access=self._access()),
            packer=CondaPack(),
            python=EnvironmentPython(cache.directory("bytecode"), lambda: found or self.sandbox),
            cache=cache,
        )

    @cached_property
    def cache(self) -> BuildCache:
        """The caches."""
        wanted = self._settings.cache_dir
        opened = BuildCache.open(wanted)
        if opened.root != wanted:
            with self._progress.step("making a cache for this build alone") as step:
                step.note(f"`{wanted}` cannot be written")
        return opened

    @cached_property
    def shared(self) -> SharedCache:
        """The caches, and behind them the records in the registry that images go to."""
        location, mode = self._settings.destination, self._settings.shared_cache
        shelf = None
        if location.transport == "docker" and mode != "off":
            registry = self.registry(location.host)
            shelf = RegistryShelf(registry, location.repository, self._settings.repository)
        most = self._settings.cache_mb * 10**6
        return SharedCache(self.cache.root, shelf, renew=mode == "renew", most=most)

    @cached_property
    def engine(self) -> DockerEngine | None:
        """The Docker engine, if one answers."""
        from mlflow_dbimage.backends.docker_engine import DockerEngine

        return DockerEngine.find()

    @cached_property
    def sandbox(self) -> Sandbox:
        """Where code of models runs."""
        return sandbox_of(self._settings)

    @cached_property
    def solver(self) -> Solver:
        """What solves environments and keeps their packages."""
        wheels = WheelStore(self.cache.directory("wheels"), UnpackedWheels(self.cache.directory("unpacked")))
        return Solver(
            conda=RattlerConda(self.cache.directory("conda"), self._settings.channel_map),
            pip=UvResolver(self.cache.directory("uv"), wheels, lambda: self.sandbox),
            wheels=wheels,
            work=self.cache.directory("work"),
        )

    def signer(self) -> Signer | None:
        """Open the key that signs, or find who signs without one."""
        where = self._settings.sign_key
        if where == "sigstore":
            from mlflow_dbimage.backends.sigstore_identities import keyless

            return keyless()
        return None if where is None else signing_key(where)

    def registry(self, host: str) -> Registry:
        """Return the client of a registry, the same each time: its connections and tokens are of use again."""
        known = self._registries.get(host)
        if known is None:
            known = Registry(host, insecure=self._settings.insecure, ca_cert=self._settings.ca_cert)
            self._registries[host] = known
        return known

    def destination(self) -> Destination:
        """Open the destination that the settings name, or the default one."""
        destination = self._open(self._settings.destination)
        if self._settings.target is None and self._settings.load == "auto" and self.engine is not None:
            return LoadedDestination(destination, self._engine_destination(self.engine, ""))
        return destination

    def _proof(self, cache: BuildCache) -> ProofTools:
        roots, scratch = KeptRoots(self.cache), self.cache.directory("work")
        return ProofTools(
            checkers=(
                EngineChecker(lambda: self.engine),
                NamespaceChecker(roots),
                # It does not run without a sandbox, whether one is required or not.
                PackedChecker(roots, scratch, lambda: Sandbox.find(limits_of(self._settings))),
            ),
            cache=cache,
            catalogue=self._catalogue(),
            limits=CheckLimits.of_machine(),
            progress=self._progress,
        )

    def _catalogue(self) -> Catalogue:
        return Catalogue.load(self._settings.runtimes_dir)

    def _bases(self) -> LocalBaseSources:
        return LocalBaseSources(
            cache=self.cache,
            registry=self.registry,
            engine=lambda: self.engine,
            bootstrapper=Mmdebstrap(
                mirror=self._settings.apt_mirror,
                packages=(*PACKAGES, *self._settings.apt_packages),
            ),
            offline=self._settings.offline,
        )

    def base_shelf(self) -> BaseShelf:
        """Open the golden bases of the destination that the settings name, or of the default one."""
        location = self._settings.destination
        if location.transport == "oci":
            return LayoutBases(location.path, self._base_tags(named=True))
        if location.transport == "docker":
            template = self._settings.repository
            shared = None if "{name}" in template else template.format(prefix=location.repository).strip("/")
            return RegistryBases(
                self.registry(location.host),
                location.repository,
                shared,
                self._base_tags(named=shared is not None),
                self._settings.platform,
            )
        if location.transport == "docker-archive":
            scratch = self.cache.directory("work")
            return ArchiveBases(location.path, self._base_tags(named=False), scratch)
        return EngineBases(self._needed_engine(), location.name, self._base_tags(named=False))

    def _base_tags(self, *, named: bool) -> BaseTags:
        return BaseTags(named=named, immutable=self._settings.immutable_tags, extra=self._settings.tag)

    def _needed_engine(self) -> DockerEngine:
        if self.engine is None:
            raise ServiceError(
                "engine-failed",
                "the destination is a Docker engine, and none answers",
                hint="start it, or choose another destination",
            )
        return self.engine

    def _open(self, location: ImageLocation) -> Destination:
        scratch = self.cache.directory("work")
        if location.transport == "oci":
            return LayoutDestination(location.path, self._scheme(named=True))
        if location.transport == "docker":
            return self._registry_destination(location)
        if location.transport == "docker-archive":
            return ArchiveDestination(location.path, self._scheme(named=False), scratch)
        if location.transport == "docker-daemon":
            return self._engine_destination(self._needed_engine(), location.name)
        raise UsageError("bad-location", f"`{location}` can be a base, but not a destination")

    def _registry_destination(self, location: ImageLocation) -> RegistryDestination:
        template = self._settings.repository
        return RegistryDestination(
            self.registry(location.host),
            location.repository,
            template,
            self._scheme(named="{name}" not in template),
            self._settings.platform,
        )

    def _engine_destination(self, engine: DockerEngine, prefix: str) -> EngineDestination:
        return EngineDestination(engine, prefix, self._scheme(named=False), Path(self.cache.directory("work")))

    def _scheme(self, *, named: bool) -> TagScheme:
        return TagScheme(named=named, immutable=self._settings.immutable_tags, extra=self._settings.tag)

    def _access(self) -> IndexAccess:
        return IndexAccess(
            index_url=self._settings.index_url,
            extra_index_urls=self._settings.extra_index_url,
            local_version_indexes=self._settings.local_version_indexes,
            offline=self._settings.offline,
        )
