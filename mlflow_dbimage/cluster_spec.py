"""The Databricks cluster that runs a deployed image, in the words of the Clusters API. Pure functions over values.

Sources: the Clusters API, and the documentation of Databricks Container Services and of secrets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlflow_dbimage.build_receipt import ImageRecord
from mlflow_dbimage.destinations.deployment import Deployment, immutable_reference
from mlflow_dbimage.errors import InputError, MatchError, UsageError
from mlflow_dbimage.image_location import DOCKER_HUB, ImageLocation
from mlflow_dbimage.runtimes import Catalogue

# `15.4.x-scala2.12`; between the two stand words such as `cpu-ml`, `gpu-ml` and `photon`.
_SPARK_VERSION = re.compile(r"(\d+\.\d+\.x)-(?:([a-z0-9-]+)-)?(scala\d+\.\d+)")
# Databricks' rules for names of scopes and keys
_SECRET_NAME = re.compile(r"[\w.@-]{1,128}", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET_VARIABLE = re.compile(r"TOKEN|PASSWORD|SECRET|CREDENTIAL|API_?KEY", re.IGNORECASE)
_SECRET_REFERENCE = re.compile(r"\{\{secrets/[\w.@-]+/[\w.@-]+\}\}", re.ASCII)
_INSTANCE_PROFILE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:instance-profile/[\w+=,.@/-]+", re.ASCII)
# Of clusters that build, where none is named: in long-term support, with a Python that this program runs on.
_BUILDERS_RUNTIME = "15.4-lts"
_LOOPBACK = re.compile(r"localhost|127\.[\d.]+|\[::1\]")

_VOLUMES = {"spark.databricks.unityCatalog.volumes.enabled": "true"}
_SINGLE_NODE = {"spark.databricks.cluster.profile": "singleNode", "spark.master": "local[*]"}
#: What an image for DCS is for: its clusters do not take Graviton or other ARM machines.
_PLATFORM = "linux/amd64"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """What the registry of a cloud tells of the clusters that pull from it."""

    name: str
    registries: re.Pattern[str]
    node_type: str
    """Small, with a local disk, and of the processor that images are for."""
    secret_keys: tuple[str, str]
    """What its own examples call user and password in a secret scope."""


CLOUDS = (
    Cloud(
        name="Azure",
        registries=re.compile(r"[\w-]+\.azurecr\.(?:io|cn|us)"),
        node_type="Standard_D4ds_v5",
        secret_keys=("client-id", "client-secret"),
    ),
    Cloud(
        name="AWS",
        registries=re.compile(r"\d{12}\.dkr\.ecr\.[\w-]+\.amazonaws\.com(?:\.cn)?"),
        node_type="m5d.xlarge",
        secret_keys=("username", "password"),
    ),
    Cloud(
        name="Google Cloud",
        registries=re.compile(r"(?:[\w-]+-docker\.pkg\.dev|(?:[\w]+\.)?gcr\.io)"),
        node_type="n2-standard-4",
        secret_keys=("username", "password"),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterWish:
    """What somebody says of the cluster; None takes what follows from the image."""

    spark_version: str | None = None
    """As Databricks writes it, or a key of the catalogue."""
    node_type: str | None = None
    workers: int = 0
    """0 makes a cluster of one node."""
    single_user: str | None = None
    pool: str | None = None
    """ID of an instance pool, which then decides on the node type."""
    secret_scope: str | None = None
    """Where user and password of the registry are; of an Azure registry, those of a principal with AcrPull."""
    username_key: str | None = None
    password_key: str | None = None
    instance_profile: str | None = None
    """ARN that lets a cluster on AWS pull, without user and password."""
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSpec:
    """A cluster that runs an image."""

    name: str
    """Of the deployment."""
    image: Mapping[str, Any]
    """`docker_image`: URL, and where its credentials are."""
    spark_version: str
    node_type: str | None
    """None where a pool decides."""
    wish: ClusterWish
    environment: Mapping[str, str]
    record: ImageRecord
    digest: str
    """Of the image."""
    notes: tuple[str, ...]
    """What somebody should know of it."""

    def to_dict(self) -> dict[str, Any]:
        """Give the cluster as jobs take it (`new_cluster`)."""
        return _written(self.spark_version, self.node_type, self.wish, self.environment, dict(self.image))


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainCluster:
    """A cluster of the runtime's own image, which pushes to a registry."""

    data: Mapping[str, Any]
    """As jobs take it (`new_cluster`)."""
    notes: tuple[str, ...]
    """What somebody should know of it."""


