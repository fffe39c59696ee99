"""What a registry says happened, in our words: `Event`, or why it is of no interest: `Ignored`.

Nothing of a payload is used but names: model, version, alias, tag. Its URLs are never followed, and a name that
could be read as anything but a name is refused.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeGuard, get_args

from mlflow_dbimage.errors import InputError
from mlflow_dbimage.oci.documents import read_json

Kind = Literal["version-created", "alias-set", "tag-set"]

KINDS: tuple[Kind, ...] = get_args(Kind)

#: Tags of this prefix are our own answers to the registry, and ask for nothing.
OWN_TAGS = "dbimage_"

#: The name in the deliveries of MLflow's test button, which bear a real signature and no other mark.
EXAMPLE_MODEL = "example_model"

_LONGEST = 256
# MLflow refuses `/` and `:` in the names of models; with them a name could be read as another kind of URI.
_MODEL = re.compile(r"[^\x00-\x1f\x7f/:]+")
_WORD = re.compile(r"[^\x00-\x1f\x7f]+")
_VERSION = re.compile(r"[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to one version of a registered model."""

    kind: Kind
    model: str
    version: str
    alias: str | None = None
    """Of `alias-set`."""
    key: str | None = None
    """Of the tag, for `tag-set`."""
    value: str | None = None
    delivery: str | None = None
    """What the same delivery has each time it is tried; None where nobody delivered it."""
    received: float
    """When it came here, in seconds since 1970."""

    def __str__(self) -> str:
        what = f"{self.model} version {self.version}"
        if self.kind == "alias-set":
            return f"alias {self.alias} set on {what}"
        if self.kind == "tag-set":
            return f"tag {self.key} set on {what}"
        return f"{what} created"

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """Something well-formed that asks for no build."""

    reason: str


def from_mlflow(body: bytes, *, delivery: str | None, received: float) -> Event | Ignored:
    """Read a delivery of MLflow's own server (3.3 and newer: `entity`, `action`, `data`).

    Raises:
        InputError: `event-invalid`.
    """
    payload = _object(body)
    what = f"{_text(payload, 'entity', _WORD)}.{_text(payload, 'action', _WORD)}"
    reader = _OF_MLFLOW.get(what)
    if reader is None:
        return Ignored(reason=f"`{what}` asks for no build")
    data = payload.get("data")
    if not isinstance(data, Mapping):
        raise _invalid("`data` is not an object")
    event = reader(data, {"delivery": delivery, "received": received})
    if event.model == EXAMPLE_MODEL:
        return Ignored(reason=f"`{EXAMPLE_MODEL}` is the model of MLflow's test deliveries")
    return event


def from_databricks(body: bytes, *, received: float) -> Event | Ignored:
    """Read a delivery of a Databricks workspace registry (its legacy HTTP hooks).

    They have no id; the digest of the whole body, which has the time in milliseconds, stands for one.

    Raises:
        InputError: `event-invalid`.
    """
    payload = _object(body)
    what = _text(payload, "event", _WORD)
    delivery = f"sha256:{hashlib.sha256(body).hexdigest()}"
    common: dict[str, Any] = {"delivery": delivery, "received": received}
    if what == "MODEL_VERSION_CREATED":
        return _event("version-created", payload, common, model="model_name")
    if what == "MODEL_VERSION_TAG_SET":
        return _databricks_tag(payload, common)
    return Ignored(reason=f"`{what}` asks for no build")


def is_model_name(value: object) -> TypeGuard[str]:
    """Whether a value may be the name of a registered model."""
    return isinstance(value, str) and _problem(value, _MODEL) is None


def version_number(value: object) -> str | None:
    """Return the version that a value says, as registries write it, or None where it is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or _VERSION.fullmatch(value) is None:
        return None
    return str(int(value))


def _databricks_tag(payload: Mapping[str, Any], common: dict[str, Any]) -> Event | Ignored:
    tags = payload.get("tags")
    if not isinstance(tags, list) or not all(isinstance(tag, Mapping) for tag in tags):
        raise _invalid("`tags` is not a list of objects")
    foreign = [tag for tag in tags if not str(tag.get("key", "")).startswith(OWN_TAGS)]
    if not foreign:
        return Ignored(reason="it sets only tags of our own")
    return _tag_event(payload, foreign[0], common, model="model_name")


def _created(data: Mapping[str, Any], common: dict[str, Any]) -> Event:
    return _event("version-created", data, common)


def _alias(data: Mapping[str, Any], common: dict[str, Any]) -> Event:
    return _event("alias-set", data, {**common, "alias": _text(data, "alias", _WORD)})


def _tag(data: Mapping[str, Any], common: dict[str, Any]) -> Event:
    return _tag_event(data, data, common)


def _tag_event(
    data: Mapping[str, Any], tag: Mapping[str, Any], common: dict[str, Any], *, model: str = "name"
) -> Event:
    value = tag.get("value")
    if not isinstance(value, str):
        raise _invalid("`value` is not a text")
    return _event("tag-set", data, {**common, "key": _text(tag, "key", _WORD), "value": value}, model=model)


def _event(kind: Kind, data: Mapping[str, Any], others: Mapping[str, Any], *, model: str = "name") -> Event:
    name, version = _text(data, model, _MODEL), version_number(data.get("version"))
    if version is None:
        raise _invalid("`version` is not a number")
    return Event(kind=kind, model=name, version=version, **others)


_OF_MLFLOW: dict[str, Callable[[Mapping[str, Any], dict[str, Any]], Event]] = {
    "model_version.created": _created,
    "model_version_alias.created": _alias,
    "model_version_tag.set": _tag,
}


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        payload = read_json(body)
    except ValueError as error:
        raise _invalid("it is not JSON") from error
    if not isinstance(payload, Mapping):
        raise _invalid("it is not a JSON object")
    return payload


def _text(data: Mapping[str, Any], key: str, form: re.Pattern[str]) -> str:
    value = data.get(key)
    if not isinstance(value, str):
        raise _invalid(f"`{key}` is missing, or not a text")
    problem = _problem(value, form)
    if problem is not None:
        raise _invalid(f"`{key}` {problem}")
    return value


def _problem(name: str, form: re.Pattern[str]) -> str | None:
    if not name.strip():
        return "is empty"
    if len(name) > _LONGEST:
        return f"has more than {_LONGEST} characters"
    if form.fullmatch(name) is None or not name.isprintable():
        return "has characters that no name has"
    return None


def _invalid(why: str) -> InputError:
    return InputError("event-invalid", f"the event cannot be read: {why}")
