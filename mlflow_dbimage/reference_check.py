"""The reference: what a model's self-check said in the packed environment, before its image was laid out.

It is a function of environment and model, and kept in the cache under the digests of both: building the same
model again, on another base or for another destination, needs no second one. Only builds keep one: what an image
that somebody else made says of itself would count for every later image of that model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlflow_dbimage.build_cache import BuildCache, cache_key
from mlflow_dbimage.check_report import MADE_EXAMPLE, CheckReport
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.scoring import VERSION

_KIND = "references"


def keep(cache: BuildCache, lock: Digest, model: Digest, report: Mapping[str, Any]) -> None:
    """Keep the report of a self-check, as `scoring.self_check` writes it.

    One that ended early is no reference, unless the model refused rows that were made for it: it will again.
    """
    if report.get("error") is None or report.get("example") == MADE_EXAMPLE:
        cache.put_record(_KIND, _key(lock, model), report)


def find(cache: BuildCache, lock: Digest, model: Digest) -> CheckReport | None:
    """Return the reference of a model in an environment; None where none is kept that can be read."""
    record = cache.record(_KIND, _key(lock, model))
    if record is None:
        return None
    try:
        return CheckReport.from_dict(record)
    except ValueError:
        cache.drop_record(_KIND, _key(lock, model))
        return None


def _key(lock: Digest, model: Digest) -> str:
    return cache_key(VERSION, str(lock), str(model))
