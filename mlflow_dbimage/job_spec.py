"""What Databricks needs to run a deployed image, in each of the forms that it takes. Pure functions over values.

| form | for |
| --- | --- |
| `job` | Jobs API, `jobs/create`: a job that scores |
| `cluster` | Clusters API, `clusters/create`: a cluster for notebooks |
| `bundle` | an Asset Bundle: the job as a resource |
| `policy` | a compute policy that holds its clusters to the image |
| `pool` | Instance Pools API, `instance-pools/create`: machines that have the image ready |
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mlflow_dbimage import safe_yaml
from mlflow_dbimage.cluster_spec import ClusterSpec
from mlflow_dbimage.errors import UsageError
from mlflow_dbimage.launcher.distribution import ENTRY_POINT, PACKAGE

Form = Literal["job", "cluster", "bundle", "policy", "pool"]

#: Options of the scoring program (docs/scoring.md) besides input and output.
ARGUMENTS = ("input-format", "output-format", "keep", "params", "rejects", "chunk-rows", "model")

_IDLE_MINUTES = 30
_CLUSTER_KEY = "model"
_CURRENT_USER = "${workspace.current_user.userName}"
# What a policy leaves to whoever makes a cluster, and only suggests.
_SUGGESTED = ("node_type_id", "num_workers")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreWish:
    """What the job is to score; a run can be given another input and output."""

    input: str = ""
    output: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)
    """Further options of the scoring program, by name without dashes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A form, filled in."""

    form: Form
    data: Mapping[str, Any]
    notes: tuple[str, ...]
    """What somebody should know of it."""

    @property
    def text(self) -> str:
        """The document as a file: YAML for a bundle, else JSON."""
        if self.form == "bundle":
            return safe_yaml.dump(self.data)
        return json.dumps(self.data, indent=2) + "\n"


def write(form: Form, cluster: ClusterSpec, score: ScoreWish) -> Document:
    """Fill in a form.

    Raises:
        UsageError: `bad-value`, the scoring program has no such option, or a pool is to be in a pool.
    """
    unknown = [name for name in score.arguments if name not in ARGUMENTS]
    if unknown:
        known = ", ".join(f"`{name}`" for name in ARGUMENTS)
        listed = ", ".join(f"`{name}`" for name in unknown)
        raise UsageError("bad-value", f"the scoring program has no option {listed}", hint=f"it has {known}")
    writers: dict[Form, Callable[[], dict[str, Any]]] = {
        "job": lambda: job(cluster, score),
        "cluster": lambda: named_cluster(cluster),
        "bundle": lambda: bundle(cluster, score),
        "policy": lambda: policy(cluster),
        "pool": lambda: pool(cluster),
    }
    return Document(form=form, data=writers[form](), notes=(*cluster.notes, *_missing(form, score)))


def job(cluster: ClusterSpec, score: ScoreWish) -> dict[str, Any]:
    """Return a job of one task, whose parameters say what to score."""
    parameters = {"input": score.input, "output": score.output}
    return {
        "name": f"score-{cluster.name}",
        "description": f"Scores with {cluster.record.model_uri} in the image {cluster.digest}",
        "parameters": [{"name": name, "default": value} for name, value in parameters.items()],
        "tasks": [
            {
                "task_key": "score",
                "job_cluster_key": _CLUSTER_KEY,
                "python_wheel_task": {
                    "package_name": PACKAGE,
                    "entry_point": ENTRY_POINT,
                    "named_parameters": {
                        **{name: f"{{{{job.parameters.{name}}}}}" for name in parameters},
                        **score.arguments,
                    },
                },
                # The image has all that it needs: nothing is installed as the cluster starts.
                "libraries": [],
            }
        ],
        "job_clusters": [{"job_cluster_key": _CLUSTER_KEY, "new_cluster": cluster.to_dict()}],
        "max_concurrent_runs": 1,
    }


def named_cluster(cluster: ClusterSpec) -> dict[str, Any]:
    """Return a cluster for people, which ends when it is idle."""
    return {
        "cluster_name": f"dbimage-{cluster.name}",
        "autotermination_minutes": _IDLE_MINUTES,
        **cluster.to_dict(),
    }


def bundle(cluster: ClusterSpec, score: ScoreWish) -> dict[str, Any]:
    """Return the job as a resource of an Asset Bundle; without a single user, it is whoever deploys the bundle."""
    return bundled(job(cluster, score))


def bundled(resource: Mapping[str, Any]) -> dict[str, Any]:
    """Return a job as a resource of an Asset Bundle."""
    clusters = [
        {**each, "new_cluster": {"single_user_name": _CURRENT_USER, **each["new_cluster"]}}
        for each in resource["job_clusters"]
    ]
    key = re.sub(r"\W", "_", resource["name"], flags=re.ASCII)
    return {"resources": {"jobs": {key: {**resource, "job_clusters": clusters}}}}


def policy(cluster: ClusterSpec) -> dict[str, Any]:
    """Return the definition of a compute policy; more rules may stand beside it."""
    rules = {path: {"type": "fixed", "value": value} for path, value in _leaves("", cluster.to_dict())}
    for path in _SUGGESTED:
        if path in rules and not (path == "num_workers" and cluster.wish.workers == 0):
            rules[path] = {"type": "unlimited", "defaultValue": rules[path]["value"]}
    for path, rule in rules.items():
        if path.startswith("docker_image.basic_auth."):
            rule["hidden"] = True
    return rules


def pool(cluster: ClusterSpec) -> dict[str, Any]:
    """Return an instance pool whose machines pull the image before a cluster asks for them.

    Raises:
        UsageError: `bad-value`, the cluster is to be in a pool already.
    """
    if cluster.wish.pool is not None:
        raise UsageError(
            "bad-value",
            f"a pool is asked for, and the cluster is to be in `{cluster.wish.pool}`",
            hint="leave that pool out, and name the new one once it is made",
        )
    return {
        "instance_pool_name": f"dbimage-{cluster.name}",
        "node_type_id": cluster.node_type,
        "min_idle_instances": 0,
        "idle_instance_autotermination_minutes": _IDLE_MINUTES,
        "preloaded_spark_versions": [cluster.spark_version],
        "preloaded_docker_images": [dict(cluster.image)],
    }


def _missing(form: Form, score: ScoreWish) -> list[str]:
    unnamed = [name for name, value in (("input", score.input), ("output", score.output)) if not value]
    if form not in ("job", "bundle") or not unnamed:
        return []
    return [f"the job names no {' and no '.join(unnamed)}: each run has to, as a job parameter"]


def _leaves(prefix: str, table: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return paths and values as policies name them: `docker_image.url`, `spark_conf.spark.master`."""
    found: list[tuple[str, Any]] = []
    for key, value in table.items():
        inner = isinstance(value, Mapping)
        found += _leaves(f"{prefix}{key}.", value) if inner else [(f"{prefix}{key}", value)]
    return found
