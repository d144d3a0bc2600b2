"""Copies of a SQLite database, made while it is in use, and kept beside it.

Before every upgrade one is made, named by the revision it holds and the moment
it was made: ``ngshare.db.backup-20260131T180501.123Z-7c1f0a52d3e8``.
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

from ngshare.files import publish

KEPT = 5
"""How many backups made before upgrades are kept beside a database."""

SPARE = 1 << 20
"""How many bytes a disk must have left when the copy is on it."""

_NAME = re.compile(r"\.backup-(?P<made>[0-9]{8}T[0-9]{6}\.[0-9]{3}Z)-(?P<revision>[0-9a-z]+)")

_PART = re.compile(rf"{_NAME.pattern}\.part(-journal)?")


class NoRoom(Exception):
    """There is no room for a copy. The message is one line with how much was wanted, and where."""


class DamagedCopy(Exception):
    """A copy was made and is not a sound database, so neither is what it was made of."""


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup made before an upgrade: its file, the revision it holds, its moment as text."""

    path: Path
    revision: str
    made: str


def backup_sqlite(source: Path, target: Path) -> int:
    """Copy the SQLite database ``source`` into the new file ``target``; return its size in bytes.

    The copy is one consistent state, also when others write meanwhile, and on a
    database in WAL mode it holds nobody up. It needs no file beside it, and only its owner
    can read it, however open ``source`` is. When this
    returns it is durable and was found sound; until then there is no ``target``.
    ``source`` is only read, and its journal mode stays as it is.

    Raises NoRoom, DamagedCopy, OSError, or sqlite3.Error when ``source`` is not
    there or no database.
    """
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        with _reading(source) as database:
            _require_room(database, target.parent)
            mode = source.stat().st_mode & 0o600
            os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
            part.chmod(mode)
            with contextlib.closing(sqlite3.connect(part, isolation_level=None)) as copy:
                database.backup(copy)
                # Whoever reads it later may not be allowed to make files beside it.
                copy.execute("PRAGMA journal_mode=DELETE")
                found = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
                if found != "ok":
                    raise DamagedCopy(f"{source} is damaged: {found}")
        publish(part, target)
        return target.stat().st_size
    except (sqlite3.Error, OSError) as error:
        if _disk_is_full(error):
            raise NoRoom(f"the disk of {target.parent} is full") from error
        raise
    finally:
        for leftover in (part, part.with_name(f"{part.name}-journal")):
            with contextlib.suppress(OSError):
                leftover.unlink(missing_ok=True)


def backup_before_upgrade(
    database: Path, revision: str | None, *, spared: Path | None = None
) -> Path:
    """Keep a copy of a database beside it, named by its revision, and the last five of them.

    Of equal copies, as repeated attempts to upgrade make them, one is kept, and ``spared``
    always is. Call it only under the upgrade lock: what an attempt that was killed left
    half-made is removed. Raises what :func:`backup_sqlite` raises.
    """
    made = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%f")[:-3] + "Z"
    target = database.with_name(f"{database.name}.backup-{made}-{revision or 'none'}")
    _remove_leftovers(database)
    backup_sqlite(database, target)
    others = [
        backup.path for backup in list_backups(database) if backup.path not in (target, spared)
    ]
    if others and filecmp.cmp(others[0], target, shallow=False):
        others.pop(0).unlink()
    for old in others[KEPT - 1 :]:
        old.unlink(missing_ok=True)
    return target


def _remove_leftovers(database: Path) -> None:
    for path in database.parent.glob(f"{_escape(database.name)}.backup-*.part*"):
        if _PART.fullmatch(path.name.removeprefix(database.name)):
            path.unlink(missing_ok=True)


def put_back(backup: Path, database: Path) -> None:
    """Make a SQLite database again what it was when a backup of it was made.

    All or nothing, in place: whoever has it open sees the one state or the other.
    Raises sqlite3.Error.
    """
    with (
        _reading(backup) as source,
        contextlib.closing(sqlite3.connect(database, isolation_level=None, timeout=30)) as target,
    ):
        target.execute("PRAGMA synchronous=FULL")
        source.backup(target)


def revision_of(database: Path) -> str | None:
    """The revision that a SQLite database says it is at, known or not. Raises sqlite3.Error."""
    with _reading(database) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        if ("alembic_version",) not in tables.fetchall():
            return None
        found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        return None if found is None else str(found[0])


def list_backups(database: Path) -> list[Backup]:
    """The backups that were made before upgrades of this database, the newest first."""
    found = []
    for path in database.parent.glob(f"{_escape(database.name)}.backup-*"):
        match = _NAME.fullmatch(path.name.removeprefix(database.name))
        if match:
            found.append(Backup(path, match["revision"], match["made"]))
    return sorted(found, key=lambda backup: backup.made, reverse=True)


def holds_rows(database: Path) -> bool:
    """Whether a SQLite database holds anything worth a backup."""
    if not database.exists():
        return False
    with _reading(database) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return any(
            connection.execute(f'SELECT 1 FROM "{name}" LIMIT 1').fetchone()  # noqa: S608  # SQLite names it
            for (name,) in tables.fetchall()
            if name != "alembic_version" and not name.startswith("sqlite_")
        )


@contextlib.contextmanager
def _reading(database: Path) -> Iterator[sqlite3.Connection]:
    """A connection that can change nothing, not even the journal mode."""
    uri = f"{database.absolute().as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=30)) as connection:
        yield connection


def _require_room(database: sqlite3.Connection, folder: Path) -> None:
    (pages,) = database.execute("PRAGMA page_count").fetchone()
    (page,) = database.execute("PRAGMA page_size").fetchone()
    wanted = pages * page + SPARE
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise NoRoom(
            f"a copy needs {wanted // 2**20 + 1} MiB in {folder}, and {free // 2**20} are free"
        )


def _disk_is_full(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return "disk is full" in str(error)


def _escape(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)
