"""The pages: builds as they run, one page a build, login. Rendered here; the script only asks for parts again."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, urlencode

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool

from mlflow_dbimage.service.build import STATUSES
from plugin_entrypoints.webhook import views
from plugin_entrypoints.webhook.access import COOKIE, SESSION_SECONDS, Caller, is_from_here
from plugin_entrypoints.webhook.desk import LARGEST_ID, AtDesk, BuildId, Desk, Visitor
from plugin_entrypoints.webhook.rendering import problem, render

router = APIRouter(include_in_schema=False)

_PER_PAGE = 50
_NEXT = re.compile(r"/(?:builds/[0-9]{1,10})?")


@router.get("/")
def builds(request: Request, desk: AtDesk, caller: Visitor) -> HTMLResponse:
    """Show the list of builds."""
    wanted = _wanted(request)
    return render(
        "builds.html",
        caller=caller,
        statuses=STATUSES,
        fragment=_address("/fragments/builds", wanted),
        **{"status": "", "model": "", **wanted},
        **_table(desk, wanted),
    )


@router.get("/fragments/builds")
def builds_table(request: Request, desk: AtDesk, _: Visitor) -> HTMLResponse:
    """Show the list alone, for the script."""
    return render("builds_table.html", **_table(desk, _wanted(request)))


@router.get("/builds/{build_id}")
def build(desk: AtDesk, caller: Visitor, build_id: BuildId) -> HTMLResponse:
    """Show one build."""
    found = desk.builds.get(build_id)
    return render(
        "build.html",
        caller=caller,
        build=found,
        said=views.said(found),
        facts=views.facts(found, desk.clock()),
        plan=views.plan(found),
        receipt=views.receipt(found),
        log=desk.logs.read(build_id),
    )


@router.get("/fragments/builds/{build_id}")
def build_facts(desk: AtDesk, _: Visitor, build_id: BuildId) -> HTMLResponse:
    """Show what changes of a build alone, for the script."""
    found = desk.builds.get(build_id)
    return render("build_facts.html", build=found, said=views.said(found), facts=views.facts(found, desk.clock()))


@router.get("/builds/{build_id}/log")
def log(request: Request, desk: AtDesk, _: Visitor, build_id: BuildId) -> PlainTextResponse:
    """Give what a log has after a place, as text, for the script and for people."""
    after = _number(request.query_params.get("after", "")) or 0
    found = desk.builds.get(build_id)
    part = desk.logs.read(build_id, after)
    grows = found.active or part.after > after
    headers = {"x-log-after": str(part.after), "x-log-grows": str(grows).lower()}
    return PlainTextResponse(part.text, headers=headers)


@router.post("/builds/{build_id}/rerun")
async def rerun(request: Request, desk: AtDesk, caller: Visitor, build_id: BuildId) -> Response:
    """Want a build once more, and show it."""
    refusal = await _refusal(request, desk, caller)
    if refusal is not None:
        return refusal
    wanted, _ = await run_in_threadpool(desk.rerun, build_id)
    return RedirectResponse(f"/builds/{wanted.id}", 303)


@router.post("/builds/{build_id}/cancel")
async def cancel(request: Request, desk: AtDesk, caller: Visitor, build_id: BuildId) -> Response:
    """Cancel a build, and show it."""
    refusal = await _refusal(request, desk, caller)
    if refusal is not None:
        return refusal
    await run_in_threadpool(desk.builds.cancel, build_id)
    return RedirectResponse(f"/builds/{build_id}", 303)


@router.get("/login")
def login_form(request: Request) -> HTMLResponse:
    """Ask for the token."""
    return render("login.html", next=_next(request.query_params.get("next", "")))


@router.post("/login")
async def login(request: Request, desk: AtDesk) -> Response:
    """Begin a session for who has the token."""
    form = await _form(request)
    then = _next(form.get("next", ""))
    if not is_from_here(request):
        return problem(403, "Not allowed", "another site asks for this")
    if not desk.access.is_token(form.get("token", "").strip()):
        return render("login.html", 401, next=then, wrong=True)
    answer = RedirectResponse(then, 303)
    secure = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))
    # Not `strict`: a link in somebody's message would lead to the login each time.
    answer.set_cookie(
        COOKIE,
        desk.access.session(),
        max_age=SESSION_SECONDS,
        httponly=True,
        samesite="lax",
        secure=secure,
    )
    return answer


@router.post("/logout")
async def logout(request: Request, desk: AtDesk, caller: Visitor) -> Response:
    """End a session."""
    refusal = await _refusal(request, desk, caller)
    if refusal is not None:
        return refusal
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="lax")
    return answer


async def _refusal(request: Request, desk: Desk, caller: Caller) -> Response | None:
    """Say why a change is not made: the form is not one of ours, or not this caller's."""
    form = await _form(request)
    if desk.access.may_change(request, caller) and desk.access.is_mark(caller, form.get("mark", "")):
        return None
    return problem(403, "Not allowed", "this form is not one that we gave you", hint="Go back, reload, try again.")


async def _form(request: Request) -> dict[str, str]:
    fields = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=20)
    return {name: values[-1] for name, values in fields.items()}


def _wanted(request: Request) -> dict[str, str]:
    """Return those filters that make sense; others are as if they were not given."""
    status = request.query_params.get("status", "")
    model = request.query_params.get("model", "").strip().replace("\0", "")[:256]
    before = _number(request.query_params.get("before", ""))
    wanted = {
        "status": status if status in STATUSES else "",
        "model": model,
        "before": str(before) if before else "",
    }
    return {name: text for name, text in wanted.items() if text}


def _table(desk: Desk, wanted: dict[str, str]) -> dict[str, Any]:
    found = desk.builds.find(
        status=[each for each in STATUSES if each == wanted.get("status")],
        model=wanted.get("model"),
        before=_number(wanted.get("before", "")),
        limit=_PER_PAGE + 1,
    )
    shown, now = found[:_PER_PAGE], desk.clock()
    older = _address("/", {**wanted, "before": str(shown[-1].id)}) if len(found) > _PER_PAGE else None
    return {
        "rows": [views.row(each, now) for each in shown],
        "said": views.counted(desk.builds.counts()),
        "older": older,
    }


def _address(path: str, query: dict[str, str]) -> str:
    return f"{path}?{urlencode(query)}" if query else path


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,10}", text, re.ASCII) and int(text) <= LARGEST_ID else None


def _next(path: str) -> str:
    """Where to go after a login: only to pages of ours, whatever somebody's link says."""
    return path if _NEXT.fullmatch(path) else "/"
