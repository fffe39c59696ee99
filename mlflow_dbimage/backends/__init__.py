"""Everything that starts a program or talks to a service; and `default_tools`, which joins it to the pipeline.

Only doors call `default_tools`. What it returns does nothing before it is asked: no service is contacted, and
libraries that are slow to import are imported where they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow_dbimage.base_pipeline import BaseTools
    from mlflow_dbimage.destinations.deployment import Destination
    from mlflow_dbimage.evidence.signing_key import Verifier
    from mlflow_dbimage.image_scan import Finder
    from mlflow_dbimage.image_trust import TrustTools
    from mlflow_dbimage.pipeline import Tools
    from mlflow_dbimage.progress import Progress
    from mlflow_dbimage.rebase_pipeline import RebaseTools
    from mlflow_dbimage.reproduce_pipeline import ReproduceTools
    from mlflow_dbimage.runtime_gate import Sources
    from mlflow_dbimage.settings import Settings
    from mlflow_dbimage.static_verification import VerificationTools


def default_tools(settings: Settings, progress: Progress) -> Tools:
    """Join this machine's programs and services to the pipeline, as the settings say."""
    from mlflow_dbimage.backends.toolbox import Toolbox

    return Toolbox(settings, progress).tools()


def rebase_tools(settings: Settings, progress: Progress) -> RebaseTools:
    """Join what a rebase needs of them."""
    from mlflow_dbimage.backends.toolbox import Toolbox

    return Toolbox(settings, progress).rebase_tools()


def base_tools(settings: Settings, progress: Progress) -> BaseTools:
    """Join this machine's programs and services to the pipeline of golden bases."""
    from mlflow_dbimage.backends.toolbox import Toolbox

    return Toolbox(settings, progress).base_tools()


def open_destination(settings: Settings, progress: Progress) -> Destination:
    """Open the destination alone, for doors that only look."""
    from mlflow_dbimage.backends.toolbox import Toolbox

    return Toolbox(settings, progress).destination()


def gate_sources(settings: Settings, progress: Progress) -> Sources:
    """Open the models and runtimes alone, for doors that compare and build nothing."""
    from mlflow_dbimage.backends.mlflow_store import MlflowStore
    from mlflow_dbimage.build_cache import BuildCache
    from mlflow_dbimage.runtime_gate import Sources
    from mlflow_dbimage.runtimes import Catalogue

    return Sources(
        store=MlflowStore,
        catalogue=Catalogue.load(settings.runtimes_dir),
        cache=BuildCache.open(settings.cache_dir),
        progress=progress,
    )


def verification_tools(settings: Settings, progress: Progress) -> VerificationTools:
    """Join what reads images to the verification, as the settings say."""
    from mlflow_dbimage.backends.toolbox import Toolbox

    return Toolbox(settings, progress).verification_tools()


def reproduce_tools(settings: Settings, progress: Progress) -> ReproduceTools:
    """Join what builds an image again."""
    from mlflow_dbimage.backends.toolbox import Toolbox

    return Toolbox(settings, progress).reproduce_tools()


def advisory_finder(settings: Settings, local: Path | None) -> Finder:
    """Return what finds vulnerable packages: in a local copy of advisories, or by asking a service."""
    from mlflow_dbimage.backends.advisory_service import asked
    from mlflow_dbimage.backends.advisory_sources import local_advisories
    from mlflow_dbimage.evidence import advisories

    if local is not None:
        return lambda packages: advisories.find(packages, local_advisories(local))
    return lambda packages: asked(packages, settings.cache_dir / "advisories")


def verifier(key: Path | None, identity: str | None, issuer: str | None) -> Verifier | None:
    """Open the public key that is named, or find what checks an identity's signatures; None for neither."""
    if identity is not None and issuer is not None:
        from mlflow_dbimage.backends import sigstore_identities

        return sigstore_identities.identity(identity, issuer)
    from mlflow_dbimage.backends.signing_keys import verifying_key

    return None if key is None else verifying_key(key)


def trust_tools(settings: Settings, progress: Progress, key: Verifier | None, local: Path | None) -> TrustTools:
    """Join what an image's trust is judged by."""
    from datetime import datetime, timezone

    from mlflow_dbimage.image_trust import TrustTools
    from mlflow_dbimage.runtimes import Catalogue

    return TrustTools(
        destination=open_destination(settings, progress),
        catalogue=Catalogue.load(settings.runtimes_dir),
        key=key,
        find=None if local is None else advisory_finder(settings, local),
        today=datetime.now(timezone.utc).date(),
    )
