"""Which runtime and which base image a model gets, and why. Pure functions over values.

The runtime is the one that is asked for; else the one that the model was logged on; else, of the supported ones
with its Python, the one whose packages agree with most of its pins, and among equals the one supported longest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timezone

from mlflow_dbimage.errors import MatchError
from mlflow_dbimage.image_location import ImageLocation, parse_base
from mlflow_dbimage.model_spec import ModelSpec
from mlflow_dbimage.runtime_fit import RuntimeFit, Subject, examine
from mlflow_dbimage.runtimes import Catalogue, Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeMatch:
    """A runtime, a base image, and how they were chosen."""

    fit: RuntimeFit | None
    """The runtime beside the model; None where a base image was named, and no runtime is known."""
    base: ImageLocation
    reasons: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """What people should know of it, that of the fit included."""

    @property
    def runtime(self) -> Runtime | None:
        """The runtime, where one is known."""
        return self.fit.runtime if self.fit else None


def match(
    spec: ModelSpec,
    wanted: str | None,
    base_image: ImageLocation | None,
    catalogue: Catalogue,
    site_bases: Mapping[str, ImageLocation],
    *,
    today: date | None = None,
) -> RuntimeMatch:
    """Choose the runtime of an image, and its base.

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
    choice = _Choice(Subject.of_model(spec), catalogue, site_bases, today)
    if wanted is not None:
        return choice.of(choice.wanted(wanted), base_image)
    logged = choice.logged(needs_base=base_image is None)
    if logged is None and base_image is None:
        return choice.of(choice.fitting(choice.candidates_with_base(), "with a known base image "), None)
    return choice.of(logged, base_image)


def choose(subject: Subject, wanted: str | None, catalogue: Catalogue, *, today: date | None = None) -> RuntimeFit:
    """Choose the runtime of a cluster that takes no image: a base need not be known, and machine learning counts.

    Raises: as `match`.
    """
    choice = _Choice(subject, catalogue, {}, today)
    runtime = choice.wanted(wanted) if wanted is not None else choice.logged(needs_base=False)
    return choice.fit(runtime or choice.fitting(choice.candidates(), ""))


