"""The door of MLflow: `mlflow deployments ... -t dbimage`, and `get_deploy_client("dbimage:...")`.

MLflow wants in this module exactly one subclass of `BaseDeploymentClient`, `run_local` and `target_help`.
What its command really does with them differs from what its base class documents: `create` and `update` must
return `flavor`, and `run_local` is called without the target.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click
from mlflow.deployments import BaseDeploymentClient

from mlflow_dbimage.errors import InputError, UsageError
from plugin_entrypoints import scoring_calls, terminal
from plugin_entrypoints.mlflow_words import errors_for_mlflow, help_text, leave_command
from plugin_entrypoints.progress_view import progress_on

if TYPE_CHECKING:
    from mlflow.deployments import PredictionsResponse

    from mlflow_dbimage.build_request import BuildRequest, Mode
    from mlflow_dbimage.destinations.deployment import Destination
    from mlflow_dbimage.settings import Settings

_FLAVOR = "python_function"


class DbimageDeploymentClient(BaseDeploymentClient):  # type: ignore[misc]  # MLflow is skipped by mypy
    """Deployments are images with a name at the target."""

    def create_deployment(
        self,
        name: str,
        model_uri: str,
        flavor: str | None = None,
        config: Mapping[str, object] | None = None,
        endpoint: str | None = None,
    ) -> dict[str, Any]:
        """Make the image of a model and deploy it under a name that is free."""
        return self._build(name, model_uri, flavor, config, endpoint, mode="create")

    def update_deployment(
        self,
        name: str,
        model_uri: str | None = None,
        flavor: str | None = None,
        config: Mapping[str, object] | None = None,
        endpoint: str | None = None,
    ) -> dict[str, Any]:
        """Make the image of a model and move an existing name to it."""
        with errors_for_mlflow():
            if model_uri is None:
                raise UsageError(
                    "bad-model-uri",
                    f"the update of `{name}` names no model",
                    hint="give the model URI of the version that it should have",
                )
        return self._build(name, model_uri, flavor, config, endpoint, mode="update")

    def delete_deployment(
        self, name: str, config: Mapping[str, object] | None = None, endpoint: str | None = None
    ) -> None:
        """Take a name away; no error where there is none."""
        with errors_for_mlflow():
            _no_endpoint(endpoint)
            self._destination(config).delete(name)

    def list_deployments(self, endpoint: str | None = None) -> list[dict[str, Any]]:
        """List what is deployed at the target."""
        with errors_for_mlflow():
            _no_endpoint(endpoint)
            return [deployment.to_dict() for deployment in self._destination().deployments()]

    def get_deployment(self, name: str, endpoint: str | None = None) -> dict[str, Any]:
        """Describe one deployment."""
        with errors_for_mlflow():
            _no_endpoint(endpoint)
            deployment = self._destination().deployment(name)
            if deployment is None:
                raise InputError("not-deployed", f"no deployment is named `{name}`")
            return deployment.to_dict()

    def predict(
        self, deployment_name: str | None = None, inputs: Any = None, endpoint: str | None = None
    ) -> PredictionsResponse:
        """Run the image on rows: a DataFrame, or a body of MLflow's scoring server."""
        from mlflow.deployments import PredictionsResponse

        with errors_for_mlflow():
            _no_endpoint(endpoint)
            settings = _settings(self.target_uri)
            return PredictionsResponse(
                predictions=scoring_calls.predict(settings, deployment_name, inputs, progress_on(), _tell)
            )

    def explain(self, deployment_name: str | None = None, df: Any = None, endpoint: str | None = None) -> Any:
        """Refuse: an image holds a model, not an explainer."""
        with errors_for_mlflow():
            raise UsageError(
                "not-supported",
                "explanations are not offered: an image holds the model, and no explainer",
                hint="score with `predict`, and explain where the model was trained",
            )

    def _build(
        self,
        name: str,
        model_uri: str,
        flavor: str | None,
        config: Mapping[str, object] | None,
        endpoint: str | None,
        *,
        mode: Mode,
    ) -> dict[str, Any]:
        from mlflow_dbimage.build_request import BuildRequest

        with errors_for_mlflow():
            _no_endpoint(endpoint)
            _only_pyfunc(flavor)
            request = BuildRequest.from_strings(name, model_uri, config, target=self.target_uri, mode=mode)
            _tell_warnings(request.settings)
            return {"name": name, "flavor": _FLAVOR, **_built(request)}

    def _destination(self, config: Mapping[str, object] | None = None) -> Destination:
        from mlflow_dbimage.backends import open_destination

        return open_destination(_settings(self.target_uri, config), progress_on())


def run_local(
    name: str, model_uri: str, flavor: str | None = None, config: Mapping[str, object] | None = None
) -> None:
    """Make the image of a model in the local destination, and score rows with it.

    Scores the model's own example, or the file `input`; prints the predictions, or writes them to `output`.
    """
    from mlflow_dbimage.build_request import BuildRequest

    with errors_for_mlflow():
        _only_pyfunc(flavor)
        request = BuildRequest.from_strings(name, model_uri, config, mode="replace", local=True)
        _tell_warnings(request.settings)
        _built(request)
        if not request.settings.dry_run:
            click.echo(scoring_calls.score_file(request.settings, name, progress_on(), _tell), nl=False)


def target_help() -> str:
    """Explain targets and keys, with examples."""
    return help_text()


def _built(request: BuildRequest) -> dict[str, Any]:
    """Build, tell on stderr what MLflow's own line leaves out, and return it for Python callers."""
    from mlflow_dbimage import pipeline
    from mlflow_dbimage.backends import default_tools

    tools = default_tools(request.settings, progress_on())
    if request.settings.dry_run:
        with pipeline.plan(request, tools) as planned:
            data = planned.to_dict()
        _tell(terminal.plan(data))
        leave_command()
        return {"plan": data}
    data = pipeline.build(request, tools).to_dict()
    _tell(terminal.receipt(data))
    return {key: data[key] for key in ("reference", "digest", "tags")}


def _settings(target_uri: str, config: Mapping[str, object] | None = None) -> Settings:
    from mlflow_dbimage.settings_sources import load

    settings = load(config, target=target_uri)
    _tell_warnings(settings)
    return settings


def _tell_warnings(settings: Settings) -> None:
    for warning in settings.warnings:
        _tell(f"warning: {warning}")


def _tell(line: str) -> None:
    """Say something on stderr: stdout has what MLflow prints, and results."""
    click.echo(line, err=True)


def _no_endpoint(endpoint: str | None) -> None:
    if endpoint is not None:
        raise UsageError("not-supported", "there are no endpoints: an image is run, it does not listen")


def _only_pyfunc(flavor: str | None) -> None:
    if flavor not in (None, _FLAVOR):
        raise UsageError(
            "not-supported",
            f"the flavor `{flavor}` cannot be chosen: images load every model as `{_FLAVOR}`",
            hint="leave the flavor out",
        )
