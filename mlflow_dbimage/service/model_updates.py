"""Which model versions a run of a Databricks job is for, by the parameters that Databricks gives it.

A model update trigger fills `{{job.trigger.model.updates}}` with a JSON list of `full_name`, `version` and
`alias_name`; a deployment job has the job parameters `model_name` and `model_version`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mlflow_dbimage.errors import InputError
from mlflow_dbimage.oci.documents import read_json
from mlflow_dbimage.service.events import is_model_name, version_number
from mlflow_dbimage.service.rules import deployment_name

# What Databricks leaves in a parameter that nothing filled: the job was run by hand.
_UNFILLED = re.compile(r"\{\{.*\}\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUpdate:
    """A version of a model that is to be built."""

    name: str
    """With catalog and schema in Unity Catalog."""
    version: str

    @property
    def deployment(self) -> str:
        """The name of its deployment, as rules make it of the model's."""
        return deployment_name("{model}", self.name, self.version)

    def uri(self, registry: str | None) -> str:
        """Return its URI in a registry, such as `databricks-uc`; None is the one that MLflow is set to."""
        return f"models:{f'//{registry}' if registry else ''}/{self.name}/{self.version}"


def read(updates: str | None, name: str | None, version: str | None) -> tuple[ModelUpdate, ...]:
    """Read the parameters of a run; of a model's several updates each version is built once, in their order.

    Args:
        updates: The trigger's list.
        name: Of a deployment job's model.
        version: Of a deployment job's model.

    Raises:
        InputError: `event-invalid`, the parameters name no version, or cannot be read.
    """
    given = [text if text and not _UNFILLED.fullmatch(text.strip()) else None for text in (updates, name, version)]
    if given[0] is not None:
        found = [_update(each) for each in _listed(given[0])]
    elif given[1] is not None and given[2] is not None:
        found = [_update({"full_name": given[1], "version": given[2]})]
    else:
        raise _invalid(
            "they name no model version", hint="a run by hand names both: `--model-name`, `--model-version`"
        )
    return tuple(dict.fromkeys(found))


def _listed(text: str) -> list[object]:
    try:
        listed = read_json(text)
    except ValueError as error:
        raise _invalid("the updates are not JSON") from error
    if not isinstance(listed, list) or not listed:
        raise _invalid("the updates are not a list with something in it")
    return listed


def _update(each: object) -> ModelUpdate:
    data = each if isinstance(each, Mapping) else {}
    name, version = data.get("full_name"), version_number(data.get("version"))
    if not is_model_name(name) or "@" in name:  # in a URI it would begin an alias
        raise _invalid("an update has no `full_name` that is a model's name")
    if version is None:
        raise _invalid(f"the update of `{name}` has no `version` that is a number")
    return ModelUpdate(name=name, version=version)


def _invalid(why: str, hint: str | None = None) -> InputError:
    return InputError("event-invalid", f"the job's parameters cannot be used: {why}", hint=hint)
