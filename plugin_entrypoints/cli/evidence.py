"""What is attached to images: shown, and held against advisories."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from plugin_entrypoints import terminal
from plugin_entrypoints.cli.options import Common, common
from plugin_entrypoints.cli.signed_by import SignedBy, signed_by

if TYPE_CHECKING:
    from mlflow_dbimage.destinations.deployment import Deployment
    from mlflow_dbimage.errors import DbimageError
    from mlflow_dbimage.oci.referrer_store import ReferrerStore

_SEVERITIES = ("low", "medium", "high", "critical")


@click.command()
@click.argument("name")
@click.option(
    "--advisories",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Local copy of OSV's advisories: its archive of an ecosystem, a folder or a file. Default: OSV's service"
    " is asked about each Python package.",
)
@click.option(
    "--fail-on",
    type=click.Choice(_SEVERITIES),
    help="Exit with 6 where one is as bad as this, or worse; one that nobody has rated counts as worst.",
)
@signed_by
@common
@click.pass_context
def scan(
    context: click.Context,
    common: Common,
    *,
    name: str,
    advisories: Path | None,
    fail_on: str | None,
    signed: SignedBy,
) -> None:
    """Find known vulnerabilities of what the image of a deployment holds, by its bill of materials."""
    from mlflow_dbimage import image_scan
    from mlflow_dbimage.backends import advisory_finder, open_destination
    from mlflow_dbimage.evidence.advisories import Severity

    settings, progress = common.settings(), common.progress()
    threshold = None if fail_on is None else Severity.named(fail_on)
    found = image_scan.scan(
        name,
        open_destination(settings, progress),
        advisory_finder(settings, advisories),
        threshold=threshold,
        key=signed.verifier(),
    )
    data = found.to_dict()
    _show(context, common, data, terminal.scan(data), found.error)


@click.command()
@click.argument("name")
@signed_by
@click.option(
    "--policy",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="What is demanded (TOML). Default: that image and statements are signed.",
)
@click.option(
    "--advisories",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Local copy of OSV's advisories, for a policy that demands something of vulnerabilities.",
)
@common
@click.pass_context
def trust(
    context: click.Context,
    common: Common,
    *,
    name: str,
    signed: SignedBy,
    policy: Path | None,
    advisories: Path | None,
) -> None:
    """Say whether the image of a deployment is signed, and meets a policy."""
    from mlflow_dbimage import image_trust
    from mlflow_dbimage.backends import trust_tools
    from mlflow_dbimage.trust_policy import TrustPolicy, read_policy

    if not signed and policy is None:
        raise click.UsageError("name a key or an identity, a policy or both: without them nothing is demanded")
    demanded = TrustPolicy(signed=True) if policy is None else read_policy(policy)
    tools = trust_tools(common.settings(), common.progress(), signed.verifier(), advisories)
    found = image_trust.verify(name, demanded, tools)
    data = found.to_dict()
    rows = [("yes" if each["met"] else "NO", each["demand"], each["detail"]) for each in data["demands"]]
    _show(context, common, data, terminal.table(rows, ("met", "demand", "detail")), found.error)


def _show(
    context: click.Context, common: Common, data: dict[str, Any], text: str, error: DbimageError | None
) -> None:
    """Print a finding; where it is an error, say so and end with its exit code."""
    if error is not None:
        data["error"] = {"code": error.code, "message": error.message, "hint": error.hint}
    common.show(data, text)
    if error is not None:
        click.echo(f"error: {error.message}\nhint: {error.hint}", err=True)
        context.exit(error.exit_code)


def document(store: ReferrerStore | None, deployment: Deployment, shown: str, signed: SignedBy) -> str:
    """Read what is attached to the image of a deployment, as the text that it is.

    Raises:
        InputError: `no-evidence`, `bad-key`.
    """
    from mlflow_dbimage import attestation
    from mlflow_dbimage.evidence.bill_of_materials import CYCLONEDX_TYPE, SPDX_TYPE
    from mlflow_dbimage.oci.digest import Digest

    if store is None:
        raise attestation.nothing(shown, deployment.digest)
    opened = signed.verifier()
    digest = Digest.parse(deployment.digest)
    if shown in ("sbom", "spdx"):
        media_type = CYCLONEDX_TYPE if shown == "sbom" else SPDX_TYPE
        return attestation.bill(store, digest, media_type, opened).decode()
    kind: attestation.Kind = "provenance" if shown == "provenance" else "report"
    return attestation.read_statement(store, digest, kind, opened).to_bytes().decode()


COMMANDS = (scan, trust)
