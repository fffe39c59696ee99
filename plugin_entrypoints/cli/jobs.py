"""Commands about Databricks: job-spec."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from plugin_entrypoints.cli.options import Common, common

if TYPE_CHECKING:
    from mlflow_dbimage.cluster_spec import ClusterSpec, ClusterWish
    from mlflow_dbimage.job_spec import Document, Form

_FORMS = ("job", "cluster", "bundle", "policy", "pool")


def _pairs(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for number, item in enumerate(values, 1):
        name, separator, value = item.partition("=")
        if not separator or not name:
            # The text is not repeated: it may be a secret.
            raise click.BadParameter(f"the value number {number} is not of the form `NAME=VALUE`")
        pairs[name] = value
    return pairs


_OPTIONS = (
    click.option("--spark-version", metavar="VERSION", help="`15.4.x-scala2.12`, or a runtime's key."),
    click.option("--node-type", metavar="TYPE", help="Of all machines; by default one of the registry's cloud."),
    click.option("--workers", type=click.IntRange(min=0), default=0, show_default=True, help="0: a single node."),
    click.option("--single-user", metavar="NAME", help="Who may use the cluster: user, group or principal."),
    click.option("--pool", metavar="ID", help="Instance pool to take machines from."),
    click.option("--secret-scope", metavar="SCOPE", help="Where user and password of the registry are kept."),
    click.option("--username-key", metavar="KEY", help="Of the user in that scope."),
    click.option("--password-key", metavar="KEY", help="Of the password in that scope."),
    click.option("--instance-profile", metavar="ARN", help="Lets a cluster on AWS pull from ECR."),
    click.option(
        "--env",
        "environment",
        metavar="NAME=VALUE",
        multiple=True,
        callback=_pairs,
        help="A variable of the cluster; may be repeated. Secrets as `{{secrets/SCOPE/KEY}}`.",
    ),
    click.option("--input", "input_", metavar="X", default="", help="What to score, if a run names nothing."),
    click.option("--output", metavar="Y", default="", help="Where the predictions go, if a run names nothing."),
    click.option(
        "--argument",
        "arguments",
        metavar="NAME=VALUE",
        multiple=True,
        callback=_pairs,
        help="A further option of the scoring program, such as `keep=id`; may be repeated.",
    ),
    click.option("--builder", is_flag=True, help="A job that builds images as models change; NAME is the job's."),
    click.option(
        "--scope", metavar="NAME", help="Of a builder: `catalog.schema[.model]`; default: the metastore."
    ),
    click.option(
        "--alias",
        "aliases",
        metavar="NAME",
        multiple=True,
        help="Of a builder: build when it is set; may be repeated. Default: every new version.",
    ),
    click.option("--deployment-job", is_flag=True, help="Of a builder: for one model, which starts it itself."),
    click.option("--library", metavar="REQUIREMENT", help="Of a builder: this program, or the path of its wheel."),
)
_OF_SCORING = ("input_", "output", "arguments")
_OF_BUILDERS = ("scope", "aliases", "deployment_job", "library")


def _wishes(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command("job-spec")
@click.argument("name")
@click.option(
    "--format", "form", type=click.Choice(_FORMS), default="job", show_default=True, help="What to write."
)
@click.option(
    "-o", "--out", type=click.Path(dir_okay=False, path_type=Path), help="File to write, in place of stdout."
)
@_wishes
@common
def job_spec(common: Common, name: str, *, form: Form, out: Path | None, builder: bool, **wishes: Any) -> None:
    """Write what Databricks needs to score with the image of a deployment, or to build images.

    A job or a cluster for the API, an Asset Bundle, a compute policy, or an instance pool. With `--builder`, the
    job that builds what Unity Catalog tells of; each `-C` key goes to its builds.
    """
    of_scoring = {key: wishes.pop(key) for key in _OF_SCORING}
    of_builders = {key: wishes.pop(key) for key in _OF_BUILDERS}
    _must_be_unset(of_scoring if builder else of_builders, "of a builder" if builder else "without `--builder`")
    if builder:
        document = _builder(common, name, form, of_builders, wishes)
    else:
        document = _scoring(common, name, form, of_scoring, wishes)
    for note in document.notes:
        click.echo(f"note: {note}", err=True)
    if out is None:
        common.show(document.data, document.text.rstrip("\n"))
    else:
        _save(out, document.text)
        common.show({"file": str(out), "format": form}, f"wrote `{out}`")


COMMANDS = (job_spec,)


def _must_be_unset(options: dict[str, Any], where: str) -> None:
    given = [
        f"`--{key.strip('_').replace('_', '-').replace('aliases', 'alias')}`" for key in options if options[key]
    ]
    if given:
        raise click.UsageError(
            f"{', '.join(given)} means nothing {where}".replace("`--arguments`", "`--argument`")
        )


def _scoring(common: Common, name: str, form: Form, score: dict[str, Any], cluster: dict[str, Any]) -> Document:
    from mlflow_dbimage import job_spec as forms
    from mlflow_dbimage.cluster_spec import ClusterWish

    wish = forms.ScoreWish(input=score["input_"], output=score["output"], arguments=score["arguments"])
    return forms.write(form, _cluster(common, name, ClusterWish(**cluster)), wish)


def _builder(common: Common, name: str, form: Form, wanted: dict[str, Any], cluster: dict[str, Any]) -> Document:
    from mlflow_dbimage import __version__
    from mlflow_dbimage.cluster_spec import ClusterWish, describe_plain
    from mlflow_dbimage.job_spec import Document, bundled
    from mlflow_dbimage.runtimes import Catalogue
    from mlflow_dbimage.service.builder_job import BuilderJobWish, builder_job

    if form not in ("job", "bundle"):
        raise click.UsageError(f"a builder is a `job` or a `bundle`, and no `{form}`")
    settings = common.settings()
    described = describe_plain(settings.destination, ClusterWish(**cluster), Catalogue.load(settings.runtimes_dir))
    job = builder_job(
        BuilderJobWish(
            name=name,
            library=wanted["library"] or f"mlflow-dbimage=={__version__}",
            cluster=described.data,
            target=settings.destination,
            scope=wanted["scope"] or "",
            aliases=wanted["aliases"],
            deployment_job=wanted["deployment_job"],
            settings={key: str(value) for key, value in common.given.items()},
        )
    )
    return Document(form=form, data=bundled(job) if form == "bundle" else job, notes=described.notes)


def _cluster(common: Common, name: str, wish: ClusterWish) -> ClusterSpec:
    from mlflow_dbimage.backends import open_destination
    from mlflow_dbimage.cluster_spec import describe
    from mlflow_dbimage.errors import InputError
    from mlflow_dbimage.runtimes import Catalogue

    settings = common.settings()
    deployment = open_destination(settings, common.progress()).deployment(name)
    if deployment is None:
        raise InputError(
            "not-deployed", f"no deployment is named `{name}`", hint="`dbimage list` shows those that are"
        )
    return describe(deployment, settings.destination, wish, Catalogue.load(settings.runtimes_dir))


def _save(path: Path, text: str) -> None:
    from mlflow_dbimage.build_cache import write_aside
    from mlflow_dbimage.errors import disk_errors

    with disk_errors():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_aside(path, text.encode())
        path.chmod(0o644)
