"""Whether a service works with a SQLite database now: a lock beside it that each one shares.

Whoever replaces the whole database takes the lock alone. It is the system's own, so that of
a service that was killed it goes by itself; workers inherit it from the process that
started them, and it lasts until the last of them has ended.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import URL

from ngshare.files import Locked, file_lock

log = logging.getLogger("ngshare")


class InUse(Exception):
    """A service works with the database. The message is one line that says what to do."""


@contextlib.contextmanager
def in_use(url: URL) -> Iterator[None]:
    """Say that this process serves from the database, for as long as it does.

    Waits while the database is being replaced. Where there can be no lock it only warns:
    the service itself does not need it.
    """
    if url.get_backend_name() != "sqlite":
        yield
        return
    path = _path(Path(url.database or ""))
    with contextlib.ExitStack() as held:
        try:
            try:
                held.enter_context(file_lock(path, shared=True, wait=False))
            except Locked:
                log.info("ngshare db revert replaces the database; waiting until it is done")
                held.enter_context(file_lock(path, shared=True))
        except OSError as error:
            log.warning(
                "%s cannot be locked (%s), so ngshare db revert cannot see that this service "
                "runs: stop it before you use that",
                path,
                error.strerror,
            )
        yield


@contextlib.contextmanager
def not_in_use(database: Path) -> Iterator[None]:
    """Keep every service from beginning to serve from the database. Raises InUse when one does."""
    path = _path(database)
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(file_lock(path, wait=False))
        except Locked:
            raise InUse(
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


def _path(database: Path) -> Path:
    # Of the file itself: one service may name it, and whoever reverts it a link to it.
    file = Path(os.path.realpath(database))
    return file.with_name(f"{file.name}.service-lock")
