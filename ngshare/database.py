"""The engine, and one way to run a transaction.

A transaction that lost a race (a key that another request took, a database that
another process had locked) or its connection is run again here, a bounded number
of times, and nowhere else. One whose connection broke while it was committed is
not: nobody knows whether it is stored, and a second one could store it twice.

In the service nothing blocks a database thread for long, so that reads go on while a
write waits: there it is tried for a moment, and the thread is free until the next try.
"""

from __future__ import annotations

import logging
import os
import random
import re
import time
from collections.abc import Callable, Generator
from itertools import count
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar
from urllib.parse import unquote

from sqlalchemy import URL, Connection, Engine, create_engine, make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from ngshare import postgres, sqlite
from ngshare.errors import BadRequest, OutcomeUnknown, OutOfSpace, Unavailable
from ngshare.outage import REFUSE_SECONDS, Outage

log = logging.getLogger("ngshare")

P = ParamSpec("P")
T = TypeVar("T")
Action = Callable[Concatenate[Connection, P], T]

Attempts = Generator[float, None, T]
"""Each step is one try at a transaction; it gives the seconds to wait before the next, or returns.

It may be taken in another thread each time.
"""

ATTEMPTS = 8
"""How often a transaction is tried before its request is answered with 503."""

LOCKED_ATTEMPTS = 80
"""The same for one that finds a SQLite database locked, where each try is only a moment."""

LONGEST_PAUSE_SECONDS = 0.2
"""The longest time between two attempts."""

PATIENCE_SECONDS = 9.0
"""After how long no further attempt is made."""

NO_ANSWER = "The exchange's database does not answer; please try again"
BUSY = "The exchange is busy; please try again"


class CannotOpen(Exception):
    """The database cannot be used as it is. The message is one line that says what to do."""


def parse_url(text: str) -> URL:
    """Return the SQLAlchemy URL that ``text`` stands for. Raises ValueError with what is wrong.

    ``postgresql:`` means psycopg 3, the one driver that ngshare is tested with. The name of
    the database, a path for SQLite, is taken literally: a ``%`` in it is a ``%``.
    """
    try:
        url = _with_literal_database(make_url(text), text)
        backend = url.get_backend_name()
    except Exception:
        raise ValueError(
            "is not a database URL; write sqlite:////folder/ngshare.db "
            "or postgresql://user:password@host/name"
        ) from None
    if backend == "sqlite":
        if url.host:
            where = f"{url.host}/{url.database or ''}".rstrip("/")
            raise ValueError(
                f"has two slashes; write sqlite:////{where} for /{where}, "
                f"or sqlite:///{where} for {where} in the folder where ngshare starts"
            )
        if not url.database or url.database == ":memory:" or "mode=memory" in text:
            raise ValueError(
                "is a database in memory, which is lost at every stop; "
                "name a file, as in sqlite:////srv/ngshare/ngshare.db"
            )
        if url.database.startswith("file:"):
            raise ValueError(
                "is a file: URL inside of a database URL; write the path alone: "
                f"sqlite:///{_path_of(url.database)}"
            )
        if Path(url.database).is_symlink():  # backups, locks and reports lie beside the file itself
            url = url.set(database=os.path.realpath(url.database))
        return url.set(drivername="sqlite")
    if backend in ("postgresql", "postgres"):
        if "@" in f"{url.host}{url.database}":
            # What stands before the second @ would be taken for a host, and be shown.
            raise ValueError("has more than one @; in a user name or password write %40 for it")
        return url.set(drivername="postgresql+psycopg")
    raise ValueError(f"names {backend}; ngshare works with sqlite and postgresql")


_BEFORE_DATABASE = re.compile(r"[^:]+://(?:[^:/]*(?::[^@]*)?@)?[^/?]*/")


def _with_literal_database(url: URL, text: str) -> URL:
    """Return ``url`` with the name of the database as it is written in ``text``.

    SQLAlchemy 2.1 decodes ``%41`` there, 2.0 and those before do not: one URL would name two
    files, depending on what is installed.
    """
    before = _BEFORE_DATABASE.match(text)
    if before is None or url.database is None:
        return url
    return url.set(database=text[before.end() :].partition("?")[0])


def _path_of(file_url: str) -> str:
    """The path that SQLite takes such a URL for."""
    path = unquote(file_url.removeprefix("file:"))
    return "/" + path[2:].partition("/")[2] if path.startswith("//") else path


_SHOWN = ("host", "port", "service")
"""What stands after the ? of a URL and tells where the database is. The rest may be secret."""


def show_url(url: URL) -> str:
    """Return the URL as text for people to read, without any password.

    :func:`parse_url` reads the same database from it.
    """
    hidden = [name for name in url.query if name not in _SHOWN]
    if url.get_backend_name() == "sqlite":
        hidden = []
    url = url.difference_update_query(hidden)
    if url.database is None:
        return url.render_as_string(hide_password=True)
    # SQLAlchemy 2.1 would encode the name of the database, which is taken literally.
    before, mark, query = url.set(database="").render_as_string(hide_password=True).partition("?")
    return f"{before}{url.database}{mark}{query}"


def why_not_open(url: URL, error: DBAPIError) -> str:
    """Why a database cannot be opened or not be used, and what to do, in one line."""
    return f"The database {show_url(url)} does not open: {reason_and_advice(url, error)}"


def reason_and_advice(url: URL, error: DBAPIError) -> str:
    """What the driver says, and what to do about it where that is known."""
    reason = _reason(error)
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


