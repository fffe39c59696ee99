"""Redirects of MLflow's stores: its HTTP client follows any, so each is looked at first.

The client itself keeps credentials from other hosts. But what the metadata service of a cloud answers would become
a file of the model, and so of an image that its author can read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urljoin

import requests

from mlflow_dbimage.redirects import objection


@contextmanager
def checked_redirects() -> Iterator[None]:
    """Have no request of this process follow a redirect that `redirects` objects to."""
    follow = requests.Session.get_redirect_target

    def checked(session: requests.Session, response: requests.Response) -> Any:
        target = follow(session, response)
        reason = objection(urljoin(response.url, target), response.url) if target else None
        if reason is not None:
            raise requests.exceptions.InvalidURL(f"the store sends us to {reason}")
        return target

    requests.Session.get_redirect_target = checked  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        requests.Session.get_redirect_target = follow  # type: ignore[method-assign]
