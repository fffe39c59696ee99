"""Whether a record that another machine wrote has the form of ours: every field is somebody else's word.

What a record may say wrongly in the right form, and who must be trusted for it, is in docs/security.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from mlflow_dbimage.cluster_python import ClusterPython
from mlflow_dbimage.layer_facts import LayerFacts
from mlflow_dbimage.locked_env import LockedEnv
from mlflow_dbimage.model_layers import AddedLayer
from mlflow_dbimage.oci.descriptor import OCI_LAYER_GZIP, OCI_LAYER_TAR, OCI_LAYER_ZSTD
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.inventory import Inventory
from mlflow_dbimage.oci.layer_part import KINDS, LayerPart

#: The only note that an environment of another machine may have.
NOT_LOADED_THERE = "the model did not load or predict on the machine that made its environment's layers"

_Fits = Callable[[Any], bool]

_NAME = re.compile(r"[\w.+!-]+", re.ASCII)
_GLIBC = re.compile(r"\d+\.\d+", re.ASCII)
_PYTHON = re.compile(r"3\.\d+(?:\.\d+)?\w*", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LAYER_TYPES = frozenset({OCI_LAYER_TAR, OCI_LAYER_GZIP, OCI_LAYER_ZSTD})
_LAST_MODE = 0o7777
_ENVIRONMENT_FIELDS = {"bytecode", "bytecode_modules", "notes", "licences", "layers"}


def check(kind: str, content: Mapping[str, Any]) -> None:
    """Check one record.

    Args:
        kind: As `BuildCache` calls it.
        content: Any JSON object.

    Raises:
        ValueError: It has another form than records of that kind.
    """
    try:
        fits = _CHECKS[kind](content)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise ValueError(f"not a record of {kind}: {error}") from None
    if not fits:
        raise ValueError(f"not a record of {kind}")


def _inventory(content: Mapping[str, Any]) -> bool:
    read = Inventory.from_dict(content)
    packages = [each.to_dict() for each in read.packages]
    return (
        (read.glibc is None or _is(_GLIBC, read.glibc))
        and _table(content["os_release"], _text)
        and _table(content["directories"], _owner, keys=_path)
        and _list(content["programs"], _text)
        and _table(content["links"], _text)
        and all(_table(each, lambda value: value is None or _text(value)) for each in packages)
        and all(_text(each.name) and _text(each.version) and _text(each.architecture) for each in read.packages)
    )


def _cluster_python(content: Mapping[str, Any]) -> bool:
    read = ClusterPython.from_dict(content)
    return (
        _is(_PYTHON, read.python)
        and _list(content["paths"], _path)
        and _table(content["folders"], _owner, keys=_path)
        and all(
            _list(each["requires"], _printed) and _list(each["extras"], _text) for each in content["distributions"]
        )
        and all(
            _is(_NAME, each.name)
            and _text(each.version)
            and type(each.own) is type(each.compiled) is bool
            and _table(each.files, lambda value: value == "" or _is(_SHA256, value), keys=_path)
            for each in read.distributions.values()
        )
    )


def _base_distributions(content: Mapping[str, Any]) -> bool:
    return _list(content["files"], _path) and _table(
        content["owned"], lambda files: _list(files, _text), keys=_path
    )


def _facts(content: Mapping[str, Any]) -> bool:
    LayerFacts(**content)
    tables = ("scripts", "links")
    return type(content["has_part"]) is bool and all(
        _table(value, _text, keys=_text) if name in tables else _list(value, _text)
        for name, value in content.items()
        if name != "has_part"
    )


def _part(content: Mapping[str, Any]) -> bool:
    read = LayerPart.from_dict(content)
    return content.keys() == {"entries"} and all(
        kind in KINDS
        and _path(path)
        and type(mode) is int
        and 0 <= mode <= _LAST_MODE
        and _text(link)
        and (text is None or _printed(text.decode()))
        for kind, path, mode, link, text in read.entries
    )


def _environment(content: Mapping[str, Any]) -> bool:
    layers = [AddedLayer.from_dict(each) for each in content["layers"]]
    Digest.parse(content["bytecode_modules"])
    return (
        content.keys() == _ENVIRONMENT_FIELDS
        and content["bytecode"] in ("imported", "all", "none")
        and content["notes"] in ([], [NOT_LOADED_THERE])
        and _list(content["licences"], lambda each: len(each) == 3 and _list(each, _printed))
        and bool(layers)
        and all(_list(each["contents"], _text) for each in content["layers"])
        and all(
            layer.kind in ("environment", "whiteouts")
            and layer.descriptor.media_type in _LAYER_TYPES
            and not layer.descriptor.annotations
            and layer.descriptor.platform is None
            and layer.descriptor.size > 0
            and _text(layer.title)
            for layer in layers
        )
    )


def _lock(content: Mapping[str, Any]) -> bool:
    """Whether it is a lock; most of it is looked at where it is read (`locking.field_checks`)."""
    locked = LockedEnv.from_record(content)
    builder = locked.cluster.builder if locked.cluster is not None else ()
    part = content.get("cluster") or {"kept": {}, "superseded": []}
    return (
        _is(_PYTHON, locked.python)
        and _printed_throughout(content)
        and all(_plain(each) for package in (*locked.conda, *builder) for each in package.metadata.values())
        and _table(part["kept"], lambda value: _is(_NAME, value), keys=lambda name: _is(_NAME, name))
        and _list(part["superseded"], lambda name: _is(_NAME, name))
    )


_CHECKS: Mapping[str, Callable[[Mapping[str, Any]], bool]] = {
    "inventories": _inventory,
    "cluster-pythons": _cluster_python,
    "base-distributions": _base_distributions,
    "layer-facts": _facts,
    "layer-parts": _part,
    "base-parts": lambda content: content.keys() == {"layers"} and all(map(_part, content["layers"])),
    "locks": _lock,
    "environments": _environment,
    "remains": lambda content: content.keys() == {"lines"} and _list(content["lines"], _text),
}


def _is(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _text(value: object) -> bool:
    """Whether it is one line that cannot command a terminal."""
    return isinstance(value, str) and value.isprintable()


def _printed(value: object) -> bool:
    """Whether it is a text, which may have lines and tabs."""
    return isinstance(value, str) and re.sub(r"[\n\r\t]", "", value).isprintable()


def _path(value: object) -> bool:
    """Whether it is a relative path that stays where it begins."""
    return _text(value) and isinstance(value, str) and not value.startswith("/") and ".." not in value.split("/")


def _owner(value: object) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(type(each) is int and each >= 0 for each in value)


def _printed_throughout(value: object) -> bool:
    """Whether all texts in a JSON value are `_printed`, names of fields too."""
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, Mapping):
            left += [*each, *each.values()]
        elif isinstance(each, list):
            left += each
        elif isinstance(each, str) and not _printed(each):
            return False
    return True


def _plain(value: object) -> bool:
    """Whether it is a text, number or truth, or a list of texts."""
    return value is None or isinstance(value, (str, int)) or _list(value, lambda each: isinstance(each, str))


def _list(value: object, fits: _Fits) -> bool:
    return isinstance(value, list) and all(fits(each) for each in value)


def _table(value: object, fits: _Fits, keys: _Fits = _text) -> bool:
    return isinstance(value, Mapping) and all(keys(key) and fits(each) for key, each in value.items())
