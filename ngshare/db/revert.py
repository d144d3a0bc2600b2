"""Revert an upgrade of a SQLite database: put the backup that was made before it in place."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from sqlalchemy import URL

from ngshare.db import snapshots
from ngshare.db.migrate import LEGACY, MigrationError
from ngshare.db.service_lock import not_in_use
from ngshare.db.snapshots import Backup
from ngshare.db.upgrade_lock import alone_with_file


def find_backup(url: URL, wanted: Path | None = None) -> Backup:
    """Return the backup made before the last upgrade, or ``wanted``. Raises MigrationError.

    It need not be of a revision that this program knows, and nor need the database.
    """
    if url.get_backend_name() != "sqlite":
        raise MigrationError(
            "ngshare makes no backup of a PostgreSQL database: restore the one that you made"
        )
    database = Path(url.database or "")
    backups = snapshots.list_backups(database)
    if wanted is not None:
        for backup in backups:
            if backup.path.name == wanted.name and backup.path.samefile(wanted):
                return backup
        raise MigrationError(f"{wanted} is no backup of {database} that an upgrade made")
    try:
        revision = snapshots.revision_of(database)
    except sqlite3.Error as error:
        raise MigrationError(f"{database} does not open: {error}") from error
    for backup in backups:
        if backup.revision != revision:
            return backup
    raise MigrationError(f"no backup of another revision than {revision} lies beside {database}")


def missing_files(backup: Backup, storage: Path) -> tuple[int, int]:
    """Return how many files a backup of an ngshare 0.6 names, and how many are not there.

    They are there until an administrator runs ``ngshare storage remove-legacy``. A backup of a
    later revision names none. Raises MigrationError.
    """
    if backup.revision not in LEGACY:
        return 0, 0
    try:
        with contextlib.closing(
            sqlite3.connect(f"{backup.path.absolute().as_uri()}?mode=ro", uri=True)
        ) as old:
            rows = old.execute("SELECT DISTINCT actual_name FROM files WHERE actual_name > ''")
            names = [str(name) for (name,) in rows]
    except sqlite3.Error as error:
        raise MigrationError(f"{backup.path} cannot be read: {error}") from error
    return len(names), sum(not os.path.lexists(storage / name) for name in names)


def revert(url: URL, backup: Backup) -> Path:
    """Put a backup in the place of the database; return the backup of what was there.

    Raises InUse while a service works with the database, whose clients' work would be in
    neither of the two, and MigrationError; then it is as it was.
    """
    database = Path(url.database or "")
    with not_in_use(database), alone_with_file(database):
        try:
            before = snapshots.backup_before_upgrade(
                database, snapshots.revision_of(database), spared=backup.path
            )
            snapshots.put_back(backup.path, database)
            if backup.revision in LEGACY:
                _leave_wal(database)
        except (snapshots.NoRoom, snapshots.DamagedCopy, OSError, sqlite3.Error) as error:
            raise MigrationError(f"The database was not reverted: {error}") from error
    return before


def _leave_wal(database: Path) -> None:
    """Take a database out of WAL mode, which ngshare 0.6 does not know, unless it is in use."""
    with (
        contextlib.suppress(sqlite3.OperationalError),
        contextlib.closing(sqlite3.connect(database)) as connection,
    ):
        connection.execute("PRAGMA journal_mode=DELETE")
