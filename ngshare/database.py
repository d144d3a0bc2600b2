"""The engine, and one way to run a transaction.

A transaction that lost a race (a key that another request took, a database that
another process had locked) is run again here, a bounded number of times, and
nowhere else.
"""

from __future__ import annotations

import logging
import random
import sqlite3
import time
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from ngshare.errors import OutOfSpace, Unavailable

log = logging.getLogger("ngshare")

P = ParamSpec("P")
T = TypeVar("T")
Action = Callable[Concatenate[Connection, P], T]

ATTEMPTS = 8
"""How often a transaction is tried before its request is answered with 503."""

SQLITE_BUSY_SECONDS = 5.0
"""How long SQLite waits for a lock within one attempt."""

_POSTGRES_LOST_RACE = {"40001", "40P01", "55P03"}  # serialisation, deadlock, lock not available
_SQLITE_BUSY = {5, 6}  # SQLITE_BUSY, SQLITE_LOCKED
_SQLITE_FULL = 13


def parse_url(text: str) -> URL:
    """The SQLAlchemy URL that ``text`` stands for. Raises ValueError with what is wrong.

    ``postgresql:`` means psycopg 3, the one driver that ngshare is tested with.
    """
    try:
        url = make_url(text)
        backend = url.get_backend_name()
    except Exception:
        raise ValueError(
            "is not a database URL; write sqlite:////folder/ngshare.db "
            "or postgresql://user:password@host/name"
        ) from None
    if backend == "sqlite":
        if not url.database or url.database == ":memory:" or "mode=memory" in text:
            raise ValueError(
                "is a database in memory, which is lost at every stop; "
                "name a file, as in sqlite:////srv/ngshare/ngshare.db"
            )
        return url.set(drivername="sqlite")
    if backend in ("postgresql", "postgres"):
        if "@" in f"{url.host}{url.database}":
            # What stands before the second @ would be taken for a host, and be shown.
            raise ValueError("has more than one @; in a user name or password write %40 for it")
        return url.set(drivername="postgresql+psycopg")
    raise ValueError(f"names {backend}; ngshare works with sqlite and postgresql")


def show_url(url: URL) -> str:
    """The URL as text for people to read, without any password."""
    secret = [name for name in url.query if "password" in name.lower()]
    return url.difference_update_query(secret).render_as_string(hide_password=True)


def make_engine(url: URL, *, connections: int = 1, wal: bool = True) -> Engine:
    """An engine for ``url`` with at most ``connections`` connections, which makes none yet.

    ``wal``: whether a SQLite database is put into WAL mode, and stays in it.
    """
    if url.get_backend_name() != "sqlite":
        return create_engine(
            url,
            pool_size=connections,
            max_overflow=0,
            pool_pre_ping=True,
            connect_args={"connect_timeout": 5},
        )
    engine = create_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        connect_args={"timeout": SQLITE_BUSY_SECONDS},
    )

    @event.listens_for(engine, "connect")
    def set_pragmas(connection: Any, record: Any) -> None:
        # The driver must not begin transactions by itself: it would leave DDL out of them.
        connection.isolation_level = None
        if wal:
            connection.execute("PRAGMA journal_mode=WAL")
        # FULL: in WAL mode only that makes a commit survive a loss of power.
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that will write asks for the lock first: one that reads first
        # and asks later loses to any other writer, however long it may wait.
        if connection.get_execution_options().get("ngshare_writes", False):
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:  # this cannot fail, so it need not go through all of SQLAlchemy
            connection.connection.execute("BEGIN")

    return engine


class Database:
    """Runs actions, each in one transaction of its own. Its methods block."""

    def __init__(self, url: URL, *, connections: int = 1) -> None:
        self.url = url
        self.retried: Callable[[], None] = lambda: None
        """Called each time that a transaction is going to be run again."""
        self._engine = make_engine(url, connections=connections)
        self._writer = self._engine.execution_options(ngshare_writes=True)
        self._reader = self._engine
        if url.get_backend_name() != "sqlite":
            # There, each statement would else see a newer state than the one before it.
            self._reader = self._engine.execution_options(isolation_level="REPEATABLE READ")

    def __str__(self) -> str:
        return show_url(self.url)

    def read(self, action: Action[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an action that changes nothing, on one consistent state of the database."""
        return self._run(self._reader, action, *args, **kwargs)

    def write(self, action: Action[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an action that changes something. When this returns, the change is durable."""
        return self._run(self._writer, action, *args, **kwargs)

    def close(self) -> None:
        """Close every connection that is not in use."""
        self._engine.dispose()

    def _run(self, engine: Engine, action: Action[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with engine.begin() as connection:
                    return action(connection, *args, **kwargs)
            except DBAPIError as error:
                if not lost_race(error):
                    raise _explain(error) from error
                if attempt == ATTEMPTS:
                    log.error(
                        "Gave up a transaction after %d attempts: %s. "
                        "Is another program holding the database?",
                        ATTEMPTS,
                        str(error.orig).partition("\n")[0] or type(error.orig).__name__,
                    )
                    raise Unavailable("The exchange is busy; please try again") from error
            self.retried()
            # Those that collided must not all come back at the same moment.
            time.sleep(random.uniform(0, 0.005 * 2**attempt))
        raise AssertionError("unreachable")


def lost_race(error: DBAPIError) -> bool:
    """Whether the same transaction may well succeed when it is run again."""
    if isinstance(error, IntegrityError):
        return True
    if isinstance(error.orig, sqlite3.OperationalError):
        return _sqlite_code(error.orig) in _SQLITE_BUSY
    return getattr(error.orig, "sqlstate", None) in _POSTGRES_LOST_RACE


def _sqlite_code(error: sqlite3.Error) -> int:
    """SQLite's primary result code. Python 3.10 has only the message to tell it by."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF
    message = str(error)
    if "locked" in message:
        return 5
    return _SQLITE_FULL if "full" in message else 1


def _explain(error: DBAPIError) -> Exception:
    """What the caller should hear of an error that is not a lost race."""
    if not isinstance(error, OperationalError):
        return error
    if isinstance(error.orig, sqlite3.Error) and _sqlite_code(error.orig) == _SQLITE_FULL:
        log.error("No room for the database. Free some space; nothing is lost.")
        return OutOfSpace("The exchange's disk is full; nothing of this request was stored")
    log.error("The database does not work: %s", str(error.orig).strip())
    return Unavailable("The exchange's database does not answer; please try again")
