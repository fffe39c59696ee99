"""What goes wrong with a registry, in this project's words and without its secrets."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from urllib3.exceptions import SSLError

from mlflow_dbimage.errors import ServiceError
from mlflow_dbimage.oci.documents import read_json

_QUERY = re.compile(r"\?\S*")
_USER = re.compile(r"//[^/@\s]*@")
_LONGEST = 300
_SHORTEST_SECRET = 4
_SERVER_ERROR = 500
_NOT_IMPLEMENTED = 501
_SHOWN_ERRORS = 3


class PassingError(ServiceError):
    """A failure that may not come again: worth another try, of the whole where it was a part.

    Args:
        error: What to tell if it does come again.
        pause: Seconds that the registry wants us to wait, where it says so.
    """

    def __init__(self, error: ServiceError, pause: float | None = None) -> None:
        super().__init__(error.code, error.message, hint=error.hint)
        self.pause = pause


class RefusedError(ServiceError):
    """An answer that will be the same another time: the registry does not take what it was sent."""


class RegistryErrors:
    """Makes the errors of one registry.

    Args:
        host: As people call it.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._secrets: set[str] = set()
        self._remarks: dict[str, None] = {}

    def remark(self, text: str) -> None:
        """Remember what went wrong in the search for credentials: it is told if they are missed."""
        self._remarks[text] = None

    def keep_out(self, *secrets: str | None) -> None:
        """Remember what no message may show, whoever says it."""
        self._secrets.update(each for each in secrets if each and len(each) >= _SHORTEST_SECRET)

    def unreachable(self, error: Exception, action: str = "") -> ServiceError:
        """Return the error of a connection that failed."""
        doing = f" while {action}" if action else ""
        hint = "check its name, the network and the proxy; a registry without TLS must be named insecure"
        if isinstance(error, SSLError):
            hint = "name its certificate authority, or, if it has no TLS at all, call it insecure"
        return ServiceError(
            "registry-unreachable",
            f"the registry `{self._host}` cannot be reached{doing}: {self.clean(_reason(error))}",
            hint=hint,
        )

    def failure(self, what: str) -> ServiceError:
        """Return the error of a registry that breaks the protocol."""
        return ServiceError("registry-failed", f"the registry `{self._host}` {self.clean(what)}")

    def denied(self, what: str, status: int, said: bytes, origin: str | None) -> ServiceError:
        """Return the error of a refusal.

        Args:
            what: That was refused.
            status: 401 or 403, mostly.
            said: The answer's body.
            origin: Where the credentials were found; None if there are none.
        """
        used = "no credentials for it were found" if origin is None else f"its credentials are from `{origin}`"
        known = "; ".join([used, *self._remarks])
        return ServiceError(
            "registry-denied",
            f"the registry `{self._host}` refused {self.clean(what)} ({status}){self._words(said)}",
            hint=f"{known}: log in (`docker login`, `podman login`), or ask for the right to do this",
        )

    def refusal(self, method: str, place: str, status: int, said: bytes) -> ServiceError:
        """Return the error of an answer that is none."""
        words = self._words(said)
        what = f"{method} {urlsplit(place).path}"
        hint = None
        if "NAME_UNKNOWN" in words:
            hint = "this registry wants a repository to be made before it is pushed to"
        elif status >= _SERVER_ERROR:
            hint = "try again; if it lasts, ask those who run the registry what its log says"
        kind = RefusedError if status < _SERVER_ERROR or status == _NOT_IMPLEMENTED else ServiceError
        return kind(
            "registry-failed",
            f"the registry `{self._host}` answered {status} to {self.clean(what)}{words}",
            hint=hint,
        )

    def clean(self, text: str) -> str:
        """Drop secrets, the queries and users of URLs, and what would move a terminal's cursor."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        printable = "".join(each if each.isprintable() else " " for each in text)
        return _USER.sub("//", _QUERY.sub("", printable))

    def _words(self, said: bytes) -> str:
        """Give the registry's own words (OCI distribution specification 1.1, "Error Codes")."""
        try:
            errors = read_json(said)["errors"]
            words = "; ".join(f"{each.get('code')}: {each.get('message')}" for each in errors[:_SHOWN_ERRORS])
        except (ValueError, KeyError, TypeError, AttributeError):
            return ""
        return f": {self.clean(words)[:_LONGEST]}" if words else ""


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error) or type(error).__name__
