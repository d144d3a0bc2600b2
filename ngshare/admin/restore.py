"""Restore a site from a backup, into a database of either kind.

A backup is verified whole before anything is changed. The blobs are copied first, the rows after
them in one transaction: a restore that is killed before its commit leaves the site as it was, with
some additional blobs, and can be started again. The rows that a restore replaces are first copied
into ``<storage>/aside/<moment>``, a backup of its own whose blobs stay in the storage.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, insert, select

from ngshare.actions import audit
from ngshare.actions.access import Caller
from ngshare.admin import backup, copy_rows
from ngshare.admin.backup_manifest import (
    BackupError,
    Manifest,
    hash_file,
    make_manifest,
    read_manifest,
    write_manifest,
)
from ngshare.admin.copy_blobs import THREADS, copy_blobs, is_intact, require_free_space
from ngshare.admin.garbage_collection import ASIDE
from ngshare.admin.progress import Advance, StartProgress
from ngshare.admin.references import list_referenced
from ngshare.blobs import ManagedBlobStore, open_folder_store
from ngshare.blobs.gc import SHARDS
from ngshare.db import migrate, snapshots
from ngshare.db.models import SigningKey
from ngshare.db.transactions import Database

VERIFY_THREADS = 4
"""The number of blobs that are verified at once."""

MAX_NAMES = 5
"""The number of damaged files that an error message names."""


@dataclass(frozen=True, slots=True)
class VerifiedBackup:
    """A backup that was read and is intact: its manifest, database file and blob store."""

    manifest: Manifest
    database: Path
    store: ManagedBlobStore


def verify_backup(folder: Path, start_progress: StartProgress) -> VerifiedBackup:
    """Read a whole backup. Raises BackupError when anything in it is missing or damaged."""
    manifest = read_manifest(folder)
    path = folder / manifest.database
    digest = hash_file(path)
    if digest is None or digest.hex() != manifest.sha256:
        raise BackupError(f"the backup is damaged: {path} is missing or has changed")
    if manifest.revision not in dict(migrate.list_revisions()):
        raise BackupError(
            f"the backup is of revision {manifest.revision}, which this ngshare does not know: "
            "restore it with the newer ngshare that made it"
        )
    storage = folder / manifest.storage
    if not (storage / "blobs").is_dir():
        raise BackupError(f"the backup is incomplete: there is no {storage / 'blobs'}")
    store = open_folder_store(storage, make=False)
    damaged: list[str] = []
    advance = start_progress(manifest.files)
    with (
        copy_rows.open_sqlite_copy(path) as connection,
        ThreadPoolExecutor(VERIFY_THREADS) as threads,
    ):
        integrity = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
        if integrity != "ok" or connection.exec_driver_sql("PRAGMA foreign_key_check").first():
            raise BackupError(f"the backup is damaged: {path} is no sound database")
        known_damaged = {bytes.fromhex(digest) for digest in manifest.damaged}
        for shard in range(SHARDS):
            digests = sorted(list_referenced(connection, shard).keys() - known_damaged)
            results = threads.map(partial(is_intact, store), digests)
            for digest, intact in zip(digests, results, strict=True):
                if not intact:
                    damaged.append(store.describe(digest))
                advance(1)
    if damaged:
        names = ", ".join(damaged[:MAX_NAMES])
        verbs = "is missing or has" if len(damaged) == 1 else "are missing or have"
        raise BackupError(
            f"the backup is damaged: {len(damaged):,} of its files {verbs} changed "
            f"({names}); nothing was touched"
        )
    return VerifiedBackup(manifest, path, store)


def has_rows(database: Database) -> bool:
    """Return whether a database of this program's revision holds any row."""
    return any(database.read(copy_rows.count_rows).values())


