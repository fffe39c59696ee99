"""Whether the service lives, can work, and how much it did."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from mlflow_dbimage.errors import ServiceError
from plugin_entrypoints.webhook.desk import AtDesk, KnownCaller
from plugin_entrypoints.webhook.meters import CONTENT_TYPE

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="Whether the process answers")
def healthz() -> dict[str, str]:
    """Say that the process answers; asks nothing of anybody."""
    return {"status": "ok"}


@router.get("/readyz", summary="Whether the service can work", responses={503: {"description": "One does not"}})
def readyz(desk: AtDesk) -> Response:
    """Ask database and queue, and say which of them fail."""
    checks = {"database": desk.service.database.check, "queue": desk.service.queue.is_empty}
    found = {}
    for name, check in checks.items():
        try:
            check()
            found[name] = "ok"
        except ServiceError:  # noqa: PERF203  its text may name hosts, and anybody may ask
            found[name] = "failed"
    return JSONResponse(found, 200 if set(found.values()) == {"ok"} else 503)


@router.get(
    "/metrics",
    summary="Measurements for Prometheus",
    response_class=Response,
    responses={401: {"description": "A token is needed"}},
)
def metrics(desk: AtDesk, _: KnownCaller) -> Response:
    """Write all measurements."""
    return Response(desk.meters.exposition(), media_type=CONTENT_TYPE)
