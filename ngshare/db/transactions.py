"""Run actions, each in one transaction, and retry those that lost a race.

A transaction that lost a race (another request inserted the same key, or another process had
locked the database) or its connection is retried here, a bounded number of times, and nowhere
else. It is not retried when the connection broke during the commit: the commit may have succeeded,
and a retry could store the change twice.

In the service no attempt blocks a database thread for long, because it waits for a lock only
briefly. Between two attempts the thread is free, so that reads go on while a write waits.
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
"""A generator that makes one attempt at a transaction in each step, and returns its result.

It yields the seconds to wait before the next attempt. Each step may run in another thread.
"""

ATTEMPTS = 8
"""The most attempts at a transaction before its request is answered with 503."""

LOCKED_ATTEMPTS = 80
"""The same in the service while a SQLite database is locked; each attempt waits only briefly."""

LONGEST_PAUSE_SECONDS = 0.2
"""The longest time between two attempts."""

PATIENCE_SECONDS = 9.0
"""The seconds after which no further attempt is made."""

NO_ANSWER = "The exchange's database does not answer; please try again"
BUSY = "The exchange is busy; please try again"


class Database:
    """Runs actions, each in one transaction of its own. Its methods block."""

    def __init__(self, url: URL, *, connections: int = 1, time_limits: bool = False) -> None:
        """Open no connection yet; see :func:`ngshare.db.engine.make_engine` for the parameters."""
        self.url = url
        self.retried: Callable[[], None] = lambda: None
        """Called before each retry of a transaction."""
        self._writer = make_engine(
            url, connections=connections, writes=True, time_limits=time_limits, must_exist=True
        )
        self._reader = read_only_engine(self._writer)
        self._locked_attempts = LOCKED_ATTEMPTS if time_limits else ATTEMPTS
        self._outage = Outage()
        self._refuse_writes_until = 0.0

    def __str__(self) -> str:
        return show_url(self.url)

    def read(self, action: Action[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an action that changes nothing, on one consistent state of the database."""
        return _until_done(self.read_attempts(action, *args, **kwargs))

    def write(self, action: Action[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an action that changes something. When this returns, the change is durable.

        Raises OutcomeUnknown when the connection broke while it was committed.
        """
        return _until_done(self.write_attempts(action, *args, **kwargs))

    def read_attempts(self, action: Action[P, T], *args: P.args, **kwargs: P.kwargs) -> Attempts[T]:
        """Return the attempts at :meth:`read`, for a caller that must not sleep between them."""
        return self._attempts(self._reader, action, *args, **kwargs)

    def write_attempts(
        self, action: Action[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> Attempts[T]:
        """Return the attempts at :meth:`write`, for a caller that must not sleep between them."""
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
        if writes and begun < self._refuse_writes_until:
            raise Unavailable(BUSY)
        for attempt in count(1):
            try:
                with self._connect(engine) as connection:
                    return _transact(connection, writes, action, *args, **kwargs)
            except DBAPIError as error:
                if not _may_retry(error, writes=writes):
                    raise _explain(error) from error
                now = time.monotonic()
                limit = self._locked_attempts if sqlite.is_locked(error) else ATTEMPTS
                if attempt >= limit or now - begun > PATIENCE_SECONDS:
                    log.error(
                        "Gave up a transaction after %.0f s: %s. "
                        "Is another program holding the database?",
                        now - begun,
                        driver_message(error),
                    )
                    if not isinstance(error, IntegrityError):
                        # Writes that are queued behind this one must not each wait as long.
                        self._refuse_writes_until = now + REFUSE_SECONDS
                    raise Unavailable(BUSY) from error
            self.retried()
            # Random, so that transactions that collided do not retry at the same moment.
            yield random.uniform(0, min(LONGEST_PAUSE_SECONDS, 0.005 * 2**attempt))
        raise AssertionError("unreachable")

    def _connect(self, engine: Engine) -> Connection:
        """Return a connection. Raises Unavailable, without an attempt just after a failed one."""
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
    """Make the attempts, with pauses in this thread, and return the result."""
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
    """Run an action in a transaction. Raises DBAPIError when it was certainly rolled back."""
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


def _may_retry(error: DBAPIError, *, writes: bool) -> bool:
    """Return whether a retry of a transaction that was rolled back may succeed."""
    return (
        error.connection_invalidated
        or is_lost_race(error)
        or postgres.is_stale_connection(error, writes=writes)
    )


def _explain(error: DBAPIError) -> Exception:
    """Return the exception to raise for an error after which a retry cannot succeed."""
    if postgres.is_unstorable(error):
        return BadRequest("The request holds a character or a number that cannot be stored")
    if not isinstance(error, OperationalError):
        return error
    if _is_disk_full(error):
        log.error("No room for the database. Free some space; nothing is lost.")
        return OutOfSpace("The exchange's disk is full; nothing of this request was stored")
    log.error("The database does not work: %s", driver_message(error))
    return Unavailable(NO_ANSWER)


def _is_disk_full(error: DBAPIError) -> bool:
    return sqlite.is_full(error) or postgres.sqlstate_of(error) == postgres.DISK_FULL
