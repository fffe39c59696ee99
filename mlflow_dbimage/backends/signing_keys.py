"""Keys in PEM files, and keys of services that plugins bring.

A plugin is an entry point of the group `mlflow_dbimage.signing_keys`: named for the scheme of the URIs that it
takes (`awskms`), it is called with a URI and returns a `SigningKey`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from mlflow_dbimage.errors import DbimageError, InputError, ServiceError, UsageError
from mlflow_dbimage.evidence.signing_key import KeyPair, SigningKey, VerifyingKey

GROUP = "mlflow_dbimage.signing_keys"

#: The variable that has the password of an encrypted private key.
PASSWORD_VARIABLE = "DBIMAGE_SIGN_PASSWORD"  # noqa: S105  # its name, no password


def signing_key(where: str) -> KeyPair:
    """Open a private key, and its public part.

    Args:
        where: The path of a PEM file, or a URI that a plugin takes.

    Raises:
        InputError: `bad-key`, it cannot be read, or is of a kind that does not sign.
        ServiceError: `signing-failed`, the service that keeps it does not answer.
        UsageError: `bad-value`, no plugin takes the URI, or what reads keys is not installed.
    """
    scheme, separator, _ = where.partition("://")
    private = _of_plugin(scheme, where) if separator else _PemKey(_read(Path(where)), Path(where))
    return KeyPair(private=private, public=_PublicKey(private.public_pem, where))


def verifying_key(path: Path) -> VerifyingKey:
    """Open a public key.

    Raises:
        InputError: `bad-key`.
        UsageError: `bad-value`, what reads keys is not installed.
    """
    return _PublicKey(_read(path), path)


def _of_plugin(scheme: str, uri: str) -> SigningKey:
    known = {each.name: each for each in entry_points(group=GROUP)}
    if scheme not in known:
        listed = ", ".join(f"`{name}`" for name in sorted(known)) or "none"
        raise UsageError(
            "bad-value",
            f"no plugin signs with keys of `{scheme}://`; plugins that are installed take: {listed}",
            hint=f"install one, or name a PEM file; a plugin is an entry point of the group `{GROUP}`",
        )
    with _told(scheme, "open its key"):
        return _PluginKey(known[scheme].load()(uri), scheme)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError("bad-key", f"cannot read the key `{path}`: {error.strerror}") from error


@contextmanager
def _told(scheme: str, what: str) -> Iterator[None]:
    """Say that a plugin failed, which may raise anything; our own errors it may raise too."""
    try:
        yield
    except DbimageError:
        raise
    except Exception as error:
        raise ServiceError(
            "signing-failed",
            f"the plugin of `{scheme}://` could not {what}: {type(error).__name__}: {error}",
            hint="ask those who made the plugin, or the service, what it means",
        ) from error


class _PluginKey:
    """The key of a plugin, which may fail in ways of its own."""

    def __init__(self, key: Any, scheme: str) -> None:
        self._key = key
        self._scheme = scheme
        self.public_pem = bytes(key.public_pem)

    def sign(self, data: bytes) -> bytes:
        with _told(self._scheme, "sign"):
            return bytes(self._key.sign(data))


class _PemKey:
    """A private key in memory."""

    def __init__(self, pem: bytes, path: Path) -> None:
        self._key = _loaded_private(pem, path)

    @property
    def public_pem(self) -> bytes:
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        return bytes(self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))

    def sign(self, data: bytes) -> bytes:
        return bytes(self._key.sign(data, *_scheme(self._key)))


class _PublicKey:
    """A public key.

    Args:
        pem: The key.
        where: What it is called in messages.
    """

    def __init__(self, pem: bytes, where: str | Path) -> None:
        self._key = _loaded_public(pem, where)

    def verifies(self, signature: bytes, data: bytes) -> bool:
        from cryptography.exceptions import InvalidSignature

        try:
            self._key.verify(signature, data, *_scheme(self._key))
        except InvalidSignature:
            return False
        return True


def _loaded_private(pem: bytes, path: Path) -> Any:
    _must_be_installed()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    password = os.environ.get(PASSWORD_VARIABLE)
    try:
        return _of_known_kind(load_pem_private_key(pem, password.encode() if password else None), path)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(
            "bad-key",
            f"`{path}` holds no private key in PEM that can be opened: {error}",
            hint=f"a password is read from `{PASSWORD_VARIABLE}`",
        ) from None


def _loaded_public(pem: bytes, where: str | Path) -> Any:
    _must_be_installed()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        return _of_known_kind(load_pem_public_key(pem), where)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError("bad-key", f"`{where}` holds no public key in PEM: {error}") from None


def _of_known_kind(key: Any, where: str | Path) -> Any:
    if _scheme(key) is None:
        raise InputError("bad-key", f"the key `{where}` is none of ECDSA, RSA or Ed25519")
    return key


def _scheme(key: object) -> Any:
    """Return what a key's `sign` and `verify` are told besides the data; None for other kinds of keys."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
    from cryptography.hazmat.primitives.hashes import SHA256

    if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey):
        return (ec.ECDSA(SHA256()),)
    if isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey):
        return (padding.PKCS1v15(), SHA256())
    if isinstance(key, ed25519.Ed25519PrivateKey | ed25519.Ed25519PublicKey):
        return ()
    return None


def _must_be_installed() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "bad-value",
            "signing and checking signatures need the package `cryptography`",
            hint="install `mlflow-dbimage[sign]`",
        ) from error
