"""The options that say who must have signed: a key, or an identity of Sigstore."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mlflow_dbimage.evidence.signing_key import Verifier


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedBy:
    """Who is named."""

    key: Path | None
    identity: str | None
    issuer: str | None

    def __bool__(self) -> bool:
        """Whether anybody is."""
        return self.key is not None or self.identity is not None

    def verifier(self) -> Verifier | None:
        """Return what checks signatures; None where nobody is named."""
        from mlflow_dbimage.backends import verifier

        return verifier(self.key, self.identity, self.issuer)


def signed_by(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--key`, `--identity` and `--issuer`, and who they name as its argument `signed`."""

    @functools.wraps(command)
    def called(*, key: Path | None, identity: str | None, issuer: str | None, **others: object) -> object:
        if (identity is None) != (issuer is None) or (key is not None and identity is not None):
            raise click.UsageError("name a key, or an identity with its issuer")
        return command(signed=SignedBy(key=key, identity=identity, issuer=issuer), **others)

    decorated: Callable[..., Any] = called
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


_OPTIONS = (
    click.option(
        "--key",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Take only what this public key (PEM) has signed; a bill of materials, if a provenance names it.",
    ),
    click.option(
        "--identity",
        metavar="NAME",
        help="In the place of a key: who must have signed by Sigstore, as certificates name them.",
    ),
    click.option("--issuer", metavar="URL", help="Who vouches for that identity."),
)
