"""Revert an upgrade of a SQLite database, by the backup that was made before it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from sqlalchemy import URL

from ngshare.db import snapshots
from ngshare.db.migrate import LEGACY_REVISIONS
from ngshare.db.service_lock import exclusive_service_lock
from ngshare.db.snapshots import Backup
from ngshare.db.upgrade_lock import sqlite_upgrade_lock
from ngshare.errors import MigrationError


def find_backup(url: URL, path: Path | None = None) -> Backup:
    """Return the backup at ``path``, by default the newest one of another revision.

    Neither the backup's revision nor the database's need be known to this program.
    Raises MigrationError when there is no such backup of this database.
    """
    if url.get_backend_name() != "sqlite":
        raise MigrationError(
            "ngshare makes no backup of a PostgreSQL database: restore the one that you made"
        )
    database = Path(url.database or "")
    backups = snapshots.list_backups(database)
    if path is not None:
        for backup in backups:
            if backup.path.name == path.name and backup.path.samefile(path):
                return backup
        raise MigrationError(f"{path} is no backup of {database} that an upgrade made")
    try:
        revision = snapshots.stored_revision(database)
    except sqlite3.Error as error:
        raise MigrationError(f"{database} does not open: {error}") from error
    for backup in backups:
        if backup.revision != revision:
            return backup
    raise MigrationError(f"no backup of another revision than {revision} lies beside {database}")


def count_missing_files(backup: Backup, storage: Path) -> tuple[int, int]:
    """Return how many files a backup of ngshare 0.6 names, and how many of them are missing.

    Files are missing after ``ngshare storage remove-legacy``. A backup of a later revision
    names no files: return zeros. Raises MigrationError when the backup cannot be read.
    """
    if backup.revision not in LEGACY_REVISIONS:
        return 0, 0
    try:
        with contextlib.closing(
            sqlite3.connect(f"{backup.path.absolute().as_uri()}?mode=ro", uri=True)
        ) as connection:
            query = "SELECT DISTINCT actual_name FROM files WHERE actual_name > ''"
            names = [str(name) for (name,) in connection.execute(query)]
    except sqlite3.Error as error:
        raise MigrationError(f"{backup.path} cannot be read: {error}") from error
    return len(names), sum(not os.path.lexists(storage / name) for name in names)


def revert(url: URL, backup: Backup) -> Path:
    """Replace the content of the database by a backup; return a new backup of the old content.

    Raises DatabaseInUse while a service runs, because the changes of its clients would be lost,
    and MigrationError on failure. The database is unchanged then.
    """
    database = Path(url.database or "")
    with exclusive_service_lock(database), sqlite_upgrade_lock(database):
        try:
            undo = snapshots.backup_before_upgrade(
                database, snapshots.stored_revision(database), keep=backup.path
            )
            snapshots.restore_in_place(backup.path, database)
            if backup.revision in LEGACY_REVISIONS:
                _disable_wal(database)
        except (snapshots.DiskFull, snapshots.CorruptDatabase, OSError, sqlite3.Error) as error:
            raise MigrationError(f"The database was not reverted: {error}") from error
    return undo


def _disable_wal(database: Path) -> None:
    """Take a database out of WAL mode, which ngshare 0.6 does not use; not while it is open."""
    with (
        contextlib.suppress(sqlite3.OperationalError),
        contextlib.closing(sqlite3.connect(database)) as connection,
    ):
        connection.execute("PRAGMA journal_mode=DELETE")
