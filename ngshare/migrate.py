"""Bring the database to the schema of this program, before the service starts.

One process at a time, all or nothing: the whole way from the old revision to the
new one is a single transaction, on SQLite too, and a SQLite database that holds
anything is copied before. Nothing here ever makes a table by itself; the files in
``alembic/versions`` do.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from alembic import command
from ngshare import snapshots
from ngshare.database import make_engine, show_url

log = logging.getLogger("ngshare")

LOCK_ID = 7_241_957_306
"""The key of the PostgreSQL advisory lock that an upgrade holds. Any number will do, for ever."""


class MigrationError(Exception):
    """The database cannot be used as it is. The message is one line that says what to do."""


def scripts() -> Path:
    """The folder of the migrations: in the wheel it is inside the package, else in the checkout."""
    package = Path(__file__).parent
    for folder in (package / "_alembic", package.parent / "alembic"):
        if (folder / "env.py").exists():
            return folder
    raise MigrationError(
        f"The migrations are missing from {package / '_alembic'}: install ngshare again"
    )


def alembic_config(connection: Connection | None = None) -> Config:
    """What Alembic needs to know, without ``alembic.ini``, which a wheel does not carry."""
    config = Config()
    # Percent signs mean interpolation to the parser behind it.
    config.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    if connection is not None:
        config.attributes["connection"] = connection
    return config


def head() -> str:
    """The revision of this program."""
    revision = ScriptDirectory.from_config(alembic_config()).get_current_head()
    assert revision is not None, "there is always a first revision"
    return revision


def revisions() -> list[tuple[str, str]]:
    """Every revision there ever was, the oldest first, each with its title."""
    walked = ScriptDirectory.from_config(alembic_config()).walk_revisions()
    return [(script.revision, script.doc.partition("\n")[0]) for script in walked][::-1]


def current(connection: Connection) -> str | None:
    """The revision of a database; None when it was never migrated."""
    return MigrationContext.configure(connection).get_current_revision()


def upgrade(url: URL) -> tuple[str | None, str]:
    """Bring the database to this program's revision. Return the revisions before and after.

    Raises MigrationError when the database is newer than this program, or cannot
    be opened.
    """
    with _opened(url) as engine:
        before = _revision(engine)
        if before == head():
            return before, before
        with _alone(url, engine):
            # Another process may have upgraded while this one waited.
            before = _revision(engine)
            if before != head():
                _back_up(url, before)
                with engine.begin() as connection:
                    command.upgrade(alembic_config(connection), "head")
                _use_wal(url)
        return before, head()


def _use_wal(url: URL) -> None:
    """Put a SQLite database into WAL mode, while nobody else works with it."""
    engine = make_engine(url)
    engine.connect().close()
    engine.dispose()


def revision_of(url: URL) -> str | None:
    """The revision of a database, None when it was never migrated. Raises MigrationError."""
    with _opened(url) as engine:
        return _revision(engine)


def check(url: URL) -> str:
    """Return the database's revision if it is this program's, else raise MigrationError."""
    with _opened(url) as engine:
        revision = _revision(engine)
    _refuse_unknown(revision)
    if revision != head():
        raise MigrationError(
            f"The database is at revision {revision or 'none'}, this ngshare needs {head()}, and "
            "--no-upgrade-db is given. Start it once without --no-upgrade-db to upgrade it, "
            "after a backup"
        )
    return revision


def _back_up(url: URL, revision: str | None) -> None:
    """Copy a SQLite database that holds anything, or say whose the backup is."""
    if url.get_backend_name() != "sqlite":
        if revision is not None:
            log.warning(
                "Upgrading a PostgreSQL database from revision %s. ngshare makes no backup of it: "
                "that is its administrator's",
                revision,
            )
        return
    database = Path(url.database or "")
    try:
        if snapshots.holds_rows(database):
            backup = snapshots.backup_before_upgrade(database, revision)
            log.info("Backup of the database before its upgrade: %s", backup)
    except (snapshots.NoRoom, snapshots.DamagedCopy, OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MigrationError(
            f"The database was not upgraded, because no backup of it can be made: {reason}"
        ) from error


def _revision(engine: Engine) -> str | None:
    # Only looks, so that it need not wait for another process that upgrades: that can take long.
    with engine.execution_options(ngshare_writes=False).connect() as connection:
        revision = current(connection)
    _refuse_unknown(revision)
    return revision


def _refuse_unknown(revision: str | None) -> None:
    known = {
        script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()
    }
    if revision is not None and revision not in known:
        raise MigrationError(
            f"The database is at revision {revision}, which this ngshare does not know: a newer "
            "ngshare wrote it. Start that version, or restore a backup that this one made"
        )


@contextlib.contextmanager
def _opened(url: URL) -> Iterator[Engine]:
    """An engine whose transactions write, with its failures put into one line."""
    try:
        # Two connections: one holds the lock while the other upgrades.
        engine = make_engine(url, connections=2, wal=False).execution_options(ngshare_writes=True)
    except ImportError as error:
        raise MigrationError(
            f"The driver of the database is missing ({error}): pip install 'ngshare[postgres]'"
        ) from error
    except ValueError as error:
        raise MigrationError(f"The database's URL has a wrong parameter: {error}") from error
    try:
        yield engine
    except DBAPIError as error:
        reason = str(error.orig).strip().partition("\n")[0]
        raise MigrationError(f"The database {show_url(url)} does not open: {reason}") from error
    except CommandError as error:
        raise MigrationError(f"The database cannot be upgraded: {error}") from error
    finally:
        engine.dispose()


@contextlib.contextmanager
def _alone(url: URL, engine: Engine) -> Iterator[None]:
    """Let one process at a time upgrade this database. A process that dies lets go by that."""
    if url.get_backend_name() != "sqlite":
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK_ID})
            try:
                yield
            finally:
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK_ID})
        return
    path = f"{url.database}.upgrade-lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise MigrationError(
            f"{path}, which keeps two upgrades apart, cannot be opened "
            f"({error.strerror}): remove it, and give its folder to the user of ngshare"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
