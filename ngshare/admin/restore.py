"""Bring a site back from a backup, also into the other kind of database.

A backup is checked whole before anything is touched. The files come first, the rows
after them in one transaction: killed before that, a restore leaves the site as it was,
with some files more, and can be started again. What a database held before is copied
into ``<storage>/aside/<moment>``, a backup of its own whose files stay in the storage.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from sqlalchemy import Connection

from ngshare.actions import audit
from ngshare.actions.access import Caller
from ngshare.admin import backup, copy_rows
from ngshare.admin.backup import BackupError, Manifest, Step
from ngshare.admin.storage import ASIDE, named_in
from ngshare.blobs import ManagedBlobStore, open_folder_store
from ngshare.blobs.gc import SHARDS
from ngshare.db import migrate, snapshots
from ngshare.db.transactions import Database

SHOWN = 5
"""How many damaged files a refusal names."""


@dataclass(frozen=True, slots=True)
class Source:
    """A backup that was found whole: its folder, its manifest, its database and its files."""

    folder: Path
    manifest: Manifest
    database: Path
    store: ManagedBlobStore


def check(folder: Path, started: Callable[[int], Step]) -> Source:
    """Read a whole backup. Raises BackupError when anything is missing or damaged."""
    manifest = backup.read_manifest(folder)
    path = folder / manifest.database
    digest = backup.hash_file(path)
    if digest is None or digest.hex() != manifest.sha256:
        raise BackupError(f"the backup is damaged: {path} is missing or has changed")
    if manifest.revision not in dict(migrate.revisions()):
        raise BackupError(
            f"the backup is of revision {manifest.revision}, which this ngshare does not know: "
            "restore it with the newer ngshare that made it"
        )
    place = folder / manifest.storage
    if not (place / "blobs").is_dir():
        raise BackupError(f"the backup is incomplete: there is no {place / 'blobs'}")
    store = open_folder_store(place, make=False)
    damaged: list[str] = []
    step = started(manifest.files)
    with copy_rows.open_file(path) as connection, ThreadPoolExecutor(4) as threads:
        found = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
        if found != "ok" or connection.exec_driver_sql("PRAGMA foreign_key_check").first():
            raise BackupError(f"the backup is damaged: {path} is no sound database")
        known = {bytes.fromhex(digest) for digest in manifest.damaged}
        for shard in range(SHARDS):
            digests = sorted(named_in(connection, shard).keys() - known)
            sound = threads.map(partial(backup.is_sound, store), digests)
            for digest, is_sound in zip(digests, sound, strict=True):
                if not is_sound:
                    damaged.append(store.describe(digest))
                step(1)
    if damaged:
        names = ", ".join(damaged[:SHOWN])
        verbs = "is missing or has" if len(damaged) == 1 else "are missing or have"
        raise BackupError(
            f"the backup is damaged: {len(damaged):,} of its files {verbs} changed "
            f"({names}); nothing was touched"
        )
    return Source(folder, manifest, path, store)


def holds_anything(database: Database) -> bool:
    """Whether a database that is up to date holds any row."""
    return any(database.read(copy_rows.count_rows).values())


def restore(
    caller: Caller,
    source: Source,
    database: Database,
    store: ManagedBlobStore,
    folder: Path,
    started: Callable[[int], Step],
) -> Path | None:
    """Put a checked backup in the place of what a site holds, whose storage is ``folder``.

    Return the folder in which that was put aside; None when there was nothing. Raises
    BackupError, ExchangeError, OSError or sqlite3.Error, and then the database is as it was.
    """
    with _of_this_revision(source, folder) as path, copy_rows.open_file(path) as connection:
        backup.require_room(connection, store, f"the files need {{}} MiB more in {folder}")
        _bring_files(connection, source, store, started(source.manifest.files))
        asides: list[Path] = []

        def replace(target: Connection) -> None:
            for half_done in asides:  # of a transaction that lost a race
                shutil.rmtree(half_done)
            asides.clear()
            # From here on nobody else writes, so what is put aside is the very last state.
            copy_rows.lock(target)
            if any(copy_rows.count_rows(target).values()):
                asides.append(_put_aside(database, store, folder))
            _replace(target, connection, caller, source.manifest, asides)

        database.write(replace)
    return asides[0] if asides else None


def _replace(
    target: Connection,
    source: Connection,
    caller: Caller,
    manifest: Manifest,
    asides: Sequence[Path],
) -> None:
    copy_rows.replace_rows(target, source)
    # Of a table that a later revision made, a backup's manifest does not tell.
    if not manifest.rows.items() <= copy_rows.count_rows(target).items():
        raise BackupError("the backup's rows are not as many as its manifest says")
    audit.record(
        target,
        caller,
        "site restored",
        backup=manifest.made,
        aside=[str(path) for path in asides],
    )


@contextmanager
def _of_this_revision(source: Source, folder: Path) -> Iterator[Path]:
    """The backup's database; when an older ngshare made it, a copy that is upgraded."""
    if source.manifest.revision == migrate.head():
        yield source.database
        return
    work = folder / "incoming" / secrets.token_hex(8)
    work.mkdir(parents=True)
    try:
        shutil.copyfile(source.database, work / "ngshare.db")
        migrate.upgrade(copy_rows.file_url(work / "ngshare.db"))
        snapshots.backup_sqlite(work / "ngshare.db", work / "upgraded.db")
        yield work / "upgraded.db"
    finally:
        shutil.rmtree(work)


def _bring_files(
    connection: Connection, source: Source, store: ManagedBlobStore, step: Step
) -> None:
    """Copy what the storage has not, or has damaged, and what the backup has."""
    known = {bytes.fromhex(digest) for digest in source.manifest.damaged}
    with ThreadPoolExecutor(backup.THREADS) as threads:
        for shard in range(SHARDS):
            digests = sorted(named_in(connection, shard))
            sound = threads.map(partial(backup.is_sound, store), digests)
            wanted = [
                digest for digest, is_sound in zip(digests, sound, strict=True) if not is_sound
            ]
            brought = backup.copy_blobs(source.store, store, wanted, threads)
            for digest, size in brought.items():
                if size is None and digest not in known:
                    raise BackupError(
                        f"{source.store.describe(digest)} changed while it was restored: the "
                        "database was not touched"
                    )
            step(len(digests))


def _put_aside(database: Database, store: ManagedBlobStore, storage: Path) -> Path:
    """Copy a database into a backup of its own, whose files are those of the storage."""
    made = datetime.now(timezone.utc)
    folder = storage / ASIDE / f"{made.strftime('%Y%m%dT%H%M%SZ')}-{secrets.token_hex(2)}"
    folder.mkdir(parents=True)
    path = backup.copy_database(database, folder, storage / "incoming")
    with copy_rows.open_file(path) as connection:
        manifest = backup.describe(path, connection, made)
        # What is lost already cannot be asked of a backup.
        lost = [
            digest.hex()
            for shard in range(SHARDS)
            for digest in named_in(connection, shard)
            if not store.exists(digest)
        ]
    manifest.damaged = sorted(lost)
    manifest.storage = os.path.relpath(storage, folder)
    backup.write_manifest(folder, manifest)
    return folder
