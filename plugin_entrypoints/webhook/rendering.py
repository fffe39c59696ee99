"""Templates to HTML: everything that is not a template's own text is escaped."""

from __future__ import annotations

from functools import cache
from typing import Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from mlflow_dbimage import __version__


def render(template: str, status: int = 200, /, **values: Any) -> HTMLResponse:
    """Render a page."""
    given = {"version": __version__, "caller": None, "wrong": False, **values}
    return HTMLResponse(_templates().get_template(template).render(given), status)


def problem(status: int, title: str, message: str, hint: str | None = None) -> HTMLResponse:
    """Render the page of something that went wrong."""
    return render("problem.html", status, title=title, message=message, hint=hint)


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("plugin_entrypoints.webhook"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
