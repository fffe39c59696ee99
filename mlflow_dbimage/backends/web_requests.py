"""Requests for files: redirects are followed as `redirects` allows, and each host gets its own headers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mlflow_dbimage.errors import DbimageError
from mlflow_dbimage.redirects import absolute, objection

if TYPE_CHECKING:
    import urllib3

_MOST_REDIRECTS = 5


def request(
    method: str,
    url: str,
    *,
    pool: Callable[[str], urllib3.PoolManager],
    headers: Callable[[str], Mapping[str, str]],
    failed: Callable[[str], DbimageError],
    **options: Any,
) -> urllib3.BaseHTTPResponse:
    """Ask for a URL, and for those that it leads to.

    Args:
        method: GET or HEAD.
        url: Without credentials.
        pool: Gives the connections to a URL.
        headers: Gives the headers for a URL.
        failed: Makes an error of a reason.
        options: Of urllib3's requests.

    Raises:
        DbimageError: What `failed` makes: we were sent where we do not go, or round and round.
        urllib3.exceptions.HTTPError: The server does not answer.
    """
    for _ in range(_MOST_REDIRECTS):
        response = pool(url).request(method, url, headers=dict(headers(url)), redirect=False, **options)
        location = response.get_redirect_location()
        if not location:
            return response
        response.close()
        target = absolute(location, url)
        reason = objection(target, url)
        if reason is not None:
            raise failed(f"we are sent to {reason}")
        url = target
    raise failed("redirects without end")
