"""Signing without a key, by Sigstore's own library: a service certifies who signs, and a log says when.

The identity is that of the machine's surroundings (a pipeline of GitHub or GitLab, a service account of Google),
or of a token that is given. The services are Sigstore's public ones, or those of a site.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow_dbimage.errors import InputError, ServiceError, UsageError
from mlflow_dbimage.evidence import statement
from mlflow_dbimage.evidence.signing_key import Identity, Keyless

if TYPE_CHECKING:
    from sigstore.models import ClientTrustConfig
    from sigstore.oidc import IdentityToken

#: The variable that names a file of the services to use, as `sigstore --trust-config` takes it.
CONFIG_VARIABLE = "DBIMAGE_SIGSTORE_CONFIG"
#: The variable that has a token of OpenID Connect, as cosign reads it.
TOKEN_VARIABLE = "SIGSTORE_ID_TOKEN"  # noqa: S105  # its name, no token


def keyless() -> Keyless:
    """Find who signs here.

    Raises:
        InputError: `bad-key`, nobody says who signs, or the token or configuration cannot be read.
        ServiceError: `signing-failed`, the services cannot be asked for.
        UsageError: `bad-value`, the library is not installed.
    """
    _must_be_installed()
    token, trust = _token(), _trust()
    return Keyless(
        seal=lambda statements: _sealed(statements, trust),
        identity=_Certified(trust, token.identity, token.federated_issuer),
    )


def identity(name: str, issuer: str) -> Identity:
    """Return what checks signatures of an identity.

    Args:
        name: As certificates have it: a mail address, or the URI of a pipeline.
        issuer: URL of who vouches for it.

    Raises: as `keyless`.
    """
    _must_be_installed()
    return _Certified(_trust(), name, issuer)


class _Certified:
    """An `Identity` by certificates."""

    def __init__(self, trust: ClientTrustConfig, name: str, issuer: str) -> None:
        from sigstore.verify import Verifier
        from sigstore.verify.policy import Identity as Policy

        self._verifier = Verifier(trusted_root=trust.trusted_root)
        self._policy = Policy(identity=name, issuer=issuer)

    def opened(self, bundle: bytes) -> bytes | None:
        from sigstore.errors import Error
        from sigstore.models import Bundle

        try:
            kind, payload = self._verifier.verify_dsse(Bundle.from_json(bundle), self._policy)
        except (Error, ValueError, TypeError, AttributeError, KeyError):  # whatever a bundle of strangers has
            return None
        return payload if kind == statement.MEDIA_TYPE else None


def _sealed(statements: Sequence[bytes], trust: ClientTrustConfig) -> tuple[bytes, ...]:
    from sigstore.dsse import Statement
    from sigstore.sign import SigningContext

    token = _token()  # anew: those of pipelines hold for minutes
    with _told(), SigningContext.from_trust_config(trust).signer(token) as signer:
        return tuple(signer.sign_dsse(Statement(each)).to_json().encode() for each in statements)


def _token() -> IdentityToken:
    from sigstore.oidc import IdentityError, IdentityToken, detect_credential

    try:
        raw = os.environ.get(TOKEN_VARIABLE) or detect_credential()
        if raw is None:
            raise InputError(
                "bad-key",
                "nothing says who signs: no pipeline gives a token of its identity",
                hint=f"allow the pipeline to (GitHub: `id-token: write`), or put a token into `{TOKEN_VARIABLE}`",
            )
        return IdentityToken(raw)
    except IdentityError as error:
        raise InputError("bad-key", f"the token of who signs cannot be taken: {error}") from None


def _trust() -> ClientTrustConfig:
    from sigstore.models import ClientTrustConfig

    place = os.environ.get(CONFIG_VARIABLE)
    if not place:
        with _told():
            return ClientTrustConfig.production()
    try:
        return ClientTrustConfig.from_json(Path(place).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError("bad-key", f"cannot read `{place}`: {error.strerror}") from error
    except Exception as error:  # of the library's models, by version
        reason = " ".join(str(error).split())[:300]
        raise InputError("bad-key", f"`{place}` does not name services of Sigstore: {reason}") from None


@contextmanager
def _told() -> Iterator[None]:
    """Say that a service failed; its library raises errors of its own, and those of what it is made with."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        causes: list[Any] = [error, error.__cause__]
        reason = "; ".join(f"{type(each).__name__}: {each}".rstrip(": ") for each in causes if each is not None)
        raise ServiceError(
            "signing-failed",
            f"the services of Sigstore do not sign: {reason}",
            hint=f"try again; `{CONFIG_VARIABLE}` names other services than the public ones",
        ) from error


def _must_be_installed() -> None:
    try:
        import sigstore  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "bad-value",
            "signing without a key, and checking it, need the package `sigstore`",
            hint="install `mlflow-dbimage[sigstore]`",
        ) from error
