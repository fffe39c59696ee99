"""All parts of the door joined: routes, guards, and what errors become."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.staticfiles import StaticFiles

from mlflow_dbimage import __version__
from mlflow_dbimage.errors import DbimageError
from mlflow_dbimage.service.build_totals import BuildTotals
from mlflow_dbimage.service.deliveries import Trust
from mlflow_dbimage.service.intake import open_service
from mlflow_dbimage.settings import Settings
from plugin_entrypoints.webhook import api, deliveries, health, pages
from plugin_entrypoints.webhook.access import Access
from plugin_entrypoints.webhook.desk import Desk, LoginNeeded
from plugin_entrypoints.webhook.guards import BodyLimit, SecurityHeaders
from plugin_entrypoints.webhook.meters import Meters
from plugin_entrypoints.webhook.rendering import problem

_PAGES = ("/builds", "/login", "/logout", "/fragments")
_STATUS = {"build-not-found": 404}
_STATUS_OF_EXIT = {2: 400, 3: 422, 5: 503}


def desk(settings: Settings) -> Desk:
    """Open what the settings name.

    Raises:
        UsageError: `bad-value`.
        ServiceError: `database-failed`, `queue-failed`.
    """
    service = open_service(settings)
    return Desk(
        service=service,
        access=Access(
            token=settings.service_token.text if settings.service_token else None,
            proxy_header=settings.service_proxy_header,
            proxies=settings.service_proxies,
            anybody=settings.service_token is None and settings.service_proxy_header is None,
        ),
        trust=Trust(
            secrets=tuple(each.text for each in settings.webhook_secrets), unsigned=settings.webhook_unsigned
        ),
        meters=Meters(BuildTotals(service.database)),
    )


def application(with_desk: Desk) -> FastAPI:
    """Join the routes."""
    app = FastAPI(
        title="dbimage",
        version=__version__,
        summary="Registry events become container images of models",
        openapi_url="/api/openapi.json",
        docs_url=None,  # its page takes scripts from elsewhere
        redoc_url=None,
    )
    app.state.desk = with_desk
    for each in (deliveries, api, health, pages):
        app.include_router(each.router)
    app.mount("/assets", StaticFiles(directory=Path(__file__).parent / "assets"))
    app.add_middleware(BodyLimit)
    app.add_middleware(SecurityHeaders)
    app.add_exception_handler(LoginNeeded, _to_login)
    app.add_exception_handler(DbimageError, _failed)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(StarletteHTTPException, _http_error)
    return app


async def _to_login(request: Request, _: Exception) -> Response:
    """Ask somebody whom we do not know for the token, where there is one to ask for."""
    access = request.app.state.desk.access
    if request.url.path.startswith("/fragments") or request.method != "GET":
        return problem(401, "Log in", "your session is over, or you have none")
    if access.token is None:
        return problem(403, "Not allowed", "you are not known here")
    return RedirectResponse(f"/login?next={quote(request.url.path)}", 303)


async def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, DbimageError)
    status = _STATUS.get(error.code) or _STATUS_OF_EXIT.get(error.exit_code, 500)
    if _is_page(request):
        return problem(status, "Not found" if status == 404 else "That failed", error.message, error.hint)
    return JSONResponse({"error": {"code": error.code, "message": error.message, "hint": error.hint}}, status)


async def _not_valid(request: Request, error: Exception) -> Response:
    """Say where a request is wrong, and nothing of what was sent."""
    assert isinstance(error, RequestValidationError)
    if _is_page(request):
        return problem(404, "Not found", "there is no such page")
    found = [{"where": ".".join(map(str, each["loc"])), "what": each["msg"]} for each in error.errors()]
    return JSONResponse({"detail": found}, 422)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)
    if _is_page(request) or (error.status_code == 404 and "text/html" in request.headers.get("accept", "")):
        return problem(error.status_code, "Not found" if error.status_code == 404 else "Not allowed", error.detail)
    return JSONResponse({"detail": error.detail}, error.status_code, error.headers)


def _is_page(request: Request) -> bool:
    path = request.url.path
    return path == "/" or path.startswith(_PAGES)
