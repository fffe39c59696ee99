"""HTTP to one registry: authorisation, retries and redirects.

The transport knows status codes and headers, nothing of images.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeVar

import urllib3
from urllib3.exceptions import HTTPError, LocationValueError, SSLError

from mlflow_dbimage import __version__
from mlflow_dbimage.errors import ServiceError
from mlflow_dbimage.oci.credentials import Helpers, find_credentials
from mlflow_dbimage.oci.registry_addresses import Home, is_loopback
from mlflow_dbimage.oci.registry_auth import Access, Authorizer, TokenRequest
from mlflow_dbimage.oci.registry_connections import Connections
from mlflow_dbimage.oci.registry_errors import PassingError, RegistryErrors

_T = TypeVar("_T")

#: Seconds before each further try, as go-containerregistry waits for blobs.
PAUSES = (1.0, 3.0)
_LONGEST_PAUSE = 60.0
_MOST_REDIRECTS = 5
_TIMEOUT = urllib3.Timeout(connect=20.0, read=300.0)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
#: Manifests and lists; a blob is read by its size.
_LONGEST_ANSWER = 16 << 20
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Time, given so that tests of retries take none."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request."""

    method: str
    place: str
    """A path below the registry's root, or a URL that the registry gave."""
    access: Access
    accepts: frozenset[int]
    """Status codes that are an answer; any other is an error."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | BinaryIO | None = None
    """A stream is sent once; bytes as often as it takes."""
    once: bool = False
    """Whether it is not tried again: it is a part of something that begins anew as a whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a registry says to a call."""

    status: int
    headers: Mapping[str, str]
    """Their names in any case."""
    data: bytes


class Transport:
    """Sends calls to one registry.

    Args:
        host: With its port. Loopback is reached by plain http, unless there is a certificate for it.
        insecure: Whether any other host is, too.
        ca_cert: Certificates to trust besides the system's.
        clock: Time.

    Raises:
        UsageError: `bad-value`, the file holds no certificates.
    """

    def __init__(
        self, host: str, *, insecure: bool = False, ca_cert: Path | None = None, clock: Clock | None = None
    ) -> None:
        self.host = host
        self.clock = clock or Clock()
        self.errors = RegistryErrors(host)
        plain = insecure or (is_loopback(host) and ca_cert is None)
        self.home = Home.of(host, plain=plain)
        self._connections = Connections(ca_cert)
        helpers = Helpers(self.errors.remark)
        find = functools.cache(lambda repository: find_credentials(host, repository, helpers=helpers))
        self._authorizer = Authorizer(find, self._ask_token_server, self.errors, self.clock.now)

    def send(self, call: Call) -> Answer:
        """Send a call and read its answer, again where that may help.

        Raises:
            ServiceError: `registry-unreachable`, `registry-denied`, `registry-failed`; a `PassingError` where
                it may help to try again later.
        """
        return self._tried(call, lambda: self._read(self._answered(call)))

    def open(self, call: Call) -> urllib3.BaseHTTPResponse:
        """Send a call and leave its answer to be read, and closed, by the caller; else as `send`."""
        return self._tried(call, lambda: self._answered(call))

    def patiently(self, attempt: Callable[[], _T], pauses: tuple[float, ...] = PAUSES) -> _T:
        """Do something, and again after each pause where it fails in a way that may pass."""
        try:
            return attempt()
        except PassingError as error:
            if not pauses:
                raise
            self.clock.sleep(pauses[0] if error.pause is None else error.pause)
        return self.patiently(attempt, pauses[1:])

    def location(self, call: Call, answer: Answer) -> str:
        """Return the URL at which an upload goes on.

        Raises:
            ServiceError: `registry-failed`, the answer has none.
        """
        place = answer.headers.get("Location")
        if not place:
            raise self.errors.failure("gave no place for an upload")
        return self.beside(call, place)

    def beside(self, call: Call, place: str) -> str:
        """Return the URL of a place that the answer to a call names."""
        return self.home.url(place, self.home.url(call.place))

    def _tried(self, call: Call, attempt: Callable[[], _T]) -> _T:
        return attempt() if call.once else self.patiently(attempt)

    def _answered(self, call: Call) -> urllib3.BaseHTTPResponse:
        """Send a call, and once more where the registry only now says how it wants to be asked."""
        used = self._authorizer.header(call.access)
        response = self._followed(call, used)
        if response.status == 401 and self._authorizer.learn(
            response.headers.get("WWW-Authenticate", ""), call.access, used
        ):
            if not isinstance(call.body, (bytes, type(None))):  # a stream that is read already
                raise PassingError(self._refusal(call, response))
            self._read(response)
            response = self._followed(call, self._authorizer.header(call.access))
        if response.status not in call.accepts:
            raise self._refusal(call, response)
        return response

    def _followed(self, call: Call, authorization: str | None) -> urllib3.BaseHTTPResponse:
        """Send a call and follow redirects, without authorisation where they lead elsewhere."""
        url = self.home.url(call.place)
        for _ in range(_MOST_REDIRECTS):
            own = {"Authorization": authorization} if authorization and self.home.owns(url) else {}
            response = self._once(call.method, url, {**call.headers, **own}, call.body)
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or not location or call.method not in ("GET", "HEAD"):
                return response
            self._read(response)
            url = self.home.url(location, url)
        raise self.errors.failure("redirects without end")

    def _once(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | BinaryIO | None
    ) -> urllib3.BaseHTTPResponse:
        objection = self.home.objection(url)
        if objection is not None:
            raise self.errors.failure(f"sends us to {objection}")
        with self._connecting():
            return self._connections.to(url).urlopen(
                method,
                url,
                headers={"User-Agent": f"mlflow-dbimage/{__version__}", **headers},
                body=body,
                redirect=False,
                retries=False,
                timeout=_TIMEOUT,
                preload_content=False,
                decode_content=False,
                enforce_content_length=True,
            )

    @contextmanager
    def _connecting(self) -> Iterator[None]:
        try:
            yield
        except (SSLError, LocationValueError) as error:
            raise self.errors.unreachable(error) from error
        except (HTTPError, OSError) as error:
            raise PassingError(self.errors.unreachable(error)) from error

    def _read(self, response: urllib3.BaseHTTPResponse) -> Answer:
        data = bytearray()
        with self._connecting():
            while chunk := response.read(_BLOCK):
                data += chunk
                if len(data) > _LONGEST_ANSWER:
                    response.close()
                    raise self.errors.failure("answers without end")
        response.release_conn()
        return Answer(status=response.status, headers=response.headers, data=bytes(data))

    def _ask_token_server(self, request: TokenRequest) -> tuple[int, bytes]:
        answer = self.patiently(lambda: self._token_answer(request))
        return answer.status, answer.data

    def _token_answer(self, request: TokenRequest) -> Answer:
        url = self.home.url(request.url)
        if url.startswith("http:") and not self.home.root.startswith("http:"):
            raise self.errors.failure("wants credentials to be sent to its token server by plain http")
        answer = self._read(self._once(request.method, url, request.headers, request.body))
        if _passes(answer.status):
            error = self.errors.refusal(request.method, url, answer.status, answer.data)
            raise PassingError(error, _pause(answer.headers))
        return answer

    def _refusal(self, call: Call, response: urllib3.BaseHTTPResponse) -> ServiceError:
        answer = self._read(response)
        if answer.status in (401, 403):
            what = f"{call.method} {call.place.partition('?')[0]}"
            return self.errors.denied(what, answer.status, answer.data, self._authorizer.origin(call.access))
        error = self.errors.refusal(call.method, call.place, answer.status, answer.data)
        return PassingError(error, _pause(answer.headers)) if _passes(answer.status) else error


def _passes(status: int) -> bool:
    """Whether a failure may not come again (go-containerregistry's list)."""
    return status in (408, 429, 499) or (status >= 500 and status not in (501, 505))


def _pause(headers: Mapping[str, str]) -> float | None:
    after = headers.get("Retry-After", "").strip()
    return min(float(after), _LONGEST_PAUSE) if after.isascii() and after.isdigit() else None