class _Choice:
    """One match under way: gathers its reasons and warnings."""

    def __init__(
        self,
        subject: Subject,
        catalogue: Catalogue,
        site_bases: Mapping[str, ImageLocation],
        today: date | None,
    ) -> None:
        self._subject = subject
        self._catalogue = catalogue
        self._bases = _by_key(site_bases, catalogue)
        self._today = today or datetime.now(timezone.utc).date()
        self._reasons: list[str] = []
        self._warnings: list[str] = []

    def wanted(self, key: str) -> Runtime:
        """Return the runtime that is asked for, if its Python is the model's."""
        runtime = self._catalogue.get(key)
        if not self._subject.takes_python_of(runtime):
            raise MatchError(
                "runtime-mismatch",
                f"the runtime `{runtime.key}` has Python {runtime.python_minor}, and the {self._subject.noun}"
                f" needs {self._subject.python_wanted}",
                hint=self._what_fits(),
            )
        self._reasons.append(f"the runtime `{runtime.key}` was asked for")
        return runtime

    def logged(self, *, needs_base: bool) -> Runtime | None:
        """Return the runtime that the model was logged on, if it is known and has the model's Python."""
        named = self._subject.databricks_runtime
        if named is None:
            return None
        runtime = self._catalogue.find(named)
        if runtime is None:
            self._warnings.append(f"the model was logged on `{named}`, which the catalogue lacks")
            return None
        if not self._subject.takes_python_of(runtime):
            self._warnings.append(
                f"the model was logged on `{runtime.key}`, but asks for Python {self._subject.python_wanted},"
                f" and that runtime has {runtime.python_minor}"
            )
            return None
        if needs_base and self._base_of(runtime) is None:
            self._warnings.append(f"the model was logged on `{runtime.key}`, for which no base image is known")
            return None
        self._reasons.append(f"the model was logged on `{runtime.key}`")
        return runtime

    def candidates(self) -> list[Runtime]:
        """Return the supported runtimes with the Python that is needed."""
        return [each for each in self._with_the_python() if each.supported_on(self._today)]

    def candidates_with_base(self) -> list[Runtime]:
        """Return those of them for which a base image is known."""
        return [
            each
            for each in self.candidates()
            if self._base_of(each) is not None
            # Without a base of its own, one for machine learning is as good as the one without.
            if not each.is_ml or each.key in self._bases
        ]

    def fitting(self, candidates: list[Runtime], kind: str) -> Runtime:
        """Return the candidate that agrees with most pins, longest support first among equals."""
        if not candidates:
            raise MatchError(
                "runtime-mismatch",
                f"no supported runtime {kind}has Python {self._subject.python_wanted}",
                hint=self._what_fits(),
            )
        fits = {each.key: examine(each, self._subject, self._catalogue, self._today) for each in candidates}
        scores = {key: fit.comparison.score for key, fit in fits.items()}
        best = max(
            candidates,
            key=lambda each: (scores[each.key], each.end_of_support or date.min, not each.is_ml, not each.is_gpu),
        )
        equals = [key for key in scores if key != best.key and scores[key] == scores[best.key]]
        fewer = [key for key in scores if scores[key] < scores[best.key]]
        self._reasons.append(self._why(best, fits[best.key], equals, fewer))
        return best

    def _why(self, best: Runtime, fit: RuntimeFit, equals: list[str], fewer: list[str]) -> str:
        has = f"the {self._subject.noun}'s Python " if self._subject.python else "Python "
        text = f"`{best.key}` has {has}{best.python_minor}"
        if fewer:
            text += f", agrees with {fit.comparison.score[0]} of {len(fit.comparison.pins)} pins"
        if equals or not fewer:
            text += f" and is supported longest, until {best.end_of_support}"
        text += f"; {_listed(equals)} would do too" if equals else ""
        return text + (f"; with the other {len(fewer)} fewer agree" if fewer else "")

    def fit(self, runtime: Runtime) -> RuntimeFit:
        """Return the fit of the runtime that was chosen, with all that was found on the way."""
        if not runtime.supported_on(self._today):
            ended = f"since {runtime.end_of_support}" if runtime.end_of_support else "any more"
            self._warnings.append(f"the runtime `{runtime.key}` is not supported {ended}")
        found = examine(runtime, self._subject, self._catalogue, self._today)
        return replace(found, reasons=tuple(self._reasons), notes=(*self._warnings, *found.notes))

    def of(self, runtime: Runtime | None, base_image: ImageLocation | None) -> RuntimeMatch:
        """Return the match of a runtime, on the base that is named or on its own."""
        fit = self.fit(runtime) if runtime is not None else None
        base = base_image
        if base is not None:
            self._reasons.append(f"the base image `{base}` was asked for")
        else:
            assert runtime is not None, "without a base image, a runtime was chosen"
            base = self._own_base(runtime)
        reasons = tuple(self._reasons)
        return RuntimeMatch(
            fit=replace(fit, reasons=reasons) if fit else None,
            base=base,
            reasons=reasons,
            notes=fit.notes if fit else tuple(self._warnings),
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
        return self._catalogue.for_images(runtime) if runtime.is_ml else None

    def _with_the_python(self) -> list[Runtime]:
        return [each for each in self._catalogue.runtimes() if self._subject.takes_python_of(each)]

    def _what_fits(self) -> str:
        python, fitting = self._subject.python_wanted, self._with_the_python()
        if not fitting:
            return f"no runtime has Python {python}: name a base image"
        supported = [each.key for each in fitting if each.supported_on(self._today)]
        if supported:
            return f"runtimes with Python {python} are {_listed(supported)}"
        old = _listed([each.key for each in fitting])
        return f"runtimes with Python {python} are no longer supported, but can be asked for: {old}"


def _by_key(site_bases: Mapping[str, ImageLocation], catalogue: Catalogue) -> dict[str, ImageLocation]:
    """Return the site's base images by our keys, however the site writes them."""
    found = ((catalogue.find(key), key, base) for key, base in site_bases.items())
    return {runtime.key if runtime else key: base for runtime, key, base in found}


def _listed(keys: Sequence[str]) -> str:
    return ", ".join(f"`{key}`" for key in keys)
