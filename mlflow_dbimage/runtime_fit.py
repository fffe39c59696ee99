"""How well a runtime fits: its packages against every pin, its Python, MLflow, Spark and support."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from packaging.specifiers import SpecifierSet

from mlflow_dbimage import pip_lines
from mlflow_dbimage.environment_spec import Requirement
from mlflow_dbimage.model_spec import ModelSpec
from mlflow_dbimage.pin_comparison import Comparison, compare
from mlflow_dbimage.runtimes import Catalogue, Runtime

_SPARK = "pyspark"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is to run on a runtime: a model, or what an environment file asks for."""

    noun: str
    """For people: `model` or `environment`."""
    python: str | None
    """`3.11.7` or `3.11`; None where only a range or nothing is known."""
    python_range: str = ""
    """Specifiers of PEP 440 where no version is named: `>=3.10`; empty for any."""
    conda: tuple[Requirement, ...] = ()
    pip: tuple[Requirement, ...] = ()
    constraints: tuple[Requirement, ...] = ()
    """Lines that count only for packages that others require."""
    databricks_runtime: str | None = None
    """That a model was logged on."""
    mlflow: str | None = None
    """That logged a model."""
    cloudpickle: str | None = None
    """That made a model's pickle."""

    @classmethod
    def of_model(cls, spec: ModelSpec) -> Subject:
        """Return what a model asks for, with the lists that its pip lines name."""
        pip, constraints = pip_lines.expanded(spec.directory, spec.environment.pip)
        return cls(
            noun="model",
            python=spec.environment.python,
            conda=spec.environment.conda,
            pip=pip,
            constraints=constraints,
            databricks_runtime=spec.databricks_runtime,
            mlflow=spec.mlflow_version,
            cloudpickle=spec.pickle.cloudpickle,
        )

    @property
    def python_wanted(self) -> str:
        """The Python that counts, for people: `3.11`, `>=3.10`, `any version`."""
        return ".".join(self.python.split(".")[:2]) if self.python else self.python_range or "any version"

    def takes_python_of(self, runtime: Runtime) -> bool:
        """Whether the runtime's Python will do: the same minor, or one of the range."""
        if self.python is not None:
            return self.python_wanted == runtime.python_minor
        # Where the patch of the runtime's Python is not known, one that is high stands for it.
        known = (runtime.python, f"{runtime.python_minor}.99")[
            : 2 if runtime.python == runtime.python_minor else 1
        ]
        return any(SpecifierSet(self.python_range).contains(each) for each in known)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeFit:
    """A runtime beside what is to run on it."""

    subject: Subject
    runtime: Runtime
    comparison: Comparison
    days_left: int | None
    """Until support ends; negative once it has, None where the day is not known."""
    spark_version: str
    """That a cluster which takes container images is given: of a runtime for machine learning, its sibling's."""
    dcs_image: str | None
    """Databricks' own base image for that cluster."""
    notes: tuple[str, ...]
    """What people should know of it."""
    reasons: tuple[str, ...] = ()
    """Why it was chosen."""

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        runtime, ended = self.runtime, self.runtime.end_of_support
        return {
            "runtime": runtime.key,
            "as_of": runtime.as_of.isoformat(),
            "python": {
                self.subject.noun: self.subject.python or self.subject.python_range,
                "runtime": runtime.python,
            },
            "mlflow": {self.subject.noun: self.subject.mlflow, "runtime": runtime.mlflow},
            "cloudpickle": {
                self.subject.noun: self.subject.cloudpickle,
                "runtime": runtime.packages.get("cloudpickle"),
            },
            "spark": runtime.spark,
            "spark_version": self.spark_version,
            "dcs_image": self.dcs_image,
            "end_of_support": ended.isoformat() if ended else None,
            "days_left": self.days_left,
            "counts": dict(self.comparison.counts),
            "pins": [each.to_dict() for each in self.comparison.pins],
            "unread": [each.text for each in self.comparison.unread],
            "reasons": list(self.reasons),
            "notes": list(self.notes),
        }


def examine(
    runtime: Runtime, subject: Subject, catalogue: Catalogue, today: date, reasons: tuple[str, ...] = ()
) -> RuntimeFit:
    """Hold a runtime against what is to run on it.

    Args:
        runtime: To look at.
        subject: What is to run.
        catalogue: Knows the runtime's siblings and conda packages.
        today: The day on which support counts.
        reasons: Why this runtime.

    Raises:
        InputError: `bad-config-file`, a file of the catalogue cannot be read.
    """
    comparison = compare(
        subject.conda,
        subject.pip,
        runtime.python,
        _packages(runtime),
        catalogue.conda_packages(runtime.key),
        constraints=subject.constraints,
    )
    cluster = catalogue.for_images(runtime)
    ended = runtime.end_of_support
    return RuntimeFit(
        subject=subject,
        runtime=runtime,
        comparison=comparison,
        days_left=(ended - today).days if ended else None,
        spark_version=(cluster or runtime).spark_version_string,
        dcs_image=cluster.dcs_image if cluster else None,
        notes=tuple(_notes(runtime, subject, comparison, cluster)),
        reasons=reasons,
    )


def _packages(runtime: Runtime) -> Mapping[str, str]:
    """Return the packages with Spark, which clusters bring themselves, whatever a resolved list says."""
    return {**runtime.packages, _SPARK: runtime.spark}


def _notes(runtime: Runtime, subject: Subject, comparison: Comparison, cluster: Runtime | None) -> list[str]:
    key, notes = f"`{runtime.key}`", []
    if (
        subject.python
        and subject.python.count(".") == runtime.python.count(".")
        and subject.python != runtime.python
    ):
        notes.append(f"the {subject.noun} asks for Python {subject.python}, and {key} has {runtime.python}")
    for name, logged, has in (
        ("MLflow", subject.mlflow, runtime.mlflow),
        ("cloudpickle", subject.cloudpickle, runtime.packages.get("cloudpickle")),
    ):
        if logged is not None and logged != has:
            verb = "logged the model" if name == "MLflow" else "made the model's pickle"
            notes.append(f"{name} {logged} {verb}, and {key} has {has or 'none that is known'}")
    if any(each.pin.name == _SPARK for each in comparison.pins):
        notes.append(
            f"clusters of {key} bring Spark {runtime.spark}: a model's pyspark is never put into their own Python"
        )
    if cluster is not runtime and cluster is not None:
        string = cluster.spark_version_string
        notes.append(f"clusters of {key} take no container images: give them the `spark_version` `{string}`")
    if not runtime.complete:
        notes.append(f"the list of {key} is not whole: it may have what is missing here")
    notes += [
        f"`{line.text}` ({line.origin}) names no distribution, and was not compared" for line in comparison.unread
    ]
    return notes
