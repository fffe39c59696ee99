"""MLflow's model registry, as the service looks at it and answers it.

MLflow's own registry filters and sorts on its side, so a look costs a request or two for each kind of rule.
Unity Catalog's can do neither: models are named in the configuration, and each costs a request for its
aliases, one for every page of its versions, and, where a rule is about tags, one for each version.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from mlflow_dbimage.backends.mlflow_errors import store_errors
from mlflow_dbimage.backends.mlflow_store import open_client
from mlflow_dbimage.service.reconcile import Alias, Version

_PAGE = 200
_WILD = frozenset("*?[")
_MISSING = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND")


class MlflowRegistry:
    """The registry that this process's MLflow is set to (`TagRegistry`)."""

    def set_tags(self, model: str, version: str, tags: Mapping[str, str | None]) -> None:
        """Set tags of a model version, and take away those without a value."""
        with store_errors(f"models:/{model}/{version}"):
            client = open_client()
            for key, value in tags.items():
                if value is not None:
                    client.set_model_version_tag(model, version, key, value)
                elif key in client.get_model_version(model, version).tags:
                    client.delete_model_version_tag(model, version, key)

    def keep_files(self, model: str, version: str, folder: str, files: Mapping[str, str]) -> bool:
        """Keep texts as artifacts of the version's run."""
        with store_errors(f"models:/{model}/{version}"), tempfile.TemporaryDirectory() as place:
            client = open_client()
            run = client.get_model_version(model, version).run_id
            if not run:
                return False
            for name, text in files.items():
                (Path(place) / name).write_text(text, encoding="utf-8")
            client.log_artifacts(run, place, folder)
            return True

    def look(self, names: tuple[str, ...]) -> MlflowLook | UnityCatalogLook:
        """Begin a look at the models of some names, or at all; in Unity Catalog at none but those.

        Raises:
            ServiceError: `store-failed`.
        """
        with store_errors("the registry"):
            mlflow = importlib.import_module("mlflow")
            is_unity = str(mlflow.get_registry_uri()).startswith(("databricks-uc", "uc:"))
            return (UnityCatalogLook if is_unity else MlflowLook)(open_client(), names)


class _Look:
    """One look, whose requests are counted.

    Args:
        client: MLflow's.
        names: Of models; none is all.
    """

    def __init__(self, client: Any, names: tuple[str, ...]) -> None:
        self._client = client
        self._names = names
        self.requests = 0

    def _ask(self, method: str, *arguments: object, **options: object) -> Any:
        self.requests += 1
        with store_errors("the registry"):
            return getattr(self._client, method)(*arguments, **options)

    def _pages(self, method: str, **options: object) -> Iterator[Any]:
        token = None
        while True:
            page = self._ask(method, max_results=_PAGE, page_token=token, **options)
            yield from page
            token = page.token
            if not token:
                return

    def _model(self, name: str) -> list[Any]:
        """Return a model, or nothing where there is none of that name."""
        self.requests += 1
        with store_errors(f"models:/{name}"):
            exceptions = importlib.import_module("mlflow.exceptions")
            try:
                return [self._client.get_registered_model(name)]
            except exceptions.MlflowException as error:
                if error.error_code in _MISSING:
                    return []
                raise


class MlflowLook(_Look):
    """A look at the registry of MLflow's own server or database (`reconcile.RegistryLook`)."""

    def versions(self, since: float) -> Iterable[Version]:
        """Ask for the newest versions first, until they are older than `since`."""
        for found in self._pages("search_model_versions", order_by=["creation_timestamp DESC"]):
            version = _version(found)
            if version.created < since:
                return
            if self._is_meant(version.model):
                yield version

    def tagged(self, key: str, value: str) -> Iterable[Version]:
        """Ask for the versions with a tag; where its key is a pattern, for all."""
        options = {} if (_WILD | {"`"}) & set(key) else {"filter_string": _tag_filter(key, value)}
        found = self._pages("search_model_versions", **options)
        return [_version(each) for each in found if self._is_meant(str(each.name))]

    def aliases(self) -> Iterable[Alias]:
        """Ask for all models, which bring their aliases; for the named ones where there are names."""
        models = (
            [model for name in self._names for model in self._model(name)]
            if self._names
            else self._pages("search_registered_models")
        )
        return [alias for model in models for alias in _aliases(model)]

    def _is_meant(self, model: str) -> bool:
        return not self._names or model in self._names


class UnityCatalogLook(_Look):
    """A look at the named models and schemas of Unity Catalog (`reconcile.RegistryLook`)."""

    def versions(self, since: float) -> Iterable[Version]:
        """Ask for the versions of each model."""
        return [each for each in self._all_versions if each.created >= since]

    def tagged(self, key: str, value: str) -> Iterable[Version]:
        """Ask for each version of each model: listings have no tags."""
        return [_version(self._ask("get_model_version", each.model, each.version)) for each in self._all_versions]

    def aliases(self) -> Iterable[Alias]:
        """Ask for each model, which brings its aliases."""
        return [alias for name in self._models for model in self._model(name) for alias in _aliases(model)]

    @cached_property
    def _models(self) -> tuple[str, ...]:
        """The named models, and those of the named schemas, for which all models must be listed."""
        named = {name for name in self._names if name.count(".") == 2}
        schemas = tuple(f"{name}." for name in self._names if name.count(".") == 1)
        if schemas:
            listed = self._pages("search_registered_models")
            named |= {str(each.name) for each in listed if str(each.name).startswith(schemas)}
        return tuple(sorted(named))

    @cached_property
    def _all_versions(self) -> tuple[Version, ...]:
        return tuple(
            _version(each)
            for name in self._models
            for each in self._pages("search_model_versions", filter_string=f"name='{name}'")
        )


def _version(found: Any) -> Version:
    return Version(
        model=str(found.name),
        version=str(found.version),
        created=(found.creation_timestamp or 0) / 1000,
        tags=tuple(sorted((str(key), str(value)) for key, value in (found.tags or {}).items())),
    )


def _aliases(model: Any) -> list[Alias]:
    found = sorted((model.aliases or {}).items())
    return [Alias(model=str(model.name), alias=str(name), version=str(version)) for name, version in found]


def _tag_filter(key: str, value: str) -> str:
    """Write MLflow's filter for a tag; a pattern of values is left to the rules."""
    if _WILD & set(value) or "'" in value:
        return f"tags.`{key}` LIKE '%'"
    return f"tags.`{key}` = '{value}'"
