"""Whether clusters of a Databricks Runtime would take an image, told from its manifest, config and layers.

Nothing is unpacked or run: what only shows when a container runs is not found here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlflow_dbimage.base_image import BaseSources
from mlflow_dbimage.build_cache import BuildCache
from mlflow_dbimage.cluster_roots import ClusterRoot
from mlflow_dbimage.contract_check import cluster_root, subject_of
from mlflow_dbimage.dcs_contract import Finding, check
from mlflow_dbimage.dcs_contract.image_rules import recorded_runtime
from mlflow_dbimage.destinations.deployment import Destination
from mlflow_dbimage.errors import InputError, UsageError, VerificationError
from mlflow_dbimage.image_location import parse_base
from mlflow_dbimage.image_proof import ProofTools
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.progress import Progress
from mlflow_dbimage.runtimes import Catalogue, Runtime

_CLUSTER_PLATFORM = Platform("linux", "amd64")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationTools:
    """All effects of a verification, joined by `backends`."""

    bases: BaseSources
    destination: Callable[[], Destination]
    """Opens it, where the image is named as a deployment."""
    catalogue: Catalogue
    cache: BuildCache
    proof: ProofTools
    progress: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticReport:
    """What was found."""

    image: str
    """As it was named."""
    digest: str
    runtime: str
    """That was asked for, or that the image says it was made for."""
    spark_version: str
    """Of the clusters that it was held against."""
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What keeps clusters from working with the image."""
        return tuple(each for each in self.findings if each.is_error)

    @property
    def error(self) -> VerificationError | None:
        """The error to end with, which names every rule that is broken; None where none is."""
        if not self.errors:
            return None
        broken = "; ".join(f"{each.rule}: {each.detail}" for each in self.errors)
        return VerificationError(
            "contract-broken",
            f"clusters of `{self.spark_version}` are not expected to work with `{self.image}`: {broken}",
            hint="each finding says what mends it; or build on a base that Databricks made for the runtime",
        )

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        return {
            "image": self.image,
            "digest": self.digest,
            "runtime": self.runtime,
            "spark_version": self.spark_version,
            "fulfilled": not self.errors,
            "findings": [dict(each.to_dict()) for each in self.findings],
        }


def open_image(name: str, tools: VerificationTools) -> Image:
    """Open an image whose manifest and config can be read.

    Args:
        name: Where the image is, as base images are named, or the name of a deployment.
        tools: The effects.

    Raises:
        UsageError: `bad-location`.
        InputError: The image does not exist or cannot be read; `not-deployed`.
        ServiceError: A registry, engine or program failed.
    """
    image = _open(name, tools)
    _must_be_readable(name, image)
    return image


def verify(name: str, image: Image, runtime: str | None, tools: VerificationTools) -> StaticReport:
    """Hold an image against the contract of a runtime.

    Args:
        name: Of the image, as somebody wrote it.
        image: The image.
        runtime: The runtime's key; by default the one that an image of ours was made for.
        tools: The effects.

    Raises:
        UsageError: `bad-value`, no runtime is named, and the image does not say one.
        InputError: A layer cannot be read.
        MatchError: `unknown-runtime`.
        ServiceError: A registry, engine or program failed.
    """
    asked = _runtime(name, image, runtime, tools.catalogue)
    subject = subject_of(image, _root(name, image, tools), asked, tools.catalogue)
    return StaticReport(
        image=name,
        digest=str(image.digest),
        runtime=asked.key,
        spark_version=subject.runtime.spark_version_string,
        findings=check(subject),
    )


def _open(name: str, tools: VerificationTools) -> Image:
    if ":" in name or "/" in name:
        return tools.bases.open(parse_base(name), _CLUSTER_PLATFORM, tools.progress)
    try:
        return tools.destination().image(name)
    except InputError as error:
        if error.code != "not-deployed":
            raise
        raise InputError(
            "not-deployed",
            error.message,
            hint="name an image that is elsewhere with its place: `docker.io/library/ubuntu:22.04`, `oci:DIR`",
        ) from None


def _must_be_readable(name: str, image: Image) -> None:
    """Refuse a config that says what is asked of it in another form than it should."""
    try:
        _ = (image.platform, image.environment, image.labels, image.user, image.entrypoint, image.steps)
        well_formed = all(isinstance(value, str) for value in image.labels.values())
    except (ValueError, KeyError, TypeError, AttributeError):
        well_formed = False
    if not well_formed:
        raise InputError("base-invalid", f"the config of the image `{name}` is malformed")


def _runtime(name: str, image: Image, wanted: str | None, catalogue: Catalogue) -> Runtime:
    key = wanted or recorded_runtime(image.labels)
    if key is None:
        raise UsageError(
            "bad-value",
            f"no runtime is named, and the image `{name}` does not say for which it was made",
            hint="name the runtime of the cluster, such as `15.4-lts`",
        )
    return catalogue.get(key)


def _root(name: str, image: Image, tools: VerificationTools) -> ClusterRoot:
    with tools.progress.step(f"looking into `{name}`") as step:
        step.total(sum(layer.descriptor.size for layer in image.layers))
        return cluster_root(image, tools.cache, step.advance)
