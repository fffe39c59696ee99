"""Redirects of MLflow's stores: its HTTP client follows any, so each is looked at first.

The client itself keeps credentials from other hosts. But what the metadata service of a cloud answers would become
a file of the model, and so of an image that its author can read.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests

from mlflow_dbimage.redirects import absolute, objection

_follow = requests.Session.get_redirect_target
_guard = threading.Lock()
_inside = 0


@contextmanager
def checked_redirects() -> Iterator[None]:
    """Have no request of this process follow a redirect that `redirects` objects to, while a thread is in here."""
    global _inside  # noqa: PLW0603  # what is replaced is the process's, too
    with _guard:
        _inside += 1
        requests.Session.get_redirect_target = _checked  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        with _guard:
            _inside -= 1
            if _inside == 0:
                requests.Session.get_redirect_target = _follow  # type: ignore[method-assign]


def _checked(session: requests.Session, response: requests.Response) -> Any:
    target = _follow(session, response)
    reason = objection(absolute(target, response.url), response.url) if target else None
    if reason is not None:
        raise requests.exceptions.InvalidURL(f"the store sends us to {reason}")
    return target
