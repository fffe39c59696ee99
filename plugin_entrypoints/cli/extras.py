"""Optional dependencies of commands: what is missing is told with what installs it."""

from __future__ import annotations

#: What the table and the queue of the service need, and what its door needs besides.
SERVICE = ("huey", "sqlalchemy")
DOOR = ("fastapi", "jinja2", "prometheus_client", "uvicorn", *SERVICE)


def must_have(modules: tuple[str, ...]) -> None:
    """See that modules of the extra `serve` are installed.

    Raises:
        UsageError: `not-supported`, some are not.
    """
    from importlib.util import find_spec

    from mlflow_dbimage.errors import UsageError

    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise UsageError(
            "not-supported",
            f"the service needs Python modules that are not installed: {', '.join(missing)}",
            hint="install the extra `serve`: `pip install 'mlflow-dbimage[serve]'`",
        )
