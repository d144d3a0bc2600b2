"""Backups of a SQLite database, made while it is in use.

Every upgrade first makes one beside the database, whose name gives the time and the revision:
``ngshare.db.backup-20260131T180501.123Z-7c1f0a52d3e8``.
"""

from __future__ import annotations

import contextlib
import errno
import filecmp
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from ngshare.errors import StartError
from ngshare.files import durable_rename

MAX_BACKUPS = 5
"""The maximum number of backups kept beside a database."""

SPARE_BYTES = 1 << 20
"""Bytes that must stay free on the disk of a copy."""

_NAME = re.compile(r"\.backup-(?P<made_at>[0-9]{8}T[0-9]{6}\.[0-9]{3}Z)-(?P<revision>[0-9a-z]+)")

_UNFINISHED = re.compile(rf"{_NAME.pattern}\.part(-journal)?")


class DiskFull(StartError):
    """The disk has no space for a copy."""


class CorruptDatabase(StartError):
    """The integrity check of a copy failed, so its source is corrupt too."""


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup made before an upgrade: its file, its revision, and its time as in the name."""

    path: Path
    revision: str
    made_at: str


def backup_sqlite(source: Path, target: Path) -> int:
    """Copy the SQLite database ``source`` to the new file ``target``; return its size in bytes.

    The copy is a consistent snapshot even while others write, and does not block them when the
    database is in WAL mode. It is a single file, readable by its owner only. ``target`` appears
    when the copy is durable and has passed SQLite's integrity check. ``source`` is only read.

    Raises DiskFull, CorruptDatabase, OSError, and sqlite3.Error when ``source`` is missing or
    is not a database.
    """
    temporary = target.with_name(f"{target.name}.part")
    temporary.unlink(missing_ok=True)
    try:
        with _open_read_only(source) as database:
            _require_space(database, target.parent)
            mode = source.stat().st_mode & 0o600
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
            temporary.chmod(mode)
            with contextlib.closing(sqlite3.connect(temporary, isolation_level=None)) as copy:
                database.backup(copy)
                # A WAL file could not be created beside it on read-only media.
                copy.execute("PRAGMA journal_mode=DELETE")
                result = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
                if result != "ok":
                    raise CorruptDatabase(f"{source} is damaged: {result}")
        durable_rename(temporary, target)
        return target.stat().st_size
    except (sqlite3.Error, OSError) as error:
        if _disk_is_full(error):
            raise DiskFull(f"the disk of {target.parent} is full") from error
        raise
    finally:
        for leftover in (temporary, temporary.with_name(f"{temporary.name}-journal")):
            with contextlib.suppress(OSError):
                leftover.unlink(missing_ok=True)


def backup_before_upgrade(
    database: Path, revision: str | None, *, keep: Path | None = None
) -> Path:
    """Back up a database beside it; return the path. Delete the oldest beyond ``MAX_BACKUPS``.

    A backup that equals the one before replaces it, so that repeated attempts to upgrade do not
    push out older ones. Unfinished backups of killed processes are deleted, so call this only
    under the upgrade lock.

    revision: the database's revision; None when it has none.
    keep: a backup that is never deleted.

    Raises the exceptions of :func:`backup_sqlite`.
    """
    made_at = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%f")[:-3] + "Z"
    target = database.with_name(f"{database.name}.backup-{made_at}-{revision or 'none'}")
    _delete_unfinished(database)
    backup_sqlite(database, target)
    others = [backup.path for backup in list_backups(database) if backup.path not in (target, keep)]
    if others and filecmp.cmp(others[0], target, shallow=False):
        others.pop(0).unlink()
    for old in others[MAX_BACKUPS - 1 :]:
        old.unlink(missing_ok=True)
    return target


def _delete_unfinished(database: Path) -> None:
    for path in database.parent.glob(f"{_escape(database.name)}.backup-*.part*"):
        if _UNFINISHED.fullmatch(path.name.removeprefix(database.name)):
            path.unlink(missing_ok=True)


def restore_in_place(backup: Path, database: Path) -> None:
    """Replace a SQLite database's content by that of a backup, in one transaction.

    Other processes may have the database open. Raises sqlite3.Error.
    """
    with (
        _open_read_only(backup) as source,
        contextlib.closing(sqlite3.connect(database, isolation_level=None, timeout=30)) as target,
    ):
        target.execute("PRAGMA synchronous=FULL")
        source.backup(target)


def stored_revision(database: Path) -> str | None:
    """Return the revision that a SQLite database is at, even one unknown to this program.

    None when it was never migrated. Raises sqlite3.Error.
    """
    with _open_read_only(database) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        if ("alembic_version",) not in tables.fetchall():
            return None
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        return None if row is None else str(row[0])


def list_backups(database: Path) -> list[Backup]:
    """Return the backups that upgrades of this database made, newest first."""
    backups = []
    for path in database.parent.glob(f"{_escape(database.name)}.backup-*"):
        match = _NAME.fullmatch(path.name.removeprefix(database.name))
        if match:
            backups.append(Backup(path, match["revision"], match["made_at"]))
    return sorted(backups, key=lambda backup: backup.made_at, reverse=True)


def has_rows(database: Path) -> bool:
    """Return whether a SQLite database exists and has rows, other than its revision."""
    if not database.exists():
        return False
    with _open_read_only(database) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return any(
            connection.execute(f'SELECT 1 FROM "{name}" LIMIT 1').fetchone()  # noqa: S608  # SQLite names it
            for (name,) in tables.fetchall()
            if name != "alembic_version" and not name.startswith("sqlite_")
        )


@contextlib.contextmanager
def _open_read_only(database: Path) -> Iterator[sqlite3.Connection]:
    """Open a connection that cannot change anything, not even the journal mode."""
    uri = f"{database.absolute().as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=30)) as connection:
        yield connection


def _require_space(database: sqlite3.Connection, folder: Path) -> None:
    (pages,) = database.execute("PRAGMA page_count").fetchone()
    (page,) = database.execute("PRAGMA page_size").fetchone()
    needed = pages * page + SPARE_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DiskFull(
            f"a copy needs {needed // 2**20 + 1} MiB in {folder}, and {free // 2**20} are free"
        )


def _disk_is_full(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return "disk is full" in str(error)


def _escape(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)
