"""What is particular to SQLite: how its connections work, and what its errors mean."""

from __future__ import annotations

import os
import sqlite3
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, DisconnectionError

BUSY_SECONDS = 5.0
"""How long a connection waits for a lock."""

MOMENT_SECONDS = 0.1
"""The same in the service, where others wait for the thread that waits."""

_BUSY = {5, 6}  # SQLITE_BUSY, SQLITE_LOCKED
_FULL = 13
_OTHERS_FILE = "is it another program's file? Name the database of the site with --database"
_ADVICE = {
    11: "put a backup in its place, with ngshare db restore",  # SQLITE_CORRUPT
    14: "is it a file, where files can be made? Name another with --database",  # SQLITE_CANTOPEN
    26: f"{_OTHERS_FILE}, or put a backup in its place",  # SQLITE_NOTADB
}
_SAID = {
    "is locked": 5,
    "disk image is malformed": 11,
    "malformed database schema": 11,
    "disk is full": _FULL,
    "unable to open": 14,
    "not a database": 26,
}
"""SQLite's result codes by what its messages say."""


def existing(url: URL) -> URL:
    """The same database, but opened only if its file is there, rather than made."""
    file = f"file:{quote(url.database or '')}"
    return url.set(database=file).update_query_dict({"mode": "rw", "uri": "true"})


def set_up_connections(engine: Engine, path: str, *, wal: bool, must_exist: bool) -> None:
    """Make every connection durable, strict, and one whose transactions are as we begin them.

    ``wal``: whether the database is put into WAL mode. ``must_exist``: whether a connection
    is good only as long as ``path`` is the file that it opened.
    See :func:`begin_transactions`, without which no transaction begins.
    """

    @event.listens_for(engine, "connect")
    def set_pragmas(connection: Any, record: Any) -> None:
        # The driver must not begin transactions by itself: it would leave DDL out of them.
        connection.isolation_level = None
        if wal:
            connection.execute("PRAGMA journal_mode=WAL")
        # FULL: in WAL mode only that makes a commit survive a loss of power.
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")

    if must_exist:

        @event.listens_for(engine, "checkout")
        def check_file(connection: Any, record: Any, proxy: Any) -> None:
            _check_file(path, record.info)


def begin_transactions(engine: Engine, *, writes: bool) -> None:
    """Say how the transactions of this engine begin; the driver was told to begin none.

    One that will write asks for the lock first: one that reads first and asks later loses
    to any other writer, however long it may wait.
    """
    statement = "BEGIN IMMEDIATE" if writes else "BEGIN"

    def begin(connection: Any) -> None:
        connection.dbapi_connection.execute(statement)

    # Not a listener of SQLAlchemy's event: once there is one, every statement looks for
    # listeners of its own, which takes a quarter of the time of a read.
    engine.dialect.do_begin = begin  # type: ignore[assignment,method-assign]


def reading(engine: Engine) -> Engine:
    """An engine with the same connections whose transactions only read.

    Made before the first connection: else its dialect does not learn SQLite's version.
    """
    same = create_engine(engine.url, pool=engine.pool, hide_parameters=True)
    begin_transactions(same, writes=False)
    return same


def _check_file(path: str, known: dict[str, Any]) -> None:
    """Refuse a file that was moved away: it stays open, and would take what nobody finds again."""
    file = _file_at(path)
    if known.setdefault("file", file) == file:
        # Looked for once it is there: as long as this connection is open, it stays the same.
        if known.get("journal") is None:
            known["journal"] = _file_at(f"{path}-wal")
        return
    journal = _file_at(f"{path}-wal")
    if journal is None or journal != known.get("journal"):
        raise DisconnectionError("the database's file was moved, removed or replaced")
    # SQLite would play back what belongs to the old file into the one that is there now.
    raise sqlite3.OperationalError(
        f"the file {path} was moved, removed or replaced, and {path}-wal is still that of "
        "the one before: put that back, or stop ngshare, put another file there, move away "
        "what ends with -wal and -shm beside it, and start ngshare"
    )


def _file_at(path: str) -> tuple[int, int] | None:
    """Which file is there now; None when there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116  # at each checkout, where a Path takes twice as long
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_locked(error: DBAPIError) -> bool:
    """Whether another connection had locked the database."""
    return isinstance(error.orig, sqlite3.OperationalError) and _code(error.orig) in _BUSY


def is_full(error: DBAPIError) -> bool:
    """Whether there was no room on the disk."""
    return isinstance(error.orig, sqlite3.Error) and _code(error.orig) == _FULL


def took_key(error: DBAPIError) -> bool:
    """Whether a unique key was taken: of what a table refuses, only that may be free next time."""
    return isinstance(error.orig, sqlite3.IntegrityError) and "UNIQUE" in str(error.orig)


def advice(error: DBAPIError) -> str | None:
    """What to do about a database that cannot be used; None where that is unknown."""
    return _ADVICE.get(_code(error.orig)) if isinstance(error.orig, sqlite3.Error) else None


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code. Python 3.10 has only the message to tell it by."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF
    message = str(error)
    return next((code for words, code in _SAID.items() if words in message), 1)
