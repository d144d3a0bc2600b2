"""Collect the blobs that no database of a site references, through the quarantine.

:mod:`ngshare.blobs.gc` moves and deletes blobs; here is decided which ones are referenced: by the
site's database, by databases that restores put aside, and by backups that upgrades made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import DBAPIError

from ngshare.actions import uploads
from ngshare.admin import copy_rows
from ngshare.admin.progress import Advance
from ngshare.admin.references import select_referenced, select_referenced_by_trees
from ngshare.blobs import Amount, BlobEntry, ManagedBlobStore, gc
from ngshare.blobs.gc import SHARDS
from ngshare.db import snapshots
from ngshare.db.models import AuditEntry
from ngshare.db.transactions import Database
from ngshare.errors import StartError

ASIDE = "aside"
"""The folder in the storage for databases that restores put aside; they reference blobs too."""


class UnreadableDatabase(StartError):
    """An old database cannot be read, so its references are unknown."""


@dataclass(slots=True)
class CollectionReport:
    """The result of a garbage collection, done or planned.

    ``moved`` counts blobs that went into the quarantine, ``deleted`` those that were deleted from
    there, ``put_back`` those in the quarantine that a row references by now, ``leftovers``
    temporary files of interrupted uploads. Of a planned collection, ``needed_by_old`` counts old
    blobs that only old databases reference, and ``newer_than_log`` unreferenced ones that are newer
    than the newest entry of the audit log.
    """

    moved: Amount = field(default_factory=Amount)
    deleted: Amount = field(default_factory=Amount)
    put_back: Amount = field(default_factory=Amount)
    leftovers: Amount = field(default_factory=Amount)
    needed_by_old: Amount = field(default_factory=Amount)
    newer_than_log: Amount = field(default_factory=Amount)


def collect_garbage(
    database: Database,
    store: ManagedBlobStore,
    *,
    hours: float,
    days: int,
    advance: Advance,
    old_databases: Sequence[Path] = (),
    dry: bool = False,
) -> CollectionReport:
    """Move unreferenced blobs older than ``hours`` into the quarantine; delete expired ones there.

    A blob in the quarantine expires after ``days``. Blobs that one of ``old_databases`` references
    stay, and so do blobs that are newer than the newest entry of the audit log: ``database`` may
    be an old copy of the site's. ``advance`` is called after each of the :data:`SHARDS` shards.
    With ``dry`` nothing is changed. Raises UnreadableDatabase or OSError.
    """
    report = CollectionReport()
    before = (datetime.now(timezone.utc) - timedelta(hours=hours)).timestamp()
    newest = database.read(newest_event)
    known_until = min(before, newest.timestamp() if newest is not None else 0.0)
    if not dry:
        database.write(uploads.forget_unused, datetime.now(timezone.utc) - uploads.UNUSED)

    with ExitStack() as stack:
        others = [
            (path, stack.enter_context(copy_rows.open_sqlite_copy(path))) for path in old_databases
        ]

        def select_referenced_by_any(digests: Sequence[bytes]) -> set[bytes]:
            """Return those of ``digests`` that any of the databases references."""
            referenced = database.read(select_referenced, digests)
            for path, connection in others:
                with _explaining_errors(path):
                    rest = [digest for digest in digests if digest not in referenced]
                    referenced |= select_referenced_by_trees(connection, rest)
            return referenced

        # Deletions come first, because on a full disk nothing can be moved.
        expired = gc.delete_expired(store, days, select_referenced_by_any, dry=dry)
        report.deleted, report.put_back = expired.deleted, expired.put_back
        report.leftovers = gc.remove_leftovers(store, dry=dry)
        for shard in range(SHARDS):
            if dry:
                old = [entry for entry in store.list(bytes([shard])) if entry.modified < before]
                _count_retained(report, old, database, select_referenced_by_any, known_until)
            moved = gc.quarantine(store, shard, known_until, select_referenced_by_any, dry=dry)
            report.moved.files += moved.files
            report.moved.bytes += moved.bytes
            advance(1)
    return report


def _count_retained(
    report: CollectionReport,
    entries: Sequence[BlobEntry],
    database: Database,
    select_referenced_by_any: gc.SelectReferenced,
    known_until: float,
) -> None:
    """Count those of ``entries`` that stay although ``database`` references none of them."""
    sizes = {entry.digest: entry.size for entry in entries if entry.digest is not None}
    unreferenced = set(sizes) - database.read(select_referenced, list(sizes))
    needed_by_old = set(select_referenced_by_any(list(unreferenced)))
    for digest in needed_by_old:
        report.needed_by_old.add(sizes[digest])
    for entry in entries:
        if entry.digest in unreferenced - needed_by_old and entry.modified >= known_until:
            report.newer_than_log.add(entry.size)


def newest_event(connection: Connection) -> datetime | None:
    """Return the time (UTC) of the newest entry of the audit log; None when it is empty."""
    return connection.scalar(select(func.max(AuditEntry.at)))


def references_no_blob(database: Database, store: ManagedBlobStore) -> bool:
    """Return whether the store holds blobs, of any age, and the database references none of them.

    It is probably the database of another site then.
    """
    count = 0
    for shard in range(SHARDS):
        entries = store.list(bytes([shard]))
        digests = [entry.digest for entry in entries if entry.digest is not None]
        count += len(digests)
        if database.read(select_referenced, digests):
            return False
    return count > 0


def list_aside_databases(storage: Path) -> list[Path]:
    """Return the databases that restores put aside in a site's storage folder.

    The blobs that they reference are needed to undo those restores.
    """
    return sorted((storage / ASIDE).glob("*/*.db"))


def list_upgrade_backups(database: Database) -> list[Path]:
    """Return the backups of a SQLite database, made by upgrades, that reference blobs.

    Those blobs are needed to revert the upgrades. Backups of ngshare 0.6 reference none. Returns
    an empty list for PostgreSQL. Raises UnreadableDatabase.
    """
    if database.url.get_backend_name() != "sqlite":
        return []
    backups = []
    for backup in snapshots.list_backups(Path(database.url.database or "")):
        with _explaining_errors(backup.path), copy_rows.open_sqlite_copy(backup.path) as connection:
            columns = connection.exec_driver_sql("SELECT name FROM pragma_table_info('files')")
            if "sha256" in set(columns.scalars()):
                backups.append(backup.path)
    return backups


@contextmanager
def _explaining_errors(path: Path) -> Iterator[None]:
    """Turn database errors into UnreadableDatabase, which names the file."""
    try:
        yield
    except DBAPIError as error:
        raise UnreadableDatabase(
            f"{path} cannot be read ({error.orig}), so nobody knows which files it needs: "
            "mend or remove it"
        ) from error