class Database:
    """Runs actions, each in one transaction of its own. Its methods block."""

    def __init__(self, url: URL, *, connections: int = 1, time_limits: bool = False) -> None:
        """``time_limits``: as the service needs it, where nothing may block a thread for long."""
        self.url = url
        self.retried: Callable[[], None] = lambda: None
        """Called each time that a transaction is going to be run again."""
        self._writer = make_engine(
            url, connections=connections, writes=True, time_limits=time_limits, must_exist=True
        )
        self._reader = reading(self._writer)
        self._locked_attempts = LOCKED_ATTEMPTS if time_limits else ATTEMPTS
        self._outage = Outage()
        self._held_until = 0.0

    def __str__(self) -> str:
        return show_url(self.url)

    def read(self, action: Action[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an action that changes nothing, on one consistent state of the database."""
        return _until_done(self.try_read(action, *args, **kwargs))

    def write(self, action: Action[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an action that changes something. When this returns, the change is durable.

        Raises OutcomeUnknown when the connection broke while it was committed.
        """
        return _until_done(self.try_write(action, *args, **kwargs))

    def try_read(self, action: Action[P, T], *args: P.args, **kwargs: P.kwargs) -> Attempts[T]:
        """The attempts at :meth:`read`, for whoever does not wait between them in this thread."""
        return self._attempts(self._reader, action, *args, **kwargs)

    def try_write(self, action: Action[P, T], *args: P.args, **kwargs: P.kwargs) -> Attempts[T]:
        """The attempts at :meth:`write`, for whoever does not wait between them in this thread."""
        return self._attempts(self._writer, action, *args, **kwargs)

    def close(self) -> None:
        """Close every connection that is not in use."""
        self._writer.dispose()
        self._reader.dispose()

    def _attempts(
        self, engine: Engine, action: Action[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> Attempts[T]:
        begun = time.monotonic()
        writes = engine is self._writer
        if begun < self._held_until and writes:
            raise Unavailable(BUSY)
        for attempt in count(1):
            try:
                with self._connect(engine) as connection:
                    return _transact(connection, writes, action, *args, **kwargs)
            except DBAPIError as error:
                if not _worth_another_try(error, writes=writes):
                    raise _explain(error) from error
                now = time.monotonic()
                most = self._locked_attempts if sqlite.is_locked(error) else ATTEMPTS
                if attempt >= most or now - begun > PATIENCE_SECONDS:
                    log.error(
                        "Gave up a transaction after %.0f s: %s. "
                        "Is another program holding the database?",
                        now - begun,
                        _reason(error),
                    )
                    if not isinstance(error, IntegrityError):
                        # Those behind this one need not wait as long, each in turn.
                        self._held_until = now + REFUSE_SECONDS
                    raise Unavailable(BUSY) from error
            self.retried()
            # Those that collided must not all come back at the same moment.
            yield random.uniform(0, min(LONGEST_PAUSE_SECONDS, 0.005 * 2**attempt))
        raise AssertionError("unreachable")

    def _connect(self, engine: Engine) -> Connection:
        """A connection; none is tried for a moment after one could not be made."""
        if self._outage.just_now:
            raise Unavailable(NO_ANSWER)
        try:
            connection = engine.connect()
        except DBAPIError as error:
            if lost_race(error):
                raise
            self._outage.begin(_reason(error))
            raise Unavailable(NO_ANSWER) from error
        except NoConnectionFree as error:
            raise Unavailable(BUSY) from error
        self._outage.end()
        return connection


def _until_done(attempts: Attempts[T]) -> T:
    while True:
        try:
            pause = next(attempts)
        except StopIteration as done:
            result: T = done.value
            return result
        time.sleep(pause)


def _transact(
    connection: Connection, writes: bool, action: Action[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Run an action in a transaction. Raises DBAPIError when it certainly left nothing behind."""
    transaction = connection.begin()
    try:
        result = action(connection, *args, **kwargs)
    except DBAPIError as error:
        if postgres.outlived(error, writes=writes):
            connection.invalidate(error)
        raise
    try:
        transaction.commit()
    except DBAPIError as error:
        if not (error.connection_invalidated and writes):
            raise
        log.error(
            "The database went away while a change was committed: %s. Whether it is stored is "
            "not known, and whoever sent it was told so.",
            _reason(error),
        )
        raise OutcomeUnknown from error
    return result


def _worth_another_try(error: DBAPIError, *, writes: bool) -> bool:
    """Whether a transaction that left nothing behind may well succeed when it is run again."""
    return (
        error.connection_invalidated or lost_race(error) or postgres.outlived(error, writes=writes)
    )


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


def _reason(error: DBAPIError) -> str:
    """What the driver says, in one line."""
    text = " ".join(str(error.orig).split()) or type(error.orig).__name__
    for beginning in ("connection failed: ", "connection is bad: "):
        text = text.removeprefix(beginning)
    return text.partition(" Is the server running")[0][:500]


def _explain(error: DBAPIError) -> Exception:
    """What the caller should hear of an error that is not a lost race."""
    if postgres.cannot_keep(error):
        return BadRequest("The request holds a character or a number that cannot be stored")
    if not isinstance(error, OperationalError):
        return error
    if _no_room(error):
        log.error("No room for the database. Free some space; nothing is lost.")
        return OutOfSpace("The exchange's disk is full; nothing of this request was stored")
    log.error("The database does not work: %s", _reason(error))
    return Unavailable(NO_ANSWER)


def _no_room(error: DBAPIError) -> bool:
    return sqlite.is_full(error) or postgres.state_of(error) == postgres.NO_ROOM
