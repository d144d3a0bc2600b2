"""SQLAlchemy engines for SQLite and PostgreSQL, and messages for errors of their drivers."""

from __future__ import annotations

from sqlalchemy import URL, Engine, create_engine
from sqlalchemy.exc import DBAPIError, IntegrityError

from ngshare.db import postgres, sqlite
from ngshare.db.urls import show_url
from ngshare.errors import StartError


def make_engine(
    url: URL,
    *,
    connections: int = 1,
    writes: bool = False,
    wal: bool = True,
    time_limits: bool = False,
    must_exist: bool = False,
) -> Engine:
    """Return an engine for ``url``, which has not connected yet.

    connections: the size of the connection pool.
    writes: its transactions write; on SQLite they begin with ``BEGIN IMMEDIATE``.
    wal: put a SQLite database into WAL mode, which is persistent.
    time_limits: use the timeouts of a request: PostgreSQL aborts slow statements, and SQLite
        waits for a lock only briefly.
    must_exist: fail when the SQLite file is missing, instead of creating it, and when it is
        replaced later.
    """
    if url.get_backend_name() != "sqlite":
        engine = create_engine(
            url,
            hide_parameters=True,
            pool_size=connections,
            max_overflow=0,
            # Tests each connection before a transaction begins on it.
            pool_pre_ping=True,
            pool_recycle=postgres.RECYCLE_SECONDS,
            connect_args=postgres.connect_args(url),
        )
        postgres.configure_connections(engine, time_limits=time_limits)
        return engine
    busy_timeout = sqlite.SERVICE_BUSY_SECONDS if time_limits else sqlite.BUSY_SECONDS
    engine = create_engine(
        sqlite.existing_file_url(url) if must_exist else url,
        hide_parameters=True,  # parameters contain names and addresses of people
        pool_size=connections,
        max_overflow=0,
        connect_args={"timeout": busy_timeout},
    )
    sqlite.configure_connections(engine, url.database or "", wal=wal, must_exist=must_exist)
    sqlite.set_begin_statement(engine, writes=writes)
    return engine


def read_only_engine(engine: Engine) -> Engine:
    """Return an engine on the same connection pool for transactions that only read.

    Each of its transactions sees one snapshot of the database. On SQLite, call it before the
    first connection is made.
    """
    if engine.dialect.name == "sqlite":
        return sqlite.read_only_engine(engine)
    # With READ COMMITTED, the default, each statement would see a newer snapshot.
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def is_lost_race(error: DBAPIError) -> bool:
    """Return whether a concurrent transaction caused the error, so that a retry may succeed."""
    if sqlite.is_locked(error) or sqlite.is_unique_violation(error):
        return True
    state = postgres.sqlstate_of(error)
    return state == postgres.UNIQUE_VIOLATION or state in postgres.LOST_RACE_STATES


def check_server(url: URL) -> list[str]:
    """Connect to a PostgreSQL server; return warnings about its configuration, a line each.

    For SQLite, do nothing. Raises StartError when the service cannot or must not use the
    database.
    """
    if url.get_backend_name() == "sqlite":
        return []
    try:
        engine = make_engine(url)
    except ImportError as error:
        raise StartError(
            f"The driver of the database is missing ({error}): pip install 'ngshare[postgres]'"
        ) from error
    try:
        with engine.connect() as connection:
            if fault := postgres.encoding_fault(connection):
                raise StartError(f"The database {show_url(url)} is not usable: {fault}")
            return postgres.durability_warnings(connection)
    except DBAPIError as error:
        raise StartError(connection_failure(url, error)) from error
    finally:
        engine.dispose()


def connection_failure(url: URL, error: DBAPIError) -> str:
    """Return a message that a database cannot be opened, why, and what to do; one line."""
    return f"The database {show_url(url)} does not open: {explain_error(url, error)}"


def explain_error(url: URL, error: DBAPIError) -> str:
    """Return the driver's message, followed by advice for errors that are known; one line."""
    message = driver_message(error)
    if is_lost_race(error) and not isinstance(error, IntegrityError):
        advice: str | None = "stop what else works with it"
    elif url.get_backend_name() == "sqlite":
        advice = sqlite.advice(error)
    else:
        advice = postgres.advice(url, message)
    return f"{message}; {advice}" if advice else message


def driver_message(error: DBAPIError) -> str:
    """Return the driver's message on one line, without boilerplate."""
    text = " ".join(str(error.orig).split()) or type(error.orig).__name__
    for prefix in ("connection failed: ", "connection is bad: "):
        text = text.removeprefix(prefix)
    return text.partition(" Is the server running")[0][:500]
