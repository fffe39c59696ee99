"""Deliveries of registries: verified, read, and durable before they are answered.

202 says that a build is queued; 200 that there is nothing to do: an event of no rule, one that came before, a
test. Registries try again after 429 and 5xx, and give up after any other answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from mlflow_dbimage.errors import InputError, ServiceError
from mlflow_dbimage.service.deliveries import Refusal, Refused, check_databricks, check_mlflow
from mlflow_dbimage.service.events import Event, Ignored, from_databricks, from_mlflow
from mlflow_dbimage.service.intake import take_in
from plugin_entrypoints.webhook.desk import AtDesk, Desk

router = APIRouter(prefix="/webhooks", tags=["webhooks"])

_STATUS = {
    Refusal.UNSIGNED: 401,
    Refusal.WRONG_SIGNATURE: 401,
    Refusal.TOO_OLD: 401,
    Refusal.MALFORMED: 400,
}
_LABELS = {each: each.name.lower() for each in Refusal}


class DeliveryAnswer(BaseModel):
    """What came of a delivery."""

    outcome: Literal["queued", "duplicate", "ignored", "refused", "failed"]
    build: int | None = None
    rule: str | None = None
    reason: str | None = None


_RESPONSES: dict[int | str, dict[str, object]] = {
    200: {"description": "There is nothing to build", "model": DeliveryAnswer},
    202: {"description": "A build is queued", "model": DeliveryAnswer},
    400: {"description": "Malformed", "model": DeliveryAnswer},
    401: {"description": "Unsigned, wrongly signed or too old", "model": DeliveryAnswer},
    413: {"description": "Too large"},
    503: {"description": "The database or the queue failed: try again", "model": DeliveryAnswer},
}


def _event(**properties: object) -> dict[str, Any]:
    """Describe a body that we read as it came; what else it must have depends on what it tells."""
    schema = {"type": "object", "required": [*properties], "properties": properties}
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _header(name: str, pattern: str, description: str, *, required: bool = False) -> dict[str, Any]:
    """Describe a header that we read as it came."""
    schema = {"type": "string", "pattern": pattern}
    return {"in": "header", "name": name, "required": required, "description": description, "schema": schema}


_OF_MLFLOW = {
    "requestBody": _event(
        entity={"type": "string", "pattern": "^[a-z_]{1,64}$"},
        action={"type": "string", "pattern": "^[a-z_]{1,64}$"},
        data={"type": "object"},
    ),
    "parameters": [
        _header("X-MLflow-Delivery-Id", "^[A-Za-z0-9._-]{1,128}$", "The same for every attempt", required=True),
        _header("X-MLflow-Timestamp", "^[0-9]{1,12}$", "Seconds since 1970", required=True),
        _header("X-MLflow-Signature", "^v1,[A-Za-z0-9+/]{43}=$", "`v1,` and the HMAC-SHA256 of id, time and body"),
    ],
}
_OF_DATABRICKS = {
    "requestBody": _event(event={"type": "string", "pattern": "^[A-Z_]{1,64}$"}),
    "parameters": [_header("X-Databricks-Signature", "^[0-9a-f]{64}$", "The HMAC-SHA256 of the body")],
}


@router.post(
    "/mlflow",
    summary="Take an event of MLflow's server",
    status_code=202,
    responses=_RESPONSES,
    openapi_extra=_OF_MLFLOW,
)
async def mlflow(request: Request, desk: AtDesk) -> Response:
    """Take a delivery that MLflow 3.3 or newer signed."""

    def read(body: bytes) -> Event | Ignored:
        now = desk.clock()
        delivery = check_mlflow(request.headers, body, desk.trust, now)
        return from_mlflow(body, delivery=delivery, received=now)

    return await _taken("mlflow", request, desk, read)


@router.post(
    "/databricks",
    summary="Take an event of a Databricks workspace",
    status_code=202,
    responses=_RESPONSES,
    openapi_extra=_OF_DATABRICKS,
)
async def databricks(request: Request, desk: AtDesk) -> Response:
    """Take a delivery that a Databricks workspace registry signed."""

    def read(body: bytes) -> Event | Ignored:
        check_databricks(request.headers, body, desk.trust)
        return from_databricks(body, received=desk.clock())

    return await _taken("databricks", request, desk, read)


async def _taken(
    source: str, request: Request, desk: Desk, read: Callable[[bytes], Event | Ignored]
) -> JSONResponse:
    began, body = desk.clock(), await request.body()
    status, answer, label = await run_in_threadpool(_outcome, desk, read, body)
    desk.meters.delivered(source, label, desk.clock() - began)
    if answer.outcome == "refused":
        desk.complaints.say(f"{source} {label}", f"a delivery of {source} is not taken: {answer.reason}")
    return JSONResponse(answer.model_dump(), status)


def _outcome(desk: Desk, read: Callable[[bytes], Event | Ignored], body: bytes) -> tuple[int, DeliveryAnswer, str]:
    """Return HTTP status, answer, and what it is counted as."""
    try:
        event = read(body)
        if isinstance(event, Ignored):
            return 200, DeliveryAnswer(outcome="ignored", reason=event.reason), "ignored"
        return _queued(desk, event)
    except Refused as refused:
        refusal = refused.refusal
        return _STATUS[refusal], DeliveryAnswer(outcome="refused", reason=refusal.value), _LABELS[refusal]
    except InputError as error:
        return 400, DeliveryAnswer(outcome="refused", reason=error.message), "malformed"
    except ServiceError as error:
        desk.complaints.say("failed", f"a delivery could not be kept: {error.message}")
        return 503, DeliveryAnswer(outcome="failed", reason="the event could not be kept; try again"), "failed"


def _queued(desk: Desk, event: Event) -> tuple[int, DeliveryAnswer, str]:
    taken = take_in(event, desk.service)
    if taken.build is None:
        return 200, DeliveryAnswer(outcome="ignored", reason="no rule matches"), "ignored"
    build = DeliveryAnswer(outcome="queued", build=taken.build.id, rule=taken.build.rule)
    if not taken.new:
        return 200, build.model_copy(update={"outcome": "duplicate"}), "duplicate"
    return 202, build, "queued"
