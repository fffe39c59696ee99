"""The boundary to MLflow: its errors in our words, without credentials, and its chatter silenced."""

from __future__ import annotations

import errno
import importlib.util
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from mlflow_dbimage.backends.credentials_in_urls import scrubbed, secrets_of
from mlflow_dbimage.errors import DbimageError, InputError, ServiceError, UsageError

_SECRET_VARIABLES = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "DATABRICKS_TOKEN")
_PROGRESS_BAR = "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"
_NOT_FOUND = frozenset({"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"})
# MLflow joins the failures of its download threads into one text, with a code of its own.
_NOT_FOUND_WORDS = ("No such artifact", "404 Client Error", f"[Errno {errno.ENOENT}]")
_DATABASES = frozenset({"sqlite", "postgresql", "postgres", "mysql", "mssql"})
_DATABASE_MODULES = ("sqlalchemy", "alembic")
_LONGEST = 600


@contextmanager
def store_errors(thing: str) -> Iterator[None]:
    """Map whatever MLflow, its database driver or its HTTP client raise; ours pass.

    Args:
        thing: What MLflow is asked for, for the message.

    Raises:
        InputError: `model-not-found`.
        UsageError: `bad-model-uri`, MLflow has no reader for such a URI.
        ServiceError: `store-failed`, `disk-failed`.
    """
    try:
        with quiet():
            yield
    except DbimageError:
        raise
    except Exception as error:
        mapped, clean = _mapped(error, thing)
        # The original shows in tracebacks: it may only do so if nothing had to be taken out of it.
        raise mapped from (error if clean else None)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence MLflow's warnings and its own progress bars, which would run into ours."""
    had = os.environ.get(_PROGRESS_BAR)
    os.environ[_PROGRESS_BAR] = "false"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if had is None:
            os.environ.pop(_PROGRESS_BAR, None)
        else:
            os.environ[_PROGRESS_BAR] = had


def must_have_modules(uri: str) -> None:
    """Refuse a database without what reads databases: MLflow then says only that it knows no such scheme.

    Raises:
        ServiceError: `store-failed`.
    """
    if uri.partition(":")[0].partition("+")[0] not in _DATABASES:
        return
    for module in _DATABASE_MODULES:
        if importlib.util.find_spec(module) is None:
            raise _module_error(module)


def without_secrets(text: str) -> str:
    """Return a text of MLflow without the credentials that it is configured with, as far as it is loaded."""
    return scrubbed(text, _secrets())


def _secrets() -> tuple[str, ...]:
    found = [os.environ[name] for name in _SECRET_VARIABLES if os.environ.get(name)]
    mlflow = sys.modules.get("mlflow")
    asked = [getattr(mlflow, name, str)() for name in ("get_tracking_uri", "get_registry_uri")]
    uris = [os.environ.get("MLFLOW_TRACKING_URI", ""), os.environ.get("MLFLOW_REGISTRY_URI", ""), *asked]
    return (*found, *secrets_of(str(uri) for uri in uris if "@" in str(uri)))


def _mapped(error: Exception, thing: str) -> tuple[DbimageError, bool]:
    """Return our error, and whether nothing had to be taken out of the original's text."""
    whole = str(error)
    text = without_secrets(whole)
    shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
    return _in_our_words(error, thing, shown.strip() or type(error).__name__), text == whole


def _in_our_words(error: Exception, thing: str, text: str) -> DbimageError:
    missing = _missing_module(error)
    if missing is not None:
        return _module_error(missing)
    if _is_disk_full(error, text):
        return ServiceError("disk-failed", f"cannot write `{thing}`: no space left", hint="free some space")
    if "Could not find a registered artifact repository" in text:
        return UsageError("bad-model-uri", f"MLflow cannot read from `{thing}`: it knows no such scheme")
    if getattr(error, "error_code", None) in _NOT_FOUND or any(words in text for words in _NOT_FOUND_WORDS):
        return InputError(
            "model-not-found",
            f"MLflow does not find `{thing}`: {text}",
            hint="check the model URI, and which tracking server and registry MLflow is set to",
        )
    return ServiceError(
        "store-failed",
        f"MLflow's store failed for `{thing}`: {text}",
        hint="check MLFLOW_TRACKING_URI, MLFLOW_REGISTRY_URI and the credentials for them",
    )


def _missing_module(error: BaseException | None) -> str | None:
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name:
            return error.name.partition(".")[0]
        error = error.__cause__ or error.__context__
    return None


def _module_error(module: str) -> ServiceError:
    if module in _DATABASE_MODULES:
        return ServiceError(
            "store-failed",
            f"MLflow is set to a database, for which it needs `{module}`",
            hint="install the extra `sql`: `pip install 'mlflow-dbimage[sql]'`",
        )
    return ServiceError(
        "store-failed",
        f"MLflow needs the Python module `{module}` for its store, and it is not installed",
        hint=f"install what brings `{module}`",
    )


def _is_disk_full(error: Exception, text: str) -> bool:
    return getattr(error, "errno", None) == errno.ENOSPC or f"[Errno {errno.ENOSPC}]" in text
