"""Lists of registries (repositories, tags), which come in pages.

Source: OCI distribution specification 1.1, "Listing Tags"; distribution's `_catalog`.
"""

from __future__ import annotations

import re

from mlflow_dbimage.oci.documents import read_json
from mlflow_dbimage.oci.registry_auth import Access
from mlflow_dbimage.oci.registry_transport import Call, Transport

_PAGE = 1000
_NEXT = re.compile(r'<([^>]*)>\s*;[^,]*rel="?next\b')


def listed(
    transport: Transport, place: str, key: str, access: Access, none: frozenset[int]
) -> tuple[str, ...] | None:
    """Read a list over all its pages.

    Args:
        transport: To the registry.
        place: Path of the list.
        key: Of the names in a page.
        access: To read it.
        none: Status codes of the first page that mean that there is no list.

    Returns:
        The names; None where there is no list.

    Raises:
        ServiceError: As `Transport.send`.
    """
    found: list[str] = []
    following: str | None = f"{place}?n={_PAGE}"
    seen: set[str] = set()
    while following is not None:
        if following in seen:
            raise transport.errors.failure(f"gives pages of `{place}` without end")
        accepts = frozenset({200}) if seen else none | {200}
        seen.add(following)
        call = Call(method="GET", place=following, access=access, accepts=accepts)
        answer = transport.send(call)
        if answer.status != 200:
            return None
        try:
            found += [str(name) for name in read_json(answer.data)[key] or ()]
        except (ValueError, KeyError, TypeError):
            raise transport.errors.failure(f"answered `{place}` with what is no list") from None
        link = _NEXT.search(answer.headers.get("Link", ""))
        following = None if link is None else transport.beside(call, link[1])
    return tuple(found)
