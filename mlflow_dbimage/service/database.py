"""The service's tables, in SQLite or PostgreSQL, and transactions that are right under many processes.

Every change is one transaction, and one is made at a time, by whichever process: SQLite's way, which PostgreSQL is
told by a lock. They take a millisecond or two. So nothing above this module needs a lock.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Engine,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    delete,
    event,
    insert,
    make_url,
    select,
)
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from mlflow_dbimage.errors import ServiceError, UsageError
from mlflow_dbimage.service.shared_commits import shared_commits
from mlflow_dbimage.setting_kinds import masked

Result = TypeVar("Result")

_BUSY_SECONDS = 30
_WAL_TRIES = 12
# Of the lock under which PostgreSQL makes changes; whoever holds it and does not go on is cut off.
_LOCK = 0x6462696D
_POSTGRESQL_OPTIONS = f"-c lock_timeout={_BUSY_SECONDS}s -c idle_in_transaction_session_timeout={_BUSY_SECONDS}s"

_METADATA = MetaData()

BUILDS = Table(
    "builds",
    _METADATA,
    Column("id", Integer, primary_key=True),
    Column("model", Text, nullable=False),
    Column("version", String(20), nullable=False),
    Column("alias", Text),
    Column("kind", String(20), nullable=False),
    Column("rule", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("request", JSON, nullable=False),
    Column("cause", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("status", String(20), nullable=False),
    Column("stage", Text, nullable=False, default=""),
    Column("attempts", Integer, nullable=False, default=0),
    Column("cancelling", Boolean, nullable=False, default=False),
    Column("not_before", Float(53), nullable=False, default=0.0),
    Column("worker", Text),
    Column("lease_until", Float(53)),
    Column("created", Float(53), nullable=False),
    Column("started", Float(53)),
    Column("ended", Float(53)),
    Column("image", Text),
    Column("digest", String(128)),
    Column("sent_bytes", BigInteger),
    Column("error_code", String(64)),
    Column("error_text", Text),
    Column("receipt", JSON(none_as_null=True)),
    Column("told", String(20), nullable=False, default=""),
    Column("log_size", Integer, nullable=False, default=0),
    Index("builds_status", "status", "priority", "id"),
    Index("builds_slot", "rule", "name", "id"),
    Index("builds_model", "model", "id"),
    sqlite_autoincrement=True,
)

#: The registry has not been told how a build stands.
UNTOLD = BUILDS.c.status != BUILDS.c.told
# Nearly all have been told, and workers ask every two seconds.
Index("builds_untold", BUILDS.c.id, sqlite_where=UNTOLD, postgresql_where=UNTOLD)

DELIVERIES = Table(
    "deliveries",
    _METADATA,
    Column("id", String(256), primary_key=True),
    Column("build_id", ForeignKey("builds.id"), nullable=False),
    Column("received", Float(53), nullable=False),
    Index("deliveries_build", "build_id"),
)

LOGS = Table(
    "logs",
    _METADATA,
    Column("number", Integer, primary_key=True),
    Column("build_id", ForeignKey("builds.id"), nullable=False),
    Column("text", Text, nullable=False),
    Index("logs_build", "build_id", "number"),
    sqlite_autoincrement=True,
)

MOMENTS = Table(
    "moments",
    _METADATA,
    Column("name", String(64), primary_key=True),
    Column("at", Float(53), nullable=False),
)


class Database:
    """A database whose tables exist.

    Args:
        engine: From `open_database`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._commits = shared_commits(engine.url.render_as_string(hide_password=False))

    def change(self, work: Callable[[Connection], Result]) -> Result:
        """Do `work` in a transaction, while nobody else changes anything; when this returns, it is durable.

        Raises:
            ServiceError: `database-failed`.
        """
        with _errors():
            return self._commits.change(work, self._engine.execution_options(writing=True).begin)

    def read(self, work: Callable[[Connection], Result]) -> Result:
        """Do `work`, which only reads.

        Raises:
            ServiceError: `database-failed`.
        """
        with _errors(), self._engine.begin() as connection:
            return work(connection)

    def check(self) -> None:
        """See whether it answers.

        Raises:
            ServiceError: `database-failed`.
        """
        self.read(lambda connection: connection.scalar(select(1)))

    def moment(self, name: str) -> float | None:
        """Return a moment that was kept, in seconds since 1970."""
        return self.read(lambda connection: connection.scalar(select(MOMENTS.c.at).where(MOMENTS.c.name == name)))

    def keep_moment(self, name: str, at: float, *, instead_of: float | None) -> bool:
        """Keep a moment in the place of an older one, unless that has been replaced meanwhile; say whether."""

        def work(connection: Connection) -> bool:
            if connection.scalar(select(MOMENTS.c.at).where(MOMENTS.c.name == name)) != instead_of:
                return False
            connection.execute(delete(MOMENTS).where(MOMENTS.c.name == name))
            connection.execute(insert(MOMENTS).values(name=name, at=at))
            return True

        return self.change(work)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def open_database(url: str) -> Database:
    """Open a database by its URL, and make the tables where they are missing.

    Raises:
        UsageError: `bad-value`, no URL of a database that can be used.
        ServiceError: `database-failed`.
    """
    with _errors():
        database = Database(_engine(url))
    database.change(_METADATA.create_all)
    return database


def sqlite_url(path: Path) -> str:
    """Return the URL of an SQLite file, and make the folder that it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{path}"


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.drivername in ("postgresql", "postgres"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        options: dict[str, Any] = {"hide_parameters": True}
        if parsed.get_backend_name() == "sqlite":
            options["connect_args"] = {"timeout": _BUSY_SECONDS}
        elif parsed.get_backend_name() == "postgresql":
            options |= {"connect_args": {"options": _POSTGRESQL_OPTIONS}, "pool_pre_ping": True}
        else:
            raise UsageError("bad-value", "the service's database is SQLite or PostgreSQL, and nothing else")
        engine = create_engine(parsed, **options)
    except (ArgumentError, NoSuchModuleError) as error:
        raise UsageError("bad-value", f"`{masked(url)}` is not the URL of a database") from error
    except ImportError as error:
        raise ServiceError(
            "database-failed",
            "PostgreSQL needs the Python module `psycopg`",
            hint="install the extra `postgresql`: `pip install 'mlflow-dbimage[postgresql]'`",
        ) from error
    if parsed.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        event.listen(engine, "begin", _begin_postgresql)
    return engine


def _set_up_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # transactions begin where `_begin_sqlite` says, not at the first change
    _use_write_ahead_log(connection)
    connection.execute("PRAGMA foreign_keys=ON").close()


def _use_write_ahead_log(connection: Any) -> None:
    """Switch a file's mode, which SQLite refuses at once where another process is just doing so."""
    for attempt in range(_WAL_TRIES):
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
        except sqlite3.OperationalError:  # noqa: PERF203
            if attempt == _WAL_TRIES - 1:
                raise
            time.sleep(0.01 * 2**attempt)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if _is_writing(connection) else "BEGIN")


def _begin_postgresql(connection: Connection) -> None:
    if _is_writing(connection):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")


def _is_writing(connection: Connection) -> bool:
    return bool(connection.get_execution_options().get("writing", False))


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()
        said = masked(reason[0]) if reason else type(error).__name__
        raise ServiceError(
            "database-failed",
            f"the service's database failed: {said}",
            hint="check `service_database`, and that the database can be reached and written",
        ) from error
