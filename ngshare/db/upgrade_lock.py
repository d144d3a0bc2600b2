"""A lock that lets one process at a time change a database's schema."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import URL, Engine, text

from ngshare.errors import MigrationError
from ngshare.files import Locked, file_lock

log = logging.getLogger("ngshare")

LOCK_ID = 7_241_957_306
"""The key of the PostgreSQL advisory lock: an arbitrary number, which must never change."""


@contextlib.contextmanager
def upgrade_lock(url: URL, engine: Engine) -> Iterator[None]:
    """Wait for the lock on a database, and hold it. It is released when the process ends.

    Raises MigrationError when the lock file of a SQLite database cannot be locked.
    """
    if url.get_backend_name() == "sqlite":
        with sqlite_upgrade_lock(url.database or ""):
            yield
        return
    with engine.connect() as connection:
        # No transaction, and no timeout: the process that holds the lock may take long.
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.execute(text("SET lock_timeout = 0"))
        connection.execute(text("SET statement_timeout = 0"))
        if not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": LOCK_ID}):
            _log_waiting()
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK_ID})
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK_ID})


@contextlib.contextmanager
def sqlite_upgrade_lock(database: str | os.PathLike[str]) -> Iterator[None]:
    """Wait for the lock on a SQLite database, and hold it.

    database: the path of the file, or of a symbolic link to it.

    Raises MigrationError when the lock file cannot be locked.
    """
    path = Path(f"{os.path.realpath(database)}.upgrade-lock")
    with contextlib.ExitStack() as stack:
        try:
            try:
                stack.enter_context(file_lock(path, wait=False))
            except Locked:
                _log_waiting()
                stack.enter_context(file_lock(path))
        except OSError as error:
            raise MigrationError(
                f"{path}, which keeps two upgrades apart, cannot be opened and locked "
                f"({error.strerror}): remove it, give its folder to the user of ngshare, and keep "
                "the database on a local disk"
            ) from error
        yield


def _log_waiting() -> None:
    log.info("Another process upgrades the database; waiting until it is done")
