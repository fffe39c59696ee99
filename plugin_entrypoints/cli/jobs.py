"""Commands about Databricks: job-spec."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from plugin_entrypoints.cli.options import Common, common

if TYPE_CHECKING:
    from mlflow_dbimage.cluster_spec import ClusterSpec, ClusterWish
    from mlflow_dbimage.job_spec import Form

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
)


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
def job_spec(
    common: Common,
    name: str,
    *,
    form: Form,
    out: Path | None,
    input_: str,
    output: str,
    arguments: dict[str, str],
    **cluster: Any,
) -> None:
    """Write what Databricks needs to score with the image of a deployment.

    A job or a cluster for the API, an Asset Bundle, a compute policy, or an instance pool.
    """
    from mlflow_dbimage import job_spec as forms
    from mlflow_dbimage.cluster_spec import ClusterWish

    score = forms.ScoreWish(input=input_, output=output, arguments=arguments)
    document = forms.write(form, _cluster(common, name, ClusterWish(**cluster)), score)
    for note in document.notes:
        click.echo(f"note: {note}", err=True)
    if out is None:
        common.show(document.data, document.text.rstrip("\n"))
    else:
        _save(out, document.text)
        common.show({"file": str(out), "format": form}, f"wrote `{out}`")


COMMANDS = (job_spec,)


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
