"""How blobs get into a repository: mounted from another one of the registry, or sent.

Source: OCI distribution specification 1.1, "Pushing blobs"; of its ways the one that all registries take
(docs/measurements.md): POST, one PATCH with the whole blob, PUT with the digest. What breaks begins anew with
POST: registries differ in what they keep of half a PATCH.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from mlflow_dbimage.errors import ServiceError
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.registry_auth import Access
from mlflow_dbimage.oci.registry_transport import Call, Transport


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploader:
    """Puts blobs into one repository."""

    transport: Transport
    repository: str

    def has(self, digest: Digest) -> bool:
        """Ask whether a blob is there."""
        call = Call(
            method="HEAD",
            place=f"/v2/{self.repository}/blobs/{digest}",
            access=self._access,
            accepts=frozenset({200, 404}),
        )
        return self.transport.send(call).status == 200

    def put(self, digest: Digest, size: int, body: Callable[[], BinaryIO], mount_from: str | None = None) -> bool:
        """Mount a blob or send it, and return whether it was sent.

        Args:
            digest: Of the blob.
            size: Its bytes.
            body: Opens it; called again where the connection broke.
            mount_from: A repository of the same registry that is thought to have it.

        Raises:
            ServiceError: As `Transport.send`, or what `body` raises.
            VerificationError: From `body`; nothing is stored then.
        """
        begun = False

        def attempt() -> bool:
            nonlocal begun
            if begun and self.has(digest):  # it was stored, and only the answer was lost
                return True
            first, begun = not begun, True
            location = self._mounting(digest, mount_from) if mount_from and first else self._beginning()
            if location is None:
                return False
            self._send(location, digest, size, body)
            return True

        return self.transport.patiently(attempt)

    def mount(self, digest: Digest, source: str) -> bool:
        """Mount a blob from another repository of the registry, and return whether that was granted."""
        place = f"{self._uploads}?mount={digest}&from={source}"
        call = self._empty("POST", place, self._access.and_pull(source), frozenset({201, 202}))
        return self.transport.send(call).status == 201

    @property
    def _access(self) -> Access:
        return Access.to(self.repository, "pull,push")

    @property
    def _uploads(self) -> str:
        return f"/v2/{self.repository}/blobs/uploads/"

    def _mounting(self, digest: Digest, source: str) -> str | None:
        """Return None if the blob was mounted, else where its upload goes on."""
        place = f"{self._uploads}?mount={digest}&from={source}"
        call = self._empty("POST", place, self._access.and_pull(source), frozenset({201, 202}))
        try:
            answer = self.transport.send(call)
        except ServiceError:  # whatever it is, it does not mount from there
            return self._beginning()
        return None if answer.status == 201 else self.transport.location(call, answer)

    def _beginning(self) -> str:
        call = self._empty("POST", self._uploads, self._access, frozenset({202}))
        return self.transport.location(call, self.transport.send(call))

    def _send(self, location: str, digest: Digest, size: int, body: Callable[[], BinaryIO]) -> None:
        with body() as stream:
            patch = Call(
                method="PATCH",
                place=location,
                access=self._access,
                accepts=frozenset({200, 201, 202, 204}),
                headers={"Content-Type": "application/octet-stream", "Content-Length": str(size)},
                body=stream,
                once=True,
            )
            place = self.transport.location(patch, self.transport.send(patch))
        separator = "&" if "?" in place else "?"
        self.transport.send(
            self._empty("PUT", f"{place}{separator}digest={digest}", self._access, frozenset({201}))
        )

    @staticmethod
    def _empty(method: str, place: str, access: Access, accepts: frozenset[int]) -> Call:
        headers = {"Content-Length": "0"}
        return Call(method=method, place=place, access=access, accepts=accepts, headers=headers, once=True)
