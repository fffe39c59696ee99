"""Which model: any URI that MLflow takes, pinned once to one version.

`parse` is pure. `pin` asks the store what an alias, a stage or `latest` means now; from then on only the
version counts, so that nothing that moves meanwhile can mix two models.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import unquote, urlsplit, urlunsplit

from mlflow_dbimage.errors import UsageError

Kind = Literal["registered", "logged", "run", "path"]

FORMS = (
    "models:/NAME/VERSION",
    "models:/NAME@ALIAS",
    "models:/NAME/latest",
    "models:/MODEL_ID",
    "runs:/RUN_ID/PATH",
    "a model directory",
)

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
# As `profile@databricks` or `scope:key@databricks`: MLflow's way to name another registry.
_DATABRICKS = re.compile(r"(?:([^@/]+)@)?(databricks|databricks-uc)")
_RUN_ID = re.compile(r"[A-Za-z0-9][\w-]{0,255}", re.ASCII)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReference:
    """A model that somebody named; what is not part of its kind is None."""

    uri: str
    """As written."""
    kind: Kind
    pinned_uri: str
    """For people and records: names one version once pinned; no credentials, nothing of this machine."""
    name: str | None = None
    """Of a registered model, with its catalog and schema in Unity Catalog."""
    version: str | None = None
    alias: str | None = None
    stage: str | None = None
    """`latest`, or a stage as it was written."""
    model_id: str | None = None
    """Of a logged model; of a registered one where its version tells it."""
    run_id: str | None = None
    """That logged the model, where known."""
    path: str | None = None
    """Below the run; or of a local directory."""
    registry: str | None = None
    """URI of another registry than MLflow's configured one: `databricks://profile`."""

    @property
    def directory(self) -> Path | None:
        """The local directory, if that is what it names."""
        return Path(self.path) if self.kind == "path" and self.path is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundModel:
    """What a store knows of a model."""

    version: str | None = None
    name: str | None = None
    """Of a logged model."""
    model_id: str | None = None
    run_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOrigin:
    """Where a model's code came from, as far as the run that logged it says so."""

    run_id: str | None = None
    commit: str | None = None
    """Of the source repository: 40 hexadecimal digits."""
    repository: str | None = None
    """URL of the source repository, without credentials."""


class ModelStore(Protocol):
    """Where models are: MLflow, as it is configured."""

    def find(self, reference: ModelReference) -> FoundModel:
        """Say what a reference means now.

        Raises:
            InputError: `model-not-found`.
            ServiceError: `store-failed`.
        """

    def download(self, reference: ModelReference, directory: Path) -> None:
        """Copy a pinned model's files into `directory`, which must not exist; all of them, or nothing.

        Raises:
            InputError: `model-not-found`.
            ServiceError: `store-failed`, `disk-failed`.
        """

    def origin(self, reference: ModelReference) -> ModelOrigin:
        """Say where a pinned model's code came from, as far as it is known; never raises."""

    def note_image(self, reference: ModelReference, image: str, digest: str, *, proven: bool) -> bool:
        """Tag a pinned model version with its image, and say whether that could be done; never raises.

        Args:
            reference: The model version.
            image: Where its image is.
            digest: Of the image.
            proven: Whether the model ran in it as it should.
        """


def parse(uri: str) -> ModelReference:
    """Read a model URI, or the path of a model directory.

    Raises:
        UsageError: `bad-model-uri`.
    """
    text = uri.strip()
    if not text:
        raise _bad(uri, "it is empty")
    if _UNPRINTABLE.search(text):
        raise _bad(uri, "it has control characters")
    match = _SCHEME.match(text)
    scheme = match.group(1).lower() if match else ""
    rest = text[len(scheme) + 1 :] if match else text
    if scheme == "models":
        return _models(text, rest)
    if scheme == "runs":
        return _run(text, rest)
    if scheme == "file":
        return _directory(text, _path_of_file_uri(text))
    if scheme in ("model", "run"):
        raise _bad(uri, f"there is no scheme `{scheme}:`; `{scheme}s:{rest}` was perhaps meant")
    if match:
        return ModelReference(uri=text, kind="path", pinned_uri=_public(text))
    return _directory(text, text)


def pin(reference: ModelReference, store: ModelStore) -> ModelReference:
    """Return the reference with the one version that it means now.

    Raises:
        InputError: `model-not-found`.
        ServiceError: `store-failed`.
    """
    found = store.find(reference)
    pinned = replace(
        reference,
        name=reference.name or found.name,
        version=found.version,
        model_id=reference.model_id or found.model_id,
        run_id=reference.run_id or found.run_id,
    )
    if reference.kind != "registered":
        return pinned
    authority = _authority(reference.registry)
    return replace(pinned, pinned_uri=f"models:{authority}/{reference.name}/{found.version}")


