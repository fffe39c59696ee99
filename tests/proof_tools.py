"""Tools of proofs, for tests."""

from __future__ import annotations

from mlflow_dbimage.build_cache import BuildCache
from mlflow_dbimage.image_check import Checker, CheckLimits
from mlflow_dbimage.image_proof import ProofTools
from mlflow_dbimage.progress import SilentProgress
from mlflow_dbimage.runtimes import Catalogue


def proof_tools(cache: BuildCache, *checkers: Checker) -> ProofTools:
    """Return tools that run images by some checkers, or not at all."""
    limits = CheckLimits(seconds=300, memory=4 << 30, processes=1000)
    return ProofTools(
        checkers=checkers, cache=cache, catalogue=Catalogue.load(), limits=limits, progress=SilentProgress()
    )
