"""What any door asks of the core: a model, a name, a destination, and the settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mlflow_dbimage import image_check
from mlflow_dbimage.destinations.deployment import CACHE_NAME, INDEX_NAME
from mlflow_dbimage.destinations.golden_bases import MARK as BASE_MARK
from mlflow_dbimage.errors import UsageError
from mlflow_dbimage.image_location import ImageLocation
from mlflow_dbimage.image_request import ImageRequest
from mlflow_dbimage.settings import Settings
from mlflow_dbimage.settings_sources import Surroundings, load

#: What a build does where the name is taken, or is not: `replace` takes both.
Mode = Literal["create", "update", "replace"]

# A tag has 128 characters, of which `-v<version>-<12 digits>` and the user's own tag are not the name's.
_LONGEST = 80
# One component of a repository path (OCI distribution specification 1.1, "Pulling manifests"). Dots separate
# components in a registry, where catalog, schema and model of Unity Catalog become folders.
_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_ALLOWED = re.compile(r"[a-z0-9._-]")
_VERSION_LIKE = re.compile(r".*-(?:v[0-9]+|local)(?:-[0-9a-f]{12})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest(ImageRequest):
    """A build that somebody wants."""

    name: str
    """Of the deployment; empty where nothing is to be deployed."""
    model_uri: str
    """As the caller wrote it."""
    mode: Mode

    @classmethod
    def from_strings(
        cls,
        name: str | None,
        model_uri: str,
        given: Mapping[str, object] | None = None,
        *,
        target: str | None = None,
        mode: Mode = "create",
        local: bool = False,
        surroundings: Surroundings | None = None,
    ) -> BuildRequest:
        """Read a request from what a door got.

        Args:
            name: Of the deployment; None for a plan.
            model_uri: Of the model.
            given: Keys and values, as strings or as Python's own types.
            target: Where the image goes; None for the configured destination.
            mode: What to do where the name is taken, or is not.
            local: Whether the image is to be run here: it goes to the user's own destination, whatever is
                configured, and the keys of a local run are taken.
            surroundings: Where settings may come from besides; those of this process by default.

        Raises:
            UsageError: `bad-name`, `unknown-key`, `bad-value`, `bad-location`.
            InputError: `bad-config-file`.
        """
        settings = load(given, target=target, local_run=local, surroundings=surroundings)
        if local:
            settings = replace(settings, target=None)
        if name is not None:
            check_name(name, settings)
        return cls(name=name or "", model_uri=model_uri, mode=mode, settings=settings)

    @property
    def target(self) -> ImageLocation:
        """Where the image goes."""
        return self.settings.destination

    @property
    def runtime(self) -> str | None:
        """The runtime that is wished for."""
        return self.settings.runtime

    @property
    def base_image(self) -> ImageLocation | None:
        """The base image that is wished for."""
        return self.settings.base_image

    @property
    def env_layout(self) -> str:
        """Where the environment is wished to lie: `auto`, `isolated`, `overlay` or `cluster`."""
        return self.settings.env_layout

    @property
    def site_bases(self) -> Mapping[str, ImageLocation]:
        """The site's own base images, by runtime."""
        return self.settings.bases

    @property
    def bytecode(self) -> str:
        """Which modules get byte code: `imported`, `all` or `none`."""
        return self.settings.bytecode

    @property
    def sbom(self) -> str:
        """The form of the bill of materials: `cyclonedx`, `spdx` or `none`."""
        return self.settings.sbom

    @property
    def verify(self) -> image_check.Mode:
        """How far the image is proven before it gets its name."""
        return self.settings.verify

    @property
    def expected_output(self) -> Path | None:
        """A file of what the model should predict for its example."""
        return self.settings.expected_output


def check_name(name: str, settings: Settings, what: str = "deployment") -> None:
    """Refuse a name that not every destination can hold as a tag and as a repository.

    Raises:
        UsageError: `bad-name`.
    """
    if len(name) > _LONGEST:
        raise _bad_name(name, f"it has {len(name)} characters, and {_LONGEST} is the most", what)
    if _NAME.fullmatch(name) is None:
        raise _bad_name(name, _why_not(name), what)
    if name in (CACHE_NAME, INDEX_NAME):
        raise _bad_name(name, "it is where records of all deployments are in a registry", what)
    shares_tags = settings.destination.transport == "oci" or "{name}" not in settings.repository
    if shares_tags and _VERSION_LIKE.fullmatch(name):
        why = "it ends as the tags of versions do, and would be taken for a version of another deployment"
        raise _bad_name(name, why, what)
    if shares_tags and what == "deployment" and name.startswith(BASE_MARK):
        raise _bad_name(name, f"names of golden bases begin with `{BASE_MARK}` there", what)


def _bad_name(name: str, why: str, what: str) -> UsageError:
    suggestion = re.sub(r"[^a-z0-9.]+", "-", name.lower()[:_LONGEST]).strip(".-")
    suggestion = re.sub(r"[.-]*\.[.-]*", ".", suggestion)
    if what == "deployment":
        suggestion = suggestion.removeprefix(BASE_MARK)
    if _VERSION_LIKE.fullmatch(suggestion):
        suggestion = re.sub(r"-(v[0-9]+|local)", r"_\1", suggestion)
    hint = "names are of lower-case letters and digits, with `.`, `_` or `-` between"
    if _NAME.fullmatch(suggestion) and suggestion != name:
        hint += f"; `{suggestion}` would do"
    return UsageError("bad-name", f"the {what} cannot be named `{name}`: {why}", hint=hint)


def _why_not(name: str) -> str:
    if not name:
        return "it is empty"
    foreign = sorted({character for character in name if _ALLOWED.fullmatch(character) is None})
    if foreign:
        listed = ", ".join("a space" if each == " " else f"`{each}`" for each in foreign)
        return f"no tag or repository can hold {listed}"
    if not name[0].isalnum() or not name[-1].isalnum():
        return "it must begin and end with a letter or digit"
    return "`.` and `_` must stand alone between letters or digits (`__` and `--` may be)"
