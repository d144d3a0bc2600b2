"""Create SQLAlchemy engines for SQLite and PostgreSQL, and explain why one does not connect."""

from __future__ import annotations

from sqlalchemy import URL, Engine, create_engine
from sqlalchemy.exc import DBAPIError, IntegrityError

from ngshare.db import postgres, sqlite
from ngshare.db.urls import show_url


class CannotOpen(Exception):
    """The database cannot be used as it is. The message is one line that says what to do."""


def why_not_open(url: URL, error: DBAPIError) -> str:
    """Why a database cannot be opened or not be used, and what to do, in one line."""
    return f"The database {show_url(url)} does not open: {reason_and_advice(url, error)}"


def reason_and_advice(url: URL, error: DBAPIError) -> str:
    """What the driver says, and what to do about it where that is known."""
    reason = reason_of(error)
    if lost_race(error) and not isinstance(error, IntegrityError):
        advice: str | None = "stop what else works with it"
    elif url.get_backend_name() == "sqlite":
        advice = sqlite.advice(error)
    else:
        advice = postgres.advice(url, reason)
    return f"{reason}; {advice}" if advice else reason


def make_engine(
    url: URL,
    *,
    connections: int = 1,
    writes: bool = False,
    wal: bool = True,
    time_limits: bool = False,
    must_exist: bool = False,
) -> Engine:
    """An engine for ``url`` with at most ``connections`` connections, which makes none yet.

    ``writes``: whether its transactions write, and SQLite's ask for the lock when they begin.
    ``wal``: whether a SQLite database is put into WAL mode, and stays in it.
    ``time_limits``: whether PostgreSQL ends what takes longer than a request may, and
    SQLite waits no more than a moment for a lock.
    ``must_exist``: whether a SQLite file that is not there is an error, rather than made.
    """
    if url.get_backend_name() != "sqlite":
        engine = create_engine(
            url,
            hide_parameters=True,
            pool_size=connections,
            max_overflow=0,
            # Asks each connection whether it still works before a transaction begins on it.
            pool_pre_ping=True,
            pool_recycle=postgres.RECYCLE_SECONDS,
            connect_args=postgres.connect_args(url),
        )
        postgres.set_up_connections(engine, time_limits=time_limits)
        return engine
    engine = create_engine(
        sqlite.existing(url) if must_exist else url,
        hide_parameters=True,  # else names and addresses of people are in what is logged
        pool_size=connections,
        max_overflow=0,
        connect_args={"timeout": sqlite.MOMENT_SECONDS if time_limits else sqlite.BUSY_SECONDS},
    )
    sqlite.set_up_connections(engine, url.database or "", wal=wal, must_exist=must_exist)
    sqlite.begin_transactions(engine, writes=writes)
    return engine


def reading(engine: Engine) -> Engine:
    """An engine with the same connections, each of whose transactions sees one state only."""
    if engine.dialect.name == "sqlite":
        return sqlite.reading(engine)
    # Without that each statement would see a newer state than the one before it.
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def lost_race(error: DBAPIError) -> bool:
    """Whether another transaction was in the way of this one, which it need not be again."""
    if sqlite.is_locked(error) or sqlite.took_key(error):
        return True
    state = postgres.state_of(error)
    return state == postgres.UNIQUE or state in postgres.LOST_RACE


def examine(url: URL) -> list[str]:
    """What an administrator should change about the database's server, each in one line.

    Raises CannotOpen when the service must not use it, or cannot.
    """
    if url.get_backend_name() == "sqlite":
        return []
    try:
        engine = make_engine(url)
    except ImportError as error:
        raise CannotOpen(
            f"The driver of the database is missing ({error}): pip install 'ngshare[postgres]'"
        ) from error
    try:
        with engine.connect() as connection:
            if fault := postgres.unfit(connection):
                raise CannotOpen(f"The database {show_url(url)} is not usable: {fault}")
            return postgres.warnings(connection)
    except DBAPIError as error:
        raise CannotOpen(why_not_open(url, error)) from error
    finally:
        engine.dispose()


def reason_of(error: DBAPIError) -> str:
    """What the driver says, in one line."""
    text = " ".join(str(error.orig).split()) or type(error.orig).__name__
    for beginning in ("connection failed: ", "connection is bad: "):
        text = text.removeprefix(beginning)
    return text.partition(" Is the server running")[0][:500]
