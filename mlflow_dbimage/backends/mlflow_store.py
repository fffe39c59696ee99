"""Models of MLflow: the only place of a build that imports it, and only when something is asked of it.

Works with MLflow 2.9 and 3: a method that one of them lacks is not needed for what it can hold. Where MLflow
is, which registry and with which credentials, is its own configuration.
"""

from __future__ import annotations

import importlib
import re
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from mlflow_dbimage.backends.mlflow_errors import must_have_modules, quiet, store_errors, without_secrets
from mlflow_dbimage.errors import InputError, ServiceError
from mlflow_dbimage.locking.lock_inputs import without_credentials
from mlflow_dbimage.model_files import safe_paths
from mlflow_dbimage.model_reference import FoundModel, ModelOrigin, ModelReference, near

_LISTED = 20
# Set by MLflow where the logging program lies in a git repository (`mlflow.utils.mlflow_tags`).
_COMMIT_TAG, _REPOSITORY_TAG = "mlflow.source.git.commit", "mlflow.source.git.repoURL"
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class MlflowStore:
    """MLflow as this process is configured for it (`model_reference.ModelStore`)."""

    def describe(self) -> str:
        """Say which MLflow this is, and where its models are, without credentials."""
        with store_errors("the registry"):
            mlflow = importlib.import_module("mlflow")
            return without_secrets(f"MLflow {mlflow.__version__}, registry {mlflow.get_registry_uri()}")

    def find(self, reference: ModelReference) -> FoundModel:
        """Say what a reference means now."""
        if reference.kind == "path":
            _must_be_directory(reference)
            return FoundModel()
        with store_errors(reference.pinned_uri):
            client = open_client(reference.registry)
            if reference.kind == "run":
                client.get_run(reference.run_id)
                return FoundModel()
            if reference.kind == "logged":
                return _find_logged(client, reference)
            return _find_registered(client, reference)

    def download(self, reference: ModelReference, directory: Path) -> None:
        """Copy a pinned model's files into `directory`, all of them or nothing."""
        directory.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
        try:
            local = reference.directory or self._local_source(reference)
            got = _copy(local, aside / "model") if local else self._download(reference, aside)
            if not got.is_dir():
                raise InputError("model-not-found", f"`{reference.pinned_uri}` is a file, not a model directory")
            got.rename(directory)
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def origin(self, reference: ModelReference) -> ModelOrigin:
        """Say where a pinned model's code came from; what the registry does not tell is left out."""
        if reference.run_id is None:
            return ModelOrigin()
        try:
            with quiet():
                tags = open_client(reference.registry).get_run(reference.run_id).data.tags
        except Exception:  # the image is made: that its run was deleted must not undo that
            return ModelOrigin(run_id=reference.run_id)
        commit = str(tags.get(_COMMIT_TAG) or "")
        repository = str(tags.get(_REPOSITORY_TAG) or "")
        return ModelOrigin(
            run_id=reference.run_id,
            commit=commit if _COMMIT.fullmatch(commit) else None,
            repository=without_credentials(repository) or None,
        )

    def note_image(self, reference: ModelReference, image: str, digest: str, *, proven: bool) -> bool:
        """Tag a pinned model version with its image; a registry that may not be written to is no failure."""
        if reference.kind != "registered":
            return False
        status = "proven" if proven else "deployed"
        tags = {"dbimage_image": image, "dbimage_digest": digest, "dbimage_status": status}
        try:
            with quiet():
                client = open_client(reference.registry)
                for key, value in tags.items():
                    client.set_model_version_tag(reference.name, reference.version, key, value)
        except Exception:  # the image is made and named: whatever MLflow says now must not undo that
            return False
        return True

    def _local_source(self, reference: ModelReference) -> Path | None:
        """Return the model's directory where the artifact store is one of this machine.

        MLflow would follow the links in it, and so bring what lies outside into the model.
        """
        if reference.registry is not None or reference.kind == "path":
            return None
        repository = "runs" if reference.kind == "run" else "models"
        with store_errors(reference.pinned_uri):
            mlflow = importlib.import_module("mlflow")
            if str(mlflow.get_registry_uri()).startswith(("databricks", "uc:")):
                return None
            module = importlib.import_module(f"mlflow.store.artifact.{repository}_artifact_repo")
            kind = getattr(module, f"{repository.title()}ArtifactRepository")
            place = _local_path(str(kind.get_underlying_uri(reference.pinned_uri)))
        return place if place is not None and (place / "MLmodel").is_file() else None

    def _download(self, reference: ModelReference, aside: Path) -> Path:
        uri = reference.uri if reference.kind == "path" else reference.pinned_uri
        with store_errors(reference.pinned_uri):
            redirects = importlib.import_module("mlflow_dbimage.backends.mlflow_redirects")
            artifacts = importlib.import_module("mlflow.artifacts")
            # Always with a target: without one MLflow gives its store's own directory, and writes into it.
            with redirects.checked_redirects():
                return Path(artifacts.download_artifacts(artifact_uri=uri, dst_path=str(aside / "model")))


