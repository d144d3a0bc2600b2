"""A lock beside a SQLite database, shared by the services that use it.

A command that replaces the whole database takes the lock exclusively. It is an advisory lock
(``flock``): worker processes inherit it, and it is released when the last of them has ended.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import URL

from ngshare.errors import StartError
from ngshare.files import Locked, file_lock

log = logging.getLogger("ngshare")


class DatabaseInUse(StartError):
    """A service uses the database, so a command must not replace it."""


@contextlib.contextmanager
def shared_service_lock(url: URL) -> Iterator[None]:
    """Hold the shared lock on a SQLite database; wait while a command replaces the database.

    If the lock file cannot be locked, log a warning and go on without. Do nothing for PostgreSQL.
    """
    if url.get_backend_name() != "sqlite":
        yield
        return
    path = _lock_path(Path(url.database or ""))
    with contextlib.ExitStack() as stack:
        try:
            try:
                stack.enter_context(file_lock(path, shared=True, wait=False))
            except Locked:
                log.info("ngshare db revert replaces the database; waiting until it is done")
                stack.enter_context(file_lock(path, shared=True))
        except OSError as error:
            log.warning(
                "%s cannot be locked (%s), so ngshare db revert cannot see that this service "
                "runs: stop it before you use that",
                path,
                error.strerror,
            )
        yield


@contextlib.contextmanager
def exclusive_service_lock(database: Path) -> Iterator[None]:
    """Keep services from starting on a SQLite database. Raises DatabaseInUse when one runs.

    If the lock file cannot be locked, log a warning and go on without.
    """
    path = _lock_path(database)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(file_lock(path, wait=False))
        except Locked:
            raise DatabaseInUse(
                f"ngshare serves from {database} now: stop it first, then start this again. "
                "Nothing was changed"
            ) from None
        except OSError as error:
            log.warning(
                "%s cannot be locked (%s), so nobody knows whether ngshare runs: it must not",
                path,
                error.strerror,
            )
        yield


def _lock_path(database: Path) -> Path:
    # Beside the file itself: the service and the command may name it by different links.
    file = Path(os.path.realpath(database))
    return file.with_name(f"{file.name}.service-lock")
