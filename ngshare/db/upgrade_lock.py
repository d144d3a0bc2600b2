"""One process at a time changes the schema of a database, however many start at once."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import URL, Engine, text

from ngshare.files import Locked, file_lock

log = logging.getLogger("ngshare")

LOCK_ID = 7_241_957_306
"""The key of the PostgreSQL advisory lock that an upgrade holds. Any number will do, for ever."""


class MigrationError(Exception):
    """The database cannot be used as it is. The message is one line that says what to do."""


@contextlib.contextmanager
def alone(url: URL, engine: Engine) -> Iterator[None]:
    """Let one process at a time upgrade this database. A process that dies lets go by that.

    The others wait. Raises MigrationError when there can be no lock.
    """
    if url.get_backend_name() == "sqlite":
        with alone_with_file(url.database or ""):
            yield
        return
    with engine.connect() as connection:
        # Outside of a transaction, and for as long as the other one takes.
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.execute(text("SET lock_timeout = 0"))
        connection.execute(text("SET statement_timeout = 0"))
        if not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": LOCK_ID}):
            _tell_of_waiting()
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK_ID})
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK_ID})


@contextlib.contextmanager
def alone_with_file(database: str | os.PathLike[str]) -> Iterator[None]:
    """The same for a SQLite database, by its path, which may be a link to it."""
    path = Path(f"{os.path.realpath(database)}.upgrade-lock")
    with contextlib.ExitStack() as held:
        try:
            try:
                held.enter_context(file_lock(path, wait=False))
            except Locked:
                _tell_of_waiting()
                held.enter_context(file_lock(path))
        except OSError as error:
            raise MigrationError(
                f"{path}, which keeps two upgrades apart, cannot be opened and locked "
                f"({error.strerror}): remove it, give its folder to the user of ngshare, and keep "
                "the database on a local disk"
            ) from error
        yield


def _tell_of_waiting() -> None:
    log.info("Another process upgrades the database; waiting until it is done")
