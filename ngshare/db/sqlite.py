"""SQLite: configure connections and transactions, and classify errors."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, DisconnectionError

from ngshare.errors import MigrationError

BUSY_SECONDS = 5.0
"""Busy timeout: how long a statement waits for a lock on the database."""

SERVICE_BUSY_SECONDS = 0.1
"""Busy timeout in the service, where a waiting thread delays other requests."""

_BUSY = {5, 6}  # SQLITE_BUSY, SQLITE_LOCKED
_FULL = 13
_WRONG_FILE = "is it another program's file? Name the database of the site with --database"
_ADVICE = {
    11: "put a backup in its place, with ngshare db restore",  # SQLITE_CORRUPT
    14: "is it a file, where files can be made? Name another with --database",  # SQLITE_CANTOPEN
    26: f"{_WRONG_FILE}, or put a backup in its place",  # SQLITE_NOTADB
}
_CODES = {
    "is locked": 5,
    "disk image is malformed": 11,
    "malformed database schema": 11,
    "disk is full": _FULL,
    "unable to open": 14,
    "not a database": 26,
}
"""SQLite's result codes by a substring of the message."""


def existing_file_url(url: URL) -> URL:
    """Return a URL of the same database that fails to connect when the file is missing."""
    file = f"file:{quote(url.database or '')}"
    return url.set(database=file).update_query_dict({"mode": "rw", "uri": "true"})


def configure_connections(engine: Engine, path: str, *, wal: bool, must_exist: bool) -> None:
    """Make the engine's connections durable, and enforce foreign keys.

    wal: put the database into WAL mode.
    must_exist: drop a connection from the pool when ``path`` is no longer the file that it
        opened.

    The driver is told not to begin transactions; see :func:`set_begin_statement`.
    """

    @event.listens_for(engine, "connect")
    def set_pragmas(connection: Any, record: Any) -> None:
        # By itself the driver would leave DDL out of transactions.
        connection.isolation_level = None
        if wal:
            connection.execute("PRAGMA journal_mode=WAL")
        # In WAL mode, only FULL makes a commit survive a loss of power.
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")

    if must_exist:

        @event.listens_for(engine, "checkout")
        def check_file(connection: Any, record: Any, proxy: Any) -> None:
            _check_file(path, record.info)


def set_begin_statement(engine: Engine, *, writes: bool) -> None:
    """Set the statement that begins the engine's transactions.

    Writing transactions take the write lock at once: one that upgrades a read lock fails as
    soon as another transaction has written, whatever the busy timeout.
    """
    statement = "BEGIN IMMEDIATE" if writes else "BEGIN"

    def begin(connection: Any) -> None:
        connection.dbapi_connection.execute(statement)

    # Not a listener of SQLAlchemy's "begin" event: with one, SQLAlchemy looks for listeners at
    # every statement, which takes a quarter of the time of a read.
    engine.dialect.do_begin = begin  # type: ignore[assignment,method-assign]  # of one object


def read_only_engine(engine: Engine) -> Engine:
    """Return an engine on the same connection pool whose transactions take no write lock.

    Call it before the first connection is made: otherwise its dialect does not learn
    SQLite's version.
    """
    reader = create_engine(engine.url, pool=engine.pool, hide_parameters=True)
    set_begin_statement(reader, writes=False)
    return reader


@contextlib.contextmanager
def foreign_keys_checked_at_end(engine: Engine) -> Iterator[Connection]:
    """Begin a transaction that checks foreign keys just before it commits.

    SQLite alters a table by creating a new one; with its checks on, dropping the old one would
    delete the rows that refer to it. Raises MigrationError when more foreign keys are violated
    at the end than at the beginning.
    """
    with engine.connect() as connection:
        driver: Any = connection.connection.dbapi_connection
        # The pragma has no effect within a transaction, so SQLAlchemy must not begin one for it.
        driver.execute("PRAGMA foreign_keys=OFF")
        violations_before = len(driver.execute("PRAGMA foreign_key_check").fetchall())
        with connection.begin():
            yield connection
            violations = driver.execute("PRAGMA foreign_key_check").fetchall()
            if len(violations) > violations_before:
                raise MigrationError(
                    "The upgrade of the database failed, and all is as it was before: a row of "
                    f"{violations[0][0]} would point to nothing. Please report this"
                )


def _check_file(path: str, info: dict[str, Any]) -> None:
    """Raise unless the file at ``path`` is the one that the connection opened.

    A connection can still write to a file that was moved away, and its changes would be lost.
    Raises DisconnectionError, upon which the pool opens a new connection, or OperationalError
    when that would damage the new file.

    info: the dictionary in which the pool keeps data about the connection.
    """
    file = _file_id(path)
    if info.setdefault("file", file) == file:
        # The WAL file stays the same from when it is first seen until the connection is closed.
        if info.get("journal") is None:
            info["journal"] = _file_id(f"{path}-wal")
        return
    journal = _file_id(f"{path}-wal")
    if journal is None or journal != info.get("journal"):
        raise DisconnectionError("the database's file was moved, removed or replaced")
    # SQLite would replay the WAL of the old file into the new one.
    raise sqlite3.OperationalError(
        f"the file {path} was moved, removed or replaced, and {path}-wal is still that of "
        "the one before: put that back, or stop ngshare, put another file there, move away "
        "what ends with -wal and -shm beside it, and start ngshare"
    )


def _file_id(path: str) -> tuple[int, int] | None:
    """Return the device and inode of a file; None when it is missing."""
    try:
        status = os.stat(path)  # noqa: PTH116  # at each checkout, where a Path takes twice as long
    except OSError:
        return None
    return status.st_dev, status.st_ino


def is_locked(error: DBAPIError) -> bool:
    """Return whether the database was locked by another connection."""
    return isinstance(error.orig, sqlite3.OperationalError) and _code(error.orig) in _BUSY


def is_full(error: DBAPIError) -> bool:
    """Return whether the disk was full."""
    return isinstance(error.orig, sqlite3.Error) and _code(error.orig) == _FULL


def is_unique_violation(error: DBAPIError) -> bool:
    """Return whether a unique key existed already."""
    return isinstance(error.orig, sqlite3.IntegrityError) and "UNIQUE" in str(error.orig)


def advice(error: DBAPIError) -> str | None:
    """Return what to do about an error; None when it is not a known one."""
    return _ADVICE.get(_code(error.orig)) if isinstance(error.orig, sqlite3.Error) else None


def _code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code, in Python 3.10 derived from the message."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF
    message = str(error)
    return next((code for words, code in _CODES.items() if words in message), 1)
