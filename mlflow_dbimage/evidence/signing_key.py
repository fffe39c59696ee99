"""Keys, as far as signing and checking need to know them; `backends` keeps them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from mlflow_dbimage.errors import ServiceError


class SigningKey(Protocol):
    """Signs. The private part may be anywhere: in memory, or in a service that only signs."""

    @property
    def public_pem(self) -> bytes:
        """The public key, in PEM."""

    def sign(self, data: bytes) -> bytes:
        """Return the signature of `data`: ECDSA of its SHA-256, in DER; RSA by PKCS #1 1.5; or plain Ed25519.

        Raises:
            ServiceError: `signing-failed`, the service that keeps the key does not sign.
        """


class VerifyingKey(Protocol):
    """Checks signatures."""

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Whether it is the signature of `data` by this key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """A key that signs, with its public part, by which it knows its signatures again."""

    private: SigningKey
    public: VerifyingKey

    @property
    def public_pem(self) -> bytes:
        """The public key, in PEM."""
        return self.private.public_pem

    def sign(self, data: bytes) -> bytes:
        """Return the signature of `data`, in the form of `SigningKey.sign`.

        Raises:
            ServiceError: `signing-failed`, the service that keeps the key does not sign, or with another key.
        """
        signature = self.private.sign(data)
        if not self.public.verifies(signature, data):
            raise ServiceError(
                "signing-failed",
                "what the service of the key signs is not verified by the public key that it gives",
                hint="ask those who made the plugin for the form of its signatures",
            )
        return signature

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Whether it is the signature of `data` by this key."""
        return self.public.verifies(signature, data)


@runtime_checkable
class Identity(Protocol):
    """Checks what somebody has signed whom a service has certified, in the place of a key."""

    def opened(self, bundle: bytes) -> bytes | None:
        """Return the statement of a bundle that this identity has signed; None of any other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyless:
    """Who signs without a key, and knows their signatures again."""

    seal: Callable[[Sequence[bytes]], Sequence[bytes]]
    """Returns a bundle of each statement; raises `ServiceError` (`signing-failed`)."""
    identity: Identity

    def opened(self, bundle: bytes) -> bytes | None:
        """Return the statement of a bundle that they have signed; None of any other."""
        return self.identity.opened(bundle)


#: Who signs, and who is known to have signed.
Signer = KeyPair | Keyless
Verifier = VerifyingKey | Identity
