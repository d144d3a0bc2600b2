"""Run actions, each in one transaction, and retry those that lost a race.

A transaction that lost a race (a key that another request took, a database that
another process had locked) or its connection is run again here, a bounded number
of times, and nowhere else. One whose connection broke while it was committed is
not: nobody knows whether it is stored, and a second one could store it twice.

In the service nothing blocks a database thread for long, so that reads go on while a
write waits: each attempt at a lock is short, and the thread is free until the next one.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Generator
from itertools import count
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from ngshare.db import postgres, sqlite
from ngshare.db.engine import driver_message, is_lost_race, make_engine, read_only_engine
from ngshare.db.outage import REFUSE_SECONDS, Outage
from ngshare.db.urls import show_url
from ngshare.errors import BadRequest, OutcomeUnknown, OutOfSpace, Unavailable

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
        self._reader = read_only_engine(self._writer)
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
                        driver_message(error),
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
        if self._outage.is_recent:
            raise Unavailable(NO_ANSWER)
        try:
            connection = engine.connect()
        except DBAPIError as error:
            if is_lost_race(error):
                raise
            self._outage.begin(driver_message(error))
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
        if postgres.is_stale_connection(error, writes=writes):
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
            driver_message(error),
        )
        raise OutcomeUnknown from error
    return result


def _worth_another_try(error: DBAPIError, *, writes: bool) -> bool:
    """Whether a transaction that left nothing behind may well succeed when it is run again."""
    return (
        error.connection_invalidated
        or is_lost_race(error)
        or postgres.is_stale_connection(error, writes=writes)
    )


def _explain(error: DBAPIError) -> Exception:
    """What the caller should hear of an error that is not a lost race."""
    if postgres.is_unstorable(error):
        return BadRequest("The request holds a character or a number that cannot be stored")
    if not isinstance(error, OperationalError):
        return error
    if _no_room(error):
        log.error("No room for the database. Free some space; nothing is lost.")
        return OutOfSpace("The exchange's disk is full; nothing of this request was stored")
    log.error("The database does not work: %s", driver_message(error))
    return Unavailable(NO_ANSWER)


def _no_room(error: DBAPIError) -> bool:
    return sqlite.is_full(error) or postgres.sqlstate_of(error) == postgres.DISK_FULL
