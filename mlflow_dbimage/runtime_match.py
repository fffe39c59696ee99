"""Which runtime and which base image a model gets, and why. Pure functions over values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timezone

from mlflow_dbimage.errors import MatchError
from mlflow_dbimage.image_location import ImageLocation, parse_base
from mlflow_dbimage.model_spec import ModelSpec
from mlflow_dbimage.runtimes import Catalogue, Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeMatch:
    """A runtime, a base image, and how they were chosen."""

    runtime: Runtime | None
    """None where a base image was named, and no runtime is known."""
    base: ImageLocation
    reasons: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def match(
    spec: ModelSpec,
    wanted: str | None,
    base_image: ImageLocation | None,
    catalogue: Catalogue,
    site_bases: Mapping[str, ImageLocation],
    *,
    today: date | None = None,
) -> RuntimeMatch:
    """Choose the runtime: the wanted one, else the one that the model was logged on, else one that fits.

    Args:
        spec: The model.
        wanted: Key of the runtime that is wished for.
        base_image: The base image that is wished for; with it, a runtime need not be found.
        catalogue: The runtimes that are known.
        site_bases: The site's own base images, by runtime key.
        today: The day on which support counts; the current one by default.

    Raises:
        MatchError: `unknown-runtime`, `runtime-mismatch`.
        InputError: `bad-config-file`, a runtime's file cannot be read.
    """
    choice = _Choice(spec, catalogue, site_bases, today or datetime.now(timezone.utc).date())
    if wanted is not None:
        return choice.of(choice.wanted(wanted), base_image)
    logged = choice.logged(needs_base=base_image is None)
    if logged is None and base_image is None:
        return choice.of(choice.fitting(), None)
    return choice.of(logged, base_image)


class _Choice:
    """One match under way: gathers its reasons and warnings."""

    def __init__(
        self, spec: ModelSpec, catalogue: Catalogue, site_bases: Mapping[str, ImageLocation], today: date
    ) -> None:
        self._python = spec.environment.python_minor
        self._logged_on = spec.databricks_runtime
        self._catalogue = catalogue
        self._bases = _by_key(site_bases, catalogue)
        self._today = today
        self._reasons: list[str] = []
        self._warnings: list[str] = []

    def wanted(self, key: str) -> Runtime:
        """Return the runtime that is asked for, if its Python is the model's."""
        runtime = self._catalogue.get(key)
        if runtime.python_minor != self._python:
            raise MatchError(
                "runtime-mismatch",
                f"the runtime `{runtime.key}` has Python {runtime.python_minor}, and the model needs"
                f" {self._python}",
                hint=self._what_fits(),
            )
        self._reasons.append(f"the runtime `{runtime.key}` was asked for")
        return runtime

    def logged(self, *, needs_base: bool) -> Runtime | None:
        """Return the runtime that the model was logged on, if it is known and has the model's Python."""
        if self._logged_on is None:
            return None
        runtime = self._catalogue.find(self._logged_on)
        if runtime is None:
            self._warnings.append(f"the model was logged on `{self._logged_on}`, which the catalogue lacks")
            return None
        if runtime.python_minor != self._python:
            self._warnings.append(
                f"the model was logged on `{runtime.key}`, but asks for Python {self._python},"
                f" and that runtime has {runtime.python_minor}"
            )
            return None
        if needs_base and self._base_of(runtime) is None:
            self._warnings.append(f"the model was logged on `{runtime.key}`, for which no base image is known")
            return None
        self._reasons.append(f"the model was logged on `{runtime.key}`")
        return runtime

    def fitting(self) -> Runtime:
        """Return the supported runtime with the model's Python and a known base, longest support first."""
        fitting = [
            each
            for each in self._with_the_python()
            if each.supported_on(self._today) and self._base_of(each) is not None
            # Without a base of its own, one for machine learning is as good as the one without.
            if not each.is_ml or each.key in self._bases
        ]
        if not fitting:
            raise MatchError(
                "runtime-mismatch",
                f"no supported runtime with a known base image has Python {self._python}",
                hint=self._what_fits(),
            )
        best = max(fitting, key=lambda each: (each.end_of_support or date.min, not each.is_ml))
        others = [each.key for each in fitting if each != best]
        besides = f"; {_listed(others)} would do too" if others else ""
        self._reasons.append(
            f"`{best.key}` has the model's Python {self._python} and is supported longest,"
            f" until {best.end_of_support}{besides}"
        )
        return best

    def of(self, runtime: Runtime | None, base_image: ImageLocation | None) -> RuntimeMatch:
        """Return the match of a runtime, on the base that is named or on its own."""
        if runtime is not None and not runtime.supported_on(self._today):
            ended = f"since {runtime.end_of_support}" if runtime.end_of_support else "any more"
            self._warnings.append(f"the runtime `{runtime.key}` is not supported {ended}")
        base = base_image
        if base is not None:
            self._reasons.append(f"the base image `{base}` was asked for")
        else:
            assert runtime is not None, "without a base image, a runtime was chosen"
            base = self._own_base(runtime)
        return RuntimeMatch(
            runtime=runtime, base=base, reasons=tuple(self._reasons), warnings=tuple(self._warnings)
        )

    def _base_of(self, runtime: Runtime) -> ImageLocation | None:
        """Return the base image of a runtime: the site's, else Databricks', else that of its sibling."""
        for each in filter(None, (runtime, self._sibling(runtime))):
            if each.key in self._bases:
                return self._bases[each.key]
            if each.dcs_image is not None:
                return parse_base(each.dcs_image)
        return None

    def _own_base(self, runtime: Runtime) -> ImageLocation:
        base = self._base_of(runtime)
        if base is None:
            raise MatchError(
                "runtime-mismatch",
                f"no base image is known for the runtime `{runtime.key}`",
                hint="name a base image, or configure one for this runtime",
            )
        sibling = self._sibling(runtime)
        whose = "configured for" if base in self._bases.values() else "Databricks' own for"
        if sibling is not None and runtime.key not in self._bases:
            self._reasons.append(
                f"clusters of `{runtime.key}` take no container images:"
                f" the base is that of `{sibling.key}`, `{base}`"
            )
        else:
            self._reasons.append(f"the base image `{base}` is {whose} `{runtime.key}`")
        return base

    def _sibling(self, runtime: Runtime) -> Runtime | None:
        """Return, for a runtime for machine learning, the one without."""
        return self._catalogue.find(runtime.key.partition("-")[0]) if runtime.is_ml else None

    def _with_the_python(self) -> list[Runtime]:
        return [each for each in self._catalogue.runtimes() if each.python_minor == self._python]

    def _what_fits(self) -> str:
        fitting = self._with_the_python()
        if not fitting:
            return f"no runtime has Python {self._python}: name a base image"
        supported = [each.key for each in fitting if each.supported_on(self._today)]
        if supported:
            return f"runtimes with Python {self._python} are {_listed(supported)}"
        old = _listed([each.key for each in fitting])
        return f"runtimes with Python {self._python} are no longer supported, but can be asked for: {old}"


def _by_key(site_bases: Mapping[str, ImageLocation], catalogue: Catalogue) -> dict[str, ImageLocation]:
    """Return the site's base images by our keys, however the site writes them."""
    found = ((catalogue.find(key), key, base) for key, base in site_bases.items())
    return {runtime.key if runtime else key: base for runtime, key, base in found}


def _listed(keys: Sequence[str]) -> str:
    return ", ".join(f"`{key}`" for key in keys)