def _find_registered(client: Any, reference: ModelReference) -> FoundModel:
    name = str(reference.name)
    if reference.alias is not None:
        found = _or_none(lambda: client.get_model_version_by_alias(name, reference.alias))
        wanted = f"no version with the alias `{reference.alias}`"
    elif reference.version is not None:
        found = _or_none(lambda: client.get_model_version(name, reference.version))
        wanted = f"no version {reference.version}"
    else:
        candidates = _versions(client, name)
        if reference.stage != "latest":
            stage = str(reference.stage).lower()
            candidates = [each for each in candidates if str(each.current_stage).lower() == stage]
        found = max(candidates, key=lambda each: int(each.version), default=None)
        wanted = "no version" if reference.stage == "latest" else f"no version in the stage `{reference.stage}`"
    if found is None:
        raise _not_found(client, name, wanted)
    return FoundModel(
        version=str(found.version),
        run_id=found.run_id or None,
        model_id=getattr(found, "model_id", None) or None,
    )


def _find_logged(client: Any, reference: ModelReference) -> FoundModel:
    if hasattr(client, "get_logged_model"):
        found = _or_none(lambda: client.get_logged_model(reference.model_id))
        if found is not None:
            return FoundModel(name=found.name, model_id=found.model_id, run_id=found.source_run_id or None)
    known = _or_none(lambda: client.get_registered_model(reference.model_id))
    hint = "a registered model is named with its version, as `models:/NAME/VERSION` or `models:/NAME/latest`"
    if known is not None:
        hint = f"a registered model has that name: `models:/{reference.model_id}/latest` is its newest version"
    raise InputError(
        "model-not-found", f"MLflow has no logged model with the ID `{reference.model_id}`", hint=hint
    )


def _not_found(client: Any, name: str, wanted: str) -> InputError:
    model = _or_none(lambda: client.get_registered_model(name))
    if model is None:
        others = near(name, _names(client))
        listed = ", ".join(f"`{each}`" for each in others)
        hint = f"near names are {listed}" if others else "check the name, and which registry MLflow is set to"
        return InputError("model-not-found", f"MLflow has no registered model `{name}`", hint=hint)
    versions = sorted(_versions(client, name), key=lambda each: int(each.version), reverse=True)
    listed = ", ".join(str(each.version) for each in versions[:_LISTED])
    listed += f" and {len(versions) - _LISTED} older ones" if len(versions) > _LISTED else ""
    aliases = ", ".join(f"`{alias}`" for alias in sorted(model.aliases))
    hint = f"there are the versions {listed}" if versions else "it has no versions at all"
    hint += f", and the aliases {aliases}" if aliases else ""
    return InputError("model-not-found", f"the registered model `{name}` has {wanted}", hint=hint)


def _versions(client: Any, name: str) -> list[Any]:
    quote = '"' if "'" in name else "'"
    found: list[Any] = []
    token = None
    while True:
        page = client.search_model_versions(f"name={quote}{name}{quote}", page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _names(client: Any) -> tuple[str, ...]:
    found = _or_none(lambda: client.search_registered_models(max_results=1000))
    return tuple(str(each.name) for each in found or ())


def _or_none(ask: Any) -> Any:
    """Return what MLflow answers, or None where it says that there is no such thing."""
    exceptions = importlib.import_module("mlflow.exceptions")
    try:
        return ask()
    except exceptions.MlflowException as error:
        # The SQL store calls an alias that does not exist an invalid parameter.
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND"):
            return None
        raise


def open_client(registry: str | None = None) -> Any:
    """Return MLflow's client of another registry, or of the configured one, if its server or database is there.

    Raises:
        ServiceError: `store-failed`.
    """
    mlflow = importlib.import_module("mlflow")
    for uri in (str(mlflow.get_tracking_uri()), str(mlflow.get_registry_uri())):
        must_have_modules(uri)
        _must_exist(uri)
        _must_listen(uri)
    return mlflow.MlflowClient(registry_uri=registry)


def _must_exist(uri: str) -> None:
    """Refuse a database or directory that is not there: MLflow would make an empty one."""
    place = Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else _local_path(uri)
    if place is None or place.exists() or place.name.startswith(":memory:"):
        return
    raise ServiceError(
        "store-failed",
        f"MLflow is set to `{uri}`, which does not exist",
        hint="set MLFLOW_TRACKING_URI to your tracking server or database",
    )


def _must_listen(uri: str) -> None:
    """Refuse a server that is not there at once: MLflow would try again for minutes."""
    parts = urlsplit(uri)
    host = parts.hostname
    if parts.scheme not in ("http", "https") or host is None:
        return
    if parts.scheme in getproxies() and not proxy_bypass(host):
        return
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((host, port), timeout=20).close()
    except (ConnectionRefusedError, socket.gaierror) as error:
        raise ServiceError(
            "store-failed",
            f"MLflow is set to the server `{host}:{port}`, which does not answer: {error.strerror}",
            hint="start it, or set MLFLOW_TRACKING_URI to the one that you mean",
        ) from error
    except OSError:
        return  # slow, or reached in another way: MLflow itself will tell


def _local_path(uri: str) -> Path | None:
    parts = urlsplit(uri)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path))
    return Path(uri) if not parts.scheme and uri.startswith(("/", ".")) else None


def _must_be_directory(reference: ModelReference) -> None:
    directory = reference.directory
    if directory is None or directory.is_dir():
        return
    what = "is a file" if directory.exists() else "does not exist"
    raise InputError(
        "model-not-found",
        f"the model directory `{directory}` {what}",
        hint="a registered model is named with its scheme, as `models:/NAME/VERSION`",
    )


def _copy(source: Path, target: Path) -> Path:
    """Copy a directory as it is, links as links; one that holds what must not go into an image is refused."""
    safe_paths(source)
    return Path(shutil.copytree(source, target, symlinks=True))
