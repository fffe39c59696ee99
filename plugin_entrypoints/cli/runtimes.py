"""Commands about runtimes: list, show, match."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from plugin_entrypoints import terminal
from plugin_entrypoints.cli.options import Common, common

if TYPE_CHECKING:
    from mlflow_dbimage.errors import MatchError
    from mlflow_dbimage.runtime_fit import RuntimeFit
    from mlflow_dbimage.runtimes import Catalogue, Runtime

_COLUMNS = ("runtime", "python", "spark", "java", "os", "support", "packages")
_FILE = click.Path(path_type=Path, dir_okay=False)
_REQUIRED = ("same", "compatible")


@click.group()
def runtimes() -> None:
    """Look at the catalogue of Databricks Runtimes, or hold a model against it."""


@runtimes.command("list")
@common
def list_(common: Common) -> None:
    """List the runtimes that are known, oldest first."""
    rows = [_summary(each) for each in _catalogue(common).runtimes()]
    common.show(rows, terminal.table([_cells(each) for each in rows], _COLUMNS))


@runtimes.command()
@click.argument("key")
@common
def show(common: Common, key: str) -> None:
    """Show one runtime: what it is made of, its packages, its container image, and what is not certain of it.

    KEY is `15.4-lts-ml`, or as Databricks writes it, `15.4.x-cpu-ml-scala2.12`.
    """
    catalogue = _catalogue(common)
    runtime = catalogue.get(key)
    cluster, image = catalogue.for_images(runtime), catalogue.dcs_image(key)
    data = {
        **_summary(runtime),
        "name": runtime.name,
        "spark_version": runtime.spark_version_string,
        "glibc": runtime.glibc,
        "scala": runtime.scala,
        "delta": runtime.delta,
        "mlflow": runtime.mlflow,
        "as_of": runtime.as_of.isoformat(),
        "release_date": runtime.release_date.isoformat() if runtime.release_date else None,
        "complete": runtime.complete,
        "image_spark_version": cluster.spark_version_string if cluster else None,
        "dcs_image": cluster.dcs_image if cluster else None,
        "bootstrap": dict(image.bootstrap) if image else None,
        "conda": catalogue.conda_list(key) is not None,
        "sources": list(runtime.sources),
        "unverified": list(runtime.unverified),
        "notes": list(runtime.notes),
        "packages": dict(runtime.packages),
    }
    common.show(data, terminal.runtime(data))


@runtimes.command()
@click.argument("subject")
@click.option(
    "--runtime", metavar="KEY", help="Runtime to hold it against, in the place of the one that fits best."
)
@click.option(
    "--require",
    type=click.Choice(_REQUIRED),
    help="End with 4 unless every pin is the same, or at least compatible.",
)
@click.option("--junit", type=_FILE, metavar="FILE", help="Write a JUnit report, a test a pin.")
@click.option("--markdown", type=_FILE, metavar="FILE", help="Write a report in Markdown.")
@click.option(
    "--libraries",
    type=_FILE,
    metavar="FILE",
    help="Write what differs or is missing as the Jobs API's list of libraries.",
)
@common
@click.pass_context
def match(
    context: click.Context,
    /,
    common: Common,
    *,
    subject: str,
    runtime: str | None,
    require: Literal["same", "compatible"] | None,
    **files: Path | None,
) -> None:
    """Hold a model, or an environment file, against a runtime: every pin, Python, MLflow, support.

    SUBJECT is a model URI or directory, or a file: `environment.yml`, `requirements.txt`, `pylock.toml`.
    """
    from mlflow_dbimage.errors import DbimageError
    from mlflow_dbimage.match_reports import ReportFiles, libraries, refusal

    reports = ReportFiles(**files)
    try:
        fit = _fit(common, subject, runtime)
    except DbimageError as error:
        reports.write_error(subject, error)
        raise
    for each in reports.write(subject, fit, require):
        click.echo(f"warning: `{each}` cannot be a library of a cluster: no index is known to have it", err=True)
    refused = refusal(fit, require) if require else None
    data = {"subject": subject, **fit.to_dict(), "required": require, "met": refused is None}
    data |= {"libraries": libraries(fit)[0], **_error(refused)}
    common.show(data, terminal.fit(data))
    if refused is not None:
        click.echo(f"error: {refused.message}\nhint: {refused.hint}", err=True)
        context.exit(refused.exit_code)


COMMANDS = (runtimes,)


def _catalogue(common: Common) -> Catalogue:
    from mlflow_dbimage.runtimes import Catalogue

    return Catalogue.load(common.settings().runtimes_dir)


def _fit(common: Common, subject: str, runtime: str | None) -> RuntimeFit:
    from mlflow_dbimage import runtime_gate
    from mlflow_dbimage.backends import gate_sources

    settings = common.settings()
    return runtime_gate.examine(
        subject, runtime or settings.runtime, settings, gate_sources(settings, common.progress())
    )


def _error(refused: MatchError | None) -> dict[str, Any]:
    """Give the refusal as every error is given, beside the result that it comes from."""
    if refused is None:
        return {}
    return {"error": {"code": refused.code, "message": refused.message, "hint": refused.hint}}


def _summary(runtime: Runtime) -> dict[str, Any]:
    ended = runtime.end_of_support
    return {
        "runtime": runtime.key,
        "python": runtime.python,
        "spark": runtime.spark,
        "java": runtime.java,
        "os": runtime.os,
        "end_of_support": ended.isoformat() if ended else None,
        "days_left": (ended - datetime.now(timezone.utc).date()).days if ended else None,
        "package_count": len(runtime.packages),
    }


def _cells(row: dict[str, Any]) -> list[object]:
    support = terminal.support(row["end_of_support"], row["days_left"])
    return [row["runtime"], row["python"], row["spark"], row["java"], row["os"], support, row["package_count"]]
