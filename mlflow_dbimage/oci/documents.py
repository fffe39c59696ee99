"""JSON of others: whatever is wrong with it is one kind of error."""

from __future__ import annotations

import json
from typing import Any


def read_json(data: bytes | str) -> Any:
    """Read a JSON document.

    Raises:
        ValueError: It is none, or is nested deeper than anything that we read.
    """
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
