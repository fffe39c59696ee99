"""The Databricks job that builds images of a Unity Catalog registry as its models change.

Unity Catalog has no webhooks. What starts the job is either a model update trigger (Jobs API 2.2,
`trigger.model`; at most nine updates a run, polled about once a minute), or the registry itself, as the
deployment job of one model, with the job parameters `model_name` and `model_version`. Its one task is a wheel
task that runs `dbimage job-entry`, on a cluster of one node.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlflow_dbimage.errors import UsageError
from mlflow_dbimage.image_location import ImageLocation
from mlflow_dbimage.setting_kinds import masked

#: The entry point of our wheel that the task runs; `pyproject.toml` declares it.
ENTRY_POINT = "dbimage-job-entry"

_MOST_ALIASES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class BuilderJobWish:
    """What the job is to be."""

    name: str
    library: str
    """What the cluster installs: a requirement for PyPI, or a path of a wheel that ends in `.whl`."""
    cluster: Mapping[str, Any]
    """That builds, as `new_cluster` of a job."""
    target: ImageLocation
    """Where the images go."""
    scope: str = ""
    """Whose updates start it: `catalog.schema.model`, `catalog.schema`, or empty for the whole metastore."""
    aliases: tuple[str, ...] = ()
    """That start a build when they are set; none: every new version, as soon as it is ready."""
    deployment_job: bool = False
    """Whether it is to be bound to one model as its deployment job, and has no trigger."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Keys of `-C` for every build."""


def builder_job(wish: BuilderJobWish) -> dict[str, Any]:
    """Write the job, as the Jobs API's `create` takes it.

    Raises:
        UsageError: `bad-value`, for all that is wrong: the target is no registry, the scope is no name of Unity
            Catalog's, there are too many aliases, a deployment job has a trigger's, or a key has credentials.
    """
    problems = _problems(wish)
    if problems:
        raise UsageError("bad-value", "; ".join(problems))
    job: dict[str, Any] = {
        "name": wish.name,
        # Updates that come while a build runs wait, instead of being left out.
        "max_concurrent_runs": 1,
        "queue": {"enabled": True},
        "tasks": [_task(wish)],
        "job_clusters": [{"job_cluster_key": "builder", "new_cluster": dict(wish.cluster)}],
    }
    if wish.deployment_job:
        job["parameters"] = [{"name": name, "default": ""} for name in ("model_name", "model_version")]
    else:
        job["trigger"] = {"pause_status": "UNPAUSED", "model": _trigger(wish)}
    return job


def _problems(wish: BuilderJobWish) -> list[str]:
    found = []
    if wish.target.transport != "docker":
        found.append(f"the job pushes to a registry, and `{wish.target}` is none")
    parts = wish.scope.split(".") if wish.scope else []
    if len(parts) == 1 or len(parts) > 3 or not all(part.strip() for part in parts):
        forms = "`catalog.schema.model`, `catalog.schema`, or nothing for the whole metastore"
        found.append(f"`{wish.scope}` is no scope of a model trigger: it is {forms}")
    if len(wish.aliases) > _MOST_ALIASES:
        found.append(f"a trigger takes {_MOST_ALIASES} aliases at most, and {len(wish.aliases)} are given")
    if wish.deployment_job and (wish.scope or wish.aliases):
        found.append("a deployment job is started by its model, and has neither scope nor aliases")
    for key, value in wish.settings.items():
        if masked(value) != value:  # whoever may see the job sees its parameters
            variable = f"DBIMAGE_{key.upper()}={{{{secrets/SCOPE/KEY}}}}"
            found.append(f"`{key}` has credentials: set `{variable}` on the cluster instead")
    return found


def _trigger(wish: BuilderJobWish) -> dict[str, Any]:
    condition = "MODEL_ALIAS_SET" if wish.aliases else "MODEL_VERSION_READY"
    trigger: dict[str, Any] = {"condition": condition}
    if wish.aliases:
        trigger["aliases"] = list(wish.aliases)
    if wish.scope:
        trigger["securable_name"] = wish.scope
    return trigger


def _task(wish: BuilderJobWish) -> dict[str, Any]:
    library: dict[str, Any] = {"pypi": {"package": wish.library}}
    if wish.library.endswith(".whl"):
        library = {"whl": wish.library}
    return {
        "task_key": "build",
        "job_cluster_key": "builder",
        "libraries": [library],
        "max_retries": 0,
        "python_wheel_task": {
            "package_name": "mlflow-dbimage",
            "entry_point": ENTRY_POINT,
            "parameters": _parameters(wish),
        },
    }


def _parameters(wish: BuilderJobWish) -> list[str]:
    if wish.deployment_job:
        what = ["--model-name", "{{job.parameters.model_name}}"]
        what += ["--model-version", "{{job.parameters.model_version}}"]
    else:
        what = ["--updates", "{{job.trigger.model.updates}}"]
    settings = [part for key, value in sorted(wish.settings.items()) for part in ("-C", f"{key}={value}")]
    return [*what, "--registry", "databricks-uc", "--target", str(wish.target), *settings]
