"""How registries are told who asks: Basic, or a token that another server gives.

Source: distribution's `spec/auth/token.md` and `oauth.md`; RFC 9110, 11 for challenges.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

from mlflow_dbimage.errors import ServiceError
from mlflow_dbimage.oci.credentials import Credentials
from mlflow_dbimage.oci.documents import read_json
from mlflow_dbimage.oci.registry_errors import RegistryErrors

_CLIENT = "mlflow-dbimage"
_PART = re.compile(
    r'(?P<name>[\w-]+)\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s,"]+))|(?P<scheme>[A-Za-z][\w-]*)'
)
_VISIBLE = re.compile(r"[\x21-\x7e]+")
#: Tokens that do not say when they end are good for a minute (token.md, "expires_in").
_DEFAULT_SECONDS = 60.0
_MARGIN = 10.0
_REFUSALS = frozenset({400, 401, 403})


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What a request does, in the words of token servers."""

    repository: str = ""
    scopes: frozenset[str]

    @classmethod
    def to(cls, repository: str, actions: str) -> Access:
        """Return access to a repository; actions are `pull`, `push` and `delete`, commas between."""
        return cls(repository=repository, scopes=frozenset({f"repository:{repository}:{actions}"}))

    def and_pull(self, source: str) -> Access:
        """Add what mounting a blob of another repository needs."""
        return Access(repository=self.repository, scopes=self.scopes | {f"repository:{source}:pull"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """What a registry wants of us (`WWW-Authenticate`)."""

    scheme: str
    """`basic` or `bearer`."""
    parameters: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, header: str) -> Challenge | None:
        """Read the header: the first token that it asks for, else a password, else None."""
        found: list[tuple[str, dict[str, str]]] = []
        for part in _PART.finditer(header):
            if part["scheme"] is not None:
                found.append((part["scheme"].lower(), {}))
            elif found:
                quoted = part["quoted"]
                value = part["bare"] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
                found[-1][1].setdefault(part["name"].lower(), value)
        for wanted in ("bearer", "basic"):
            for scheme, parameters in found:
                if scheme == wanted:
                    return cls(scheme=scheme, parameters=parameters)
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """What a token server is asked."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None = None


class Authorizer:
    """Keeps what was learnt: the scheme of the registry, and tokens by scope, until they end.

    Args:
        find: Finds the credentials for a repository.
        ask: Sends a request to a token server, and gives status and body.
        errors: Of this registry; told every secret that passes here.
        now: Seconds that only grow.
    """

    def __init__(
        self,
        find: Callable[[str], Credentials | None],
        ask: Callable[[TokenRequest], tuple[int, bytes]],
        errors: RegistryErrors,
        now: Callable[[], float],
    ) -> None:
        self._find = find
        self._ask = ask
        self._errors = errors
        self._now = now
        self._challenge: Challenge | None = None
        self._tokens: dict[frozenset[str], tuple[str, float]] = {}
        self._further: dict[frozenset[str], frozenset[str]] = {}  # what registries want beyond our scopes
        self._lock = threading.Lock()

    def header(self, access: Access) -> str | None:
        """Return the header for a request, as far as it is known what the registry wants.

        Raises:
            ServiceError: `registry-denied`, `registry-failed`: the token server gives no token.
        """
        with self._lock:
            if self._challenge is None:
                return None
            if self._challenge.scheme == "basic":
                return self._password(access)
            token, ends = self._tokens.get(access.scopes, ("", 0.0))
            if not token or ends - _MARGIN < self._now():
                token = self._fetched(self._challenge, access)
            return f"Bearer {token}"

    def learn(self, header: str, access: Access, used: str | None) -> bool:
        """Take a challenge; return whether trying again makes sense.

        Args:
            header: `WWW-Authenticate`.
            access: Of the request that was refused.
            used: The authorisation that it had.
        """
        challenge = Challenge.parse(header)
        with self._lock:
            if challenge is None:
                return False
            self._challenge = challenge
            wanted = challenge.parameters.get("scope", "").split()
            self._further[access.scopes] = frozenset(each for each in wanted if not _covered(each, access.scopes))
            if challenge.scheme == "basic":
                return used is None and self._password(access) is not None
            token, _ = self._tokens.get(access.scopes, ("", 0.0))
            if used == f"Bearer {token}":  # else somebody has fetched a newer one meanwhile
                self._tokens.pop(access.scopes)
            return True

    def origin(self, access: Access) -> str | None:
        """Say where the credentials for a request were found; None if there are none."""
        credentials = self._find(access.repository)
        return None if credentials is None else credentials.origin

    def _password(self, access: Access) -> str | None:
        credentials = self._find(access.repository)
        if credentials is None or not credentials.password:
            return None
        self._errors.keep_out(credentials.password, credentials.basic.partition(" ")[2])
        return credentials.basic

    def _fetched(self, challenge: Challenge, access: Access) -> str:
        credentials = self._find(access.repository)
        status, data = self._ask(self._request(challenge, access, credentials))
        if status in _REFUSALS:
            origin = None if credentials is None else credentials.origin
            raise self._errors.denied("to give a token", status, data, origin)
        try:
            answer = read_json(data)
            token = str(answer.get("token") or answer["access_token"])
            seconds = float(answer.get("expires_in") or _DEFAULT_SECONDS)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise self._no_token(status) from None
        if _VISIBLE.fullmatch(token) is None:
            raise self._no_token(status)
        self._errors.keep_out(token)
        self._tokens[access.scopes] = (token, self._now() + seconds)
        return token

    def _request(self, challenge: Challenge, access: Access, credentials: Credentials | None) -> TokenRequest:
        realm = challenge.parameters.get("realm", "")
        query = [("service", challenge.parameters["service"])] if "service" in challenge.parameters else []
        scopes = _ordered(access.scopes | self._further.get(access.scopes, frozenset()))
        if credentials is not None and credentials.identity_token:
            self._errors.keep_out(credentials.identity_token)
            form = [*query, ("client_id", _CLIENT), ("grant_type", "refresh_token")]
            form += [("refresh_token", credentials.identity_token), ("scope", " ".join(scopes))]
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            return TokenRequest(method="POST", url=realm, headers=headers, body=urlencode(form).encode())
        query += [("scope", scope) for scope in scopes]
        password = self._password(access)
        return TokenRequest(
            method="GET",
            url=f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}",
            headers={} if password is None else {"Authorization": password},
        )

    def _no_token(self, status: int) -> ServiceError:
        return self._errors.failure(f"has a token server that gave no token ({status})")


def _covered(scope: str, scopes: frozenset[str]) -> bool:
    resource = scope.rpartition(":")[0]
    ours = {action for each in scopes if each.rpartition(":")[0] == resource for action in _actions(each)}
    return set(_actions(scope)) <= ours


def _actions(scope: str) -> list[str]:
    return scope.rpartition(":")[2].split(",")


def _ordered(scopes: frozenset[str]) -> list[str]:
    """Put the scope that pushes first: some token servers only look at that (go-containerregistry)."""
    return sorted(scopes, key=lambda scope: ("push" not in scope, scope))