def _models(uri: str, rest: str) -> ModelReference:
    registry, path = _split_authority(uri, rest, "models")
    parts = path.split("/")
    if not all(part.strip() for part in parts):
        raise _bad(uri, "a part of it is empty")
    if len(parts) > 2:
        raise _bad(uri, "it names something inside a model; name the model itself")
    pinned = f"models:{_authority(registry)}/{path}"
    if len(parts) == 2:
        name, suffix = parts
        if suffix.isdecimal():
            return _registered(uri, pinned, registry, name=name, version=str(int(suffix)))
        stage = "latest" if suffix.lower() == "latest" else suffix
        return _registered(uri, pinned, registry, name=name, stage=stage)
    name, at, alias = path.rpartition("@")
    if not at:
        return ModelReference(uri=uri, kind="logged", model_id=path, registry=registry, pinned_uri=pinned)
    if not name or not alias:
        raise _bad(uri, "an alias is written `models:/NAME@ALIAS`")
    return _registered(uri, pinned, registry, name=name, alias=alias)


def _registered(
    uri: str,
    pinned: str,
    registry: str | None,
    *,
    name: str,
    version: str | None = None,
    alias: str | None = None,
    stage: str | None = None,
) -> ModelReference:
    return ModelReference(
        uri=uri,
        kind="registered",
        name=name,
        version=version,
        alias=alias,
        stage=stage,
        registry=registry,
        pinned_uri=pinned,
    )


def _run(uri: str, rest: str) -> ModelReference:
    registry, whole = _split_authority(uri, rest, "runs")
    run_id, _, path = whole.partition("/")
    path = path.rstrip("/")
    if _RUN_ID.fullmatch(run_id) is None or not path:
        raise _bad(uri, "a model of a run is written `runs:/RUN_ID/PATH`")
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise _bad(uri, "its path must be plain, without `.`, `..` or empty parts")
    pinned = f"runs:{_authority(registry)}/{run_id}/{path}"
    return ModelReference(uri=uri, kind="run", run_id=run_id, path=path, registry=registry, pinned_uri=pinned)


def _split_authority(uri: str, rest: str, scheme: str) -> tuple[str | None, str]:
    """Split `//profile@databricks/path` or `/path` into the registry and the path."""
    if not rest.startswith("//"):
        if not rest.startswith("/"):
            raise _bad(uri, f"it lacks a slash; `{scheme}:/{rest}` was perhaps meant")
        return None, rest[1:]
    authority, _, path = rest[2:].partition("/")
    match = _DATABRICKS.fullmatch(authority)
    if match is None:
        if "@" in rest:
            raise _bad(uri, "only `PROFILE@databricks` may stand after the two slashes")
        raise _bad(uri, f"it has a slash too many; `{scheme}:{rest[1:]}` was perhaps meant")
    profile, service = match.groups()
    return f"{service}://{profile}" if profile else service, path


def _authority(registry: str | None) -> str:
    service, _, profile = (registry or "").partition("://")
    if not service:
        return ""
    return f"//{profile}@{service}" if profile else f"//{service}"


def _directory(uri: str, path: str) -> ModelReference:
    name = Path(path).name or Path(path).resolve().name
    return ModelReference(uri=uri, kind="path", path=path, pinned_uri=name)


def _path_of_file_uri(uri: str) -> str:
    parts = urlsplit(uri)
    if parts.netloc not in ("", "localhost"):
        raise _bad(uri, "a `file:` URI names a file of this machine, and no host")
    path = unquote(parts.path)
    if not path:
        raise _bad(uri, "it names no path")
    return path


def _public(uri: str) -> str:
    """Return a URI without user, password and query, which may be a signature."""
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise _bad(uri, str(error)) from error
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _bad(uri: str, why: str) -> UsageError:
    quoted = re.sub(r"(?<=//)[^/]*:[^/]*@", "***@", _UNPRINTABLE.sub("?", uri))
    forms = ", ".join(f"`{form}`" for form in FORMS[:-1])
    return UsageError(
        "bad-model-uri",
        f"`{quoted}` is not a model URI: {why}",
        hint=f"models are named {forms}, or by {FORMS[-1]}",
    )


def near(name: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of `names` that `name` was perhaps meant to be, nearest first."""
    folded = {each.lower(): each for each in names}
    return tuple(folded[each] for each in difflib.get_close_matches(name.lower(), folded, n=3))