def restore_backup(
    caller: Caller,
    source: VerifiedBackup,
    database: Database,
    store: ManagedBlobStore,
    storage: Path,
    start_progress: StartProgress,
) -> Path | None:
    """Replace the contents of a site by those of a backup. Progress counts blobs.

    ``store`` is the blob store in the site's folder ``storage``. Returns the folder into which
    the replaced rows were copied; None when there were none. Raises BackupError, ExchangeError,
    OSError or sqlite3.Error, and then the database is unchanged.
    """
    with (
        _at_current_revision(source, storage) as path,
        copy_rows.open_sqlite_copy(path) as connection,
    ):
        require_free_space(connection, store, f"the files need {{}} MiB more in {storage}")
        _copy_missing_blobs(connection, source, store, start_progress(source.manifest.files))
        asides: list[Path] = []

        def replace(target: Connection) -> None:
            for leftover in asides:  # of a transaction that lost a race
                shutil.rmtree(leftover)
            asides.clear()
            # Locked first, so that no later write is missing in the copy put aside.
            copy_rows.lock_tables(target)
            if any(copy_rows.count_rows(target).values()):
                asides.append(_put_aside(database, store, storage))
            _replace_rows(target, connection, caller, source.manifest, asides)

        database.write(replace)
    return asides[0] if asides else None


def _replace_rows(
    target: Connection,
    source: Connection,
    caller: Caller,
    manifest: Manifest,
    asides: Sequence[Path],
) -> None:
    """Replace all rows of ``target``, and record the restore in the audit log.

    The key that signs receipts stays if the backup has none: receipts of before remain genuine.
    """
    keys = target.execute(select(SigningKey.__table__)).mappings().all()
    copy_rows.replace_rows(target, source)
    # The manifest of an older revision lacks the tables that were added since.
    if not manifest.rows.items() <= copy_rows.count_rows(target).items():
        raise BackupError("the backup's rows are not as many as its manifest says")
    if keys and target.execute(select(SigningKey.id)).first() is None:
        target.execute(insert(SigningKey), [dict(key) for key in keys])
    audit.record(
        target,
        caller,
        "site restored",
        backup=manifest.made,
        aside=[str(path) for path in asides],
    )


@contextmanager
def _at_current_revision(source: VerifiedBackup, storage: Path) -> Iterator[Path]:
    """Yield the backup's database, or an upgraded copy of it when an older ngshare made it.

    The copy is temporary, in the folder ``incoming`` of the storage.
    """
    if source.manifest.revision == migrate.head():
        yield source.database
        return
    work = storage / "incoming" / secrets.token_hex(8)
    work.mkdir(parents=True)
    try:
        shutil.copyfile(source.database, work / "ngshare.db")
        migrate.upgrade(copy_rows.sqlite_url(work / "ngshare.db"))
        snapshots.backup_sqlite(work / "ngshare.db", work / "upgraded.db")
        yield work / "upgraded.db"
    finally:
        shutil.rmtree(work)


def _copy_missing_blobs(
    connection: Connection, source: VerifiedBackup, store: ManagedBlobStore, advance: Advance
) -> None:
    """Copy every referenced blob that is missing or damaged in the site's storage.

    Raises BackupError when the backup lacks one that its manifest does not list as damaged.
    """
    known_damaged = {bytes.fromhex(digest) for digest in source.manifest.damaged}
    with ThreadPoolExecutor(THREADS) as threads:
        for shard in range(SHARDS):
            digests = sorted(list_referenced(connection, shard))
            results = threads.map(partial(is_intact, store), digests)
            missing = [
                digest for digest, intact in zip(digests, results, strict=True) if not intact
            ]
            copied = copy_blobs(source.store, store, missing, threads)
            for digest, size in copied.items():
                if size is None and digest not in known_damaged:
                    raise BackupError(
                        f"{source.store.describe(digest)} changed while it was restored: the "
                        "database was not touched"
                    )
            advance(len(digests))


def _put_aside(database: Database, store: ManagedBlobStore, storage: Path) -> Path:
    """Copy a database into a new backup whose blobs are those in the storage; return its folder."""
    made = datetime.now(timezone.utc)
    folder = storage / ASIDE / f"{made.strftime('%Y%m%dT%H%M%SZ')}-{secrets.token_hex(2)}"
    folder.mkdir(parents=True)
    path = backup.copy_database(database, folder, storage / "incoming")
    with copy_rows.open_sqlite_copy(path) as connection:
        manifest = make_manifest(path, connection, made)
        # Listed as damaged, because otherwise this backup would be refused as incomplete.
        missing = [
            digest.hex()
            for shard in range(SHARDS)
            for digest in list_referenced(connection, shard)
            if not store.exists(digest)
        ]
    manifest.damaged = sorted(missing)
    manifest.storage = os.path.relpath(storage, folder)
    write_manifest(folder, manifest)
    return folder
