"""What is asked of a golden base: whose packages, on which system, where, and the settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow_dbimage.build_request import check_name
from mlflow_dbimage.errors import UsageError
from mlflow_dbimage.image_location import ImageLocation, parse_base
from mlflow_dbimage.image_request import ImageRequest
from mlflow_dbimage.settings_sources import Surroundings, load


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseRequest(ImageRequest):
    """A golden base that somebody wants."""

    runtime: str | None
    """Whose packages it is to have; None where `env_file` says."""
    env_file: Path | None
    name: str | None
    """None: the runtime's key, or the name in the file."""
    system: ImageLocation | None
    """The operating system; None: Databricks' own image of the runtime."""
    prefix: str | None
    """Where the environment is to lie; None where runtime or file decide."""
    allow_drift: bool

    @classmethod
    def from_options(
        cls,
        *,
        runtime: str | None = None,
        env_file: Path | None = None,
        name: str | None = None,
        system: str | None = None,
        prefix: str | None = None,
        allow_drift: bool = False,
        given: Mapping[str, object] | None = None,
        target: str | None = None,
        surroundings: Surroundings | None = None,
    ) -> BaseRequest:
        """Read a request from what a door got.

        Raises:
            UsageError: `bad-value`, not one of runtime and file is named; `not-supported`, a dry run; `bad-name`,
                `bad-location`, `unknown-key`.
            InputError: `bad-config-file`.
        """
        settings = load(given, target=target, surroundings=surroundings)
        if runtime is None and env_file is None:
            runtime = settings.runtime
        if (runtime is None) == (env_file is None):
            raise UsageError(
                "bad-value", "a base has the packages of a runtime or of an environment file: name one of the two"
            )
        if settings.dry_run:
            raise UsageError(
                "not-supported",
                "there is no dry run of a golden base",
                hint="without leave to drift, packages that cannot be had are told before anything is made",
            )
        if name is not None:
            check_name(name, settings, what="golden base")
        return cls(
            runtime=runtime,
            env_file=env_file,
            name=name,
            system=settings.base_image if system is None else parse_base(system),
            prefix=prefix,
            allow_drift=allow_drift,
            settings=settings,
        )

    def name_of(self, title: str) -> str:
        """Return the name of the base: as asked for, else as its packages are called.

        Raises:
            UsageError: `bad-name`.
        """
        if self.name is not None:
            return self.name
        name = re.sub(r"[^a-z0-9.]+", "-", title.lower()).strip(".-")
        check_name(name, self.settings, what="golden base")
        return name

    @property
    def bytecode(self) -> str:
        """`all` or `none`: there is no model whose imports could be told."""
        return "none" if self.settings.bytecode == "none" else "all"