def describe_plain(location: ImageLocation, wish: ClusterWish, catalogue: Catalogue) -> PlainCluster:
    """Describe a cluster whose jobs push to a registry, with its user and password as references to secrets.

    Raises:
        UsageError: `bad-value`.
    """
    _check(wish)
    cloud = _cloud(location)
    environment = dict(wish.environment)
    login = _login(wish, cloud)
    if login is not None:
        environment |= {
            "DBIMAGE_REGISTRY_USERNAME": login["username"],
            "DBIMAGE_REGISTRY_PASSWORD": login["password"],
            "DBIMAGE_REGISTRY_HOST": location.host,
        }
    version = wish.spark_version or _BUILDERS_RUNTIME
    try:
        version = catalogue.get(version).spark_version_string
    except MatchError:
        if _SPARK_VERSION.fullmatch(version) is None:
            raise
    node_type = None if wish.pool else _node_type(wish, cloud)
    return PlainCluster(
        data=_written(version, node_type, wish, environment, None),
        notes=tuple(_notes(location, wish, cloud)),
    )


def describe(
    deployment: Deployment, location: ImageLocation, wish: ClusterWish, catalogue: Catalogue
) -> ClusterSpec:
    """Describe the cluster that runs a deployed image.

    Args:
        deployment: The deployment.
        location: Of the destination that it is in.
        wish: What is said of the cluster.
        catalogue: The runtimes that are known.

    Raises:
        UsageError: `bad-value`.
        InputError: `cannot-run-on-cluster`, for all its reasons.
    """
    _check(wish)
    record = deployment.record
    spark_version, notes, problem = _spark_version(record, wish.spark_version, catalogue)
    problems = _problems(deployment, location) + ([problem] if problem else [])
    if problems or record is None:
        raise InputError(
            "cannot-run-on-cluster",
            f"no Databricks cluster can run `{deployment.name}`: {'; '.join(problems)}",
            hint=_what_next(location, problem),
        )
    cloud = _cloud(location)
    return ClusterSpec(
        name=deployment.name,
        image=_docker_image(deployment, wish, cloud),
        spark_version=spark_version,
        node_type=None if wish.pool else _node_type(wish, cloud),
        wish=wish,
        environment={**_mlflow(record), **wish.environment},
        record=record,
        digest=deployment.digest,
        notes=(*notes, *_notes(location, wish, cloud)),
    )


def _written(
    spark_version: str,
    node_type: str | None,
    wish: ClusterWish,
    environment: Mapping[str, str],
    image: Mapping[str, Any] | None,
) -> dict[str, Any]:
    single_node = wish.workers == 0
    data: dict[str, Any] = {
        "spark_version": spark_version,
        **({"instance_pool_id": wish.pool} if wish.pool else {"node_type_id": node_type}),
        "num_workers": wish.workers,
        "data_security_mode": "SINGLE_USER",
        "single_user_name": wish.single_user,
        "docker_image": image,
        "spark_env_vars": dict(environment) or None,
        "spark_conf": {**_VOLUMES, **(_SINGLE_NODE if single_node else {})},
        "custom_tags": {"ResourceClass": "SingleNode"} if single_node else None,
        "aws_attributes": {"instance_profile_arn": wish.instance_profile} if wish.instance_profile else None,
    }
    return {key: value for key, value in data.items() if value is not None}


def _check(wish: ClusterWish) -> None:
    """Refuse values that no API would take, and secrets where a reference to one belongs."""
    problems = []
    named = {"scope": wish.secret_scope, "user's key": wish.username_key, "password's key": wish.password_key}
    for what, name in named.items():
        if name is not None and _SECRET_NAME.fullmatch(name) is None:
            problems.append(f"the {what} has other characters than letters, digits, `.`, `_`, `@` and `-`")
    if wish.secret_scope is None and (wish.username_key or wish.password_key):
        problems.append("keys of secrets are named, but no scope")
    if wish.instance_profile is not None and _INSTANCE_PROFILE.fullmatch(wish.instance_profile) is None:
        problems.append(f"`{wish.instance_profile}` is no ARN of an instance profile")
    for name, value in wish.environment.items():
        if _VARIABLE.fullmatch(name) is None:
            problems.append(f"`{name}` is no name of a variable")
        elif _SECRET_VARIABLE.search(name) and _SECRET_REFERENCE.fullmatch(value) is None:
            problems.append(f"`{name}` seems to be a secret: name where it is, as `{{{{secrets/SCOPE/KEY}}}}`")
    if problems:
        raise UsageError("bad-value", "; ".join(problems))


def _problems(deployment: Deployment, location: ImageLocation) -> list[str]:
    found = []
    if location.transport != "docker":
        found.append(f"it is in `{location}`, and clusters pull from registries alone")
    if deployment.record is None:
        found.append("its image has no record: another program made it, or another version of this")
    elif deployment.record.platform != _PLATFORM:
        found.append(f"its image is for {deployment.record.platform}, and clusters run {_PLATFORM}")
    return found


