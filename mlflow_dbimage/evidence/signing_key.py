"""Keys, as far as signing and checking need to know them; `backends` keeps them."""

from __future__ import annotations

from typing import Protocol


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
