"""The JSON API: builds, their logs, and what may be done with them. Described by `/api/openapi.json`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from mlflow_dbimage.service.build import Build, Status
from plugin_entrypoints.webhook.desk import LARGEST_ID, AtDesk, BuildId, KnownCaller

After = Annotated[int, Query(ge=0, le=LARGEST_ID, description="What `after` of the last part said")]
Before = Annotated[int | None, Query(ge=1, le=LARGEST_ID, description="The id of the last one of the page before")]
# Neither database takes a NUL in a text.
Text = Annotated[str | None, Query(min_length=1, max_length=256, pattern=r"^[^\x00]+$")]


class WrongPart(BaseModel):
    """What is wrong with one part of a request."""

    where: str
    what: str


class NotValid(BaseModel):
    """Why a request makes no sense."""

    detail: list[WrongPart]


class NotAllowed(BaseModel):
    """Why a request is not answered."""

    detail: str


class Failure(BaseModel):
    """An error as commands tell it."""

    code: str
    message: str
    hint: str | None


class Failed(BaseModel):
    """Why there is no answer."""

    error: Failure


_RESPONSES: dict[int | str, dict[str, Any]] = {
    401: {"description": "A token is needed", "model": NotAllowed},
    403: {"description": "A page of somebody else asks for a change", "model": NotAllowed},
    422: {"description": "It makes no sense", "model": NotValid},
    503: {"description": "The database failed: try again", "model": Failed},
}
_NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"description": "No build has that number", "model": Failed}}

router = APIRouter(prefix="/api/builds", tags=["builds"], responses=_RESPONSES)


class BuildAnswer(BaseModel):
    """A build; moments are ISO 8601 in UTC."""

    id: int
    model: str
    version: str
    alias: str | None
    rule: str
    name: str = Field(description="Of the deployment")
    cause: str
    status: Status
    stage: str
    attempts: int
    cancelling: bool
    priority: int
    created: str | None
    started: str | None
    ended: str | None
    not_before: str | None
    worker: str | None
    image: str | None
    digest: str | None
    sent_bytes: int | None
    error_code: str | None
    error_text: str | None


class BuildPage(BaseModel):
    """Some builds, newest first."""

    builds: list[BuildAnswer]
    before: int | None = Field(description="Give this to get the next page; null where there is none")


class Plan(BaseModel):
    """What a build is to make, and, once it is made, from what."""

    request: dict[str, Any]
    record: dict[str, Any] | None


class LogAnswer(BaseModel):
    """Some of a log."""

    text: str
    after: int = Field(description="Give this to get what comes next")
    grows: bool = Field(description="Whether more may come")


class Rerun(BaseModel):
    """The build that was asked for, or the one that already waits or runs."""

    build: BuildAnswer
    new: bool


@router.get("", summary="List builds, newest first")
def list_builds(
    *,
    desk: AtDesk,
    _: KnownCaller,
    status: Annotated[list[Status] | None, Query()] = None,
    model: Text = None,
    rule: Text = None,
    name: Text = None,
    before: Before = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> BuildPage:
    """List builds that have all that is given."""
    found = desk.builds.find(
        status=tuple(status or ()), model=model, rule=rule, name=name, before=before, limit=limit + 1
    )
    shown = found[:limit]
    return BuildPage(
        builds=[answer(build) for build in shown], before=shown[-1].id if len(found) > limit else None
    )


@router.get("/{build_id}", summary="Show a build", responses=_NOT_FOUND)
def get_build(desk: AtDesk, _: KnownCaller, build_id: BuildId) -> BuildAnswer:
    """Show one build."""
    return answer(desk.builds.get(build_id))


@router.get("/{build_id}/log", summary="Read a build's log", responses=_NOT_FOUND)
def get_log(desk: AtDesk, _: KnownCaller, build_id: BuildId, after: After = 0) -> LogAnswer:
    """Return what a log has after a place."""
    build = desk.builds.get(build_id)  # before the log: what is written until it ends is not missed
    part = desk.logs.read(build_id, after)
    return LogAnswer(text=part.text, after=part.after, grows=build.active or part.after > after)


@router.get("/{build_id}/plan", summary="Show what a build makes, and from what", responses=_NOT_FOUND)
def get_plan(desk: AtDesk, _: KnownCaller, build_id: BuildId) -> Plan:
    """Show what is asked for, and the record of what was decided."""
    build = desk.builds.get(build_id)
    return Plan(request=build.shown_request, record=(build.receipt or {}).get("record"))


@router.get("/{build_id}/receipt", summary="Show a build's receipt", responses=_NOT_FOUND)
def get_receipt(desk: AtDesk, _: KnownCaller, build_id: BuildId) -> dict[str, Any] | None:
    """Return the receipt as `dbimage build --json` prints it; null where the build made no image."""
    receipt = desk.builds.get(build_id).receipt
    return None if receipt is None else dict(receipt)


@router.post("/{build_id}/rerun", summary="Want a build once more", responses=_NOT_FOUND)
def rerun(desk: AtDesk, _: KnownCaller, build_id: BuildId) -> Rerun:
    """Want a build once more."""
    build, new = desk.rerun(build_id)
    return Rerun(build=answer(build), new=new)


@router.post("/{build_id}/cancel", summary="Cancel a build", responses=_NOT_FOUND)
def cancel(desk: AtDesk, _: KnownCaller, build_id: BuildId) -> BuildAnswer:
    """Cancel a build that waits or runs; one that has ended stays as it is."""
    return answer(desk.builds.cancel(build_id))


def answer(build: Build) -> BuildAnswer:
    """Give the JSON form of a build."""
    data = build.to_dict()
    return BuildAnswer(**{name: data[name] for name in BuildAnswer.model_fields})