def _what_next(location: ImageLocation, runtime_problem: str | None) -> str:
    steps = []
    if location.transport != "docker":
        steps.append("build it into a registry, which sends what is cached")
    if runtime_problem:
        steps.append("name the Spark version of the runtime that the base image is for")
    return "; ".join(steps) or f"build it for {_PLATFORM} with this version"


def _spark_version(
    record: ImageRecord | None, wanted: str | None, catalogue: Catalogue
) -> tuple[str, list[str], str | None]:
    """Return a version that takes container images, notes on it, and what is wrong."""
    of_record = record.runtime if record is not None else None
    key = wanted or of_record
    if key is None:
        return "", [], None if record is None else "the runtime of its base image is not known"
    try:
        runtime = catalogue.get(key)
        version, notes = runtime.spark_version_string, _other_runtime(of_record, runtime.key)
    except MatchError:
        if wanted is None:
            return "", [], f"the catalogue has no runtime `{key}`"
        version, notes = wanted, []
    match = _SPARK_VERSION.fullmatch(version)
    if match is None:
        raise UsageError(
            "bad-value",
            f"`{version}` is no Spark version",
            hint="one looks like `15.4.x-scala2.12`; `15.4-lts` will do",
        )
    number, words, scala = match.groups()
    if words is not None and "ml" in words.split("-"):
        notes.append(f"`{version}` takes no container images: `{number}-{scala}` is its runtime that does")
        version = f"{number}-{scala}"
    return version, notes, None


def _other_runtime(of_record: str | None, key: str) -> list[str]:
    if of_record is None or of_record.partition("-")[0] == key.partition("-")[0]:
        return []
    return [f"the base image is for `{of_record}`, not `{key}`: notebooks need the packages of their own runtime"]


def _docker_image(deployment: Deployment, wish: ClusterWish, cloud: Cloud | None) -> dict[str, Any]:
    url = immutable_reference(deployment).removeprefix(f"{DOCKER_HUB}/")
    login = _login(wish, cloud)
    return {"url": url} if login is None else {"url": url, "basic_auth": login}


def _cloud(location: ImageLocation) -> Cloud | None:
    return next((each for each in CLOUDS if each.registries.fullmatch(location.host)), None)


def _login(wish: ClusterWish, cloud: Cloud | None) -> dict[str, str] | None:
    """Return references to user and password, which Databricks replaces on the cluster."""
    if wish.secret_scope is None:
        return None
    usual = cloud.secret_keys if cloud else ("username", "password")
    return {
        "username": f"{{{{secrets/{wish.secret_scope}/{wish.username_key or usual[0]}}}}}",
        "password": f"{{{{secrets/{wish.secret_scope}/{wish.password_key or usual[1]}}}}}",
    }


def _node_type(wish: ClusterWish, cloud: Cloud | None) -> str:
    if wish.node_type is None and cloud is None:
        examples = ", ".join(f"`{each.node_type}` on {each.name}" for each in CLOUDS)
        raise UsageError(
            "bad-value",
            "no node type is named, and the registry does not tell the cloud",
            hint=f"name one, such as {examples}; or name an instance pool",
        )
    return wish.node_type or (cloud.node_type if cloud else "")


def _mlflow(record: ImageRecord) -> dict[str, str]:
    """Say where MLflow is: without, what the model logs goes to a file in the container."""
    in_unity_catalog = record.model_name.count(".") == 2
    return {
        "MLFLOW_TRACKING_URI": "databricks",
        "MLFLOW_REGISTRY_URI": "databricks-uc" if in_unity_catalog else "databricks",
    }


def _notes(location: ImageLocation, wish: ClusterWish, cloud: Cloud | None) -> list[str]:
    found = []
    if wish.node_type is None and wish.pool is None and cloud is not None:
        found.append(f"the node type `{cloud.node_type}` is taken, as the registry is of {cloud.name}")
    if _LOOPBACK.fullmatch(location.host.rpartition(":")[0] or location.host):
        found.append(f"no cluster reaches `{location.host}`, which is this machine")
    unnamed = wish.secret_scope is None and wish.instance_profile is None
    if unnamed and cloud is not None and cloud.name == "AWS":
        found.append("a cluster pulls from ECR by an instance profile, and none is named")
    elif unnamed and cloud is not None:
        found.append(f"registries of {cloud.name} ask who pulls, and no secret scope is named")
    if wish.single_user is None:
        found.append("no single user is named: it is whoever creates the cluster or job, or deploys the bundle")
    return found
