"""Back up a site: copy the database, and every blob that it references, into a folder.

The database is copied first, as one consistent state, and the blobs after it: a blob is durable
before the row that references it, and never changes. So a backup is consistent even when it is
made under load. The copy of the database is always SQLite, also that of a PostgreSQL database.

The folder holds the copy of the database, ``blobs``, laid out as in the storage, and
``manifest.json``, which is written last. A backup into a folder that holds an earlier one copies
new blobs only; until it is complete, the manifest describes the earlier one.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from ngshare.admin import copy_rows
from ngshare.admin.backup_manifest import (
    MANIFEST_FILE,
    BackupError,
    Manifest,
    make_manifest,
    write_manifest,
)
from ngshare.admin.copy_blobs import THREADS, copy_blobs, is_intact, require_free_space
from ngshare.admin.progress import StartProgress
from ngshare.admin.references import list_referenced_sizes
from ngshare.blobs import ManagedBlobStore, open_folder_store
from ngshare.blobs.gc import SHARDS
from ngshare.db import migrate, snapshots
from ngshare.db.transactions import Database
from ngshare.files import Locked, file_lock


@dataclass(slots=True)
class BackupReport:
    """The result of a backup: its manifest, and the number and bytes of the blobs copied."""

    manifest: Manifest
    files: int = 0
    bytes: int = 0


def make_backup(
    database: Database,
    store: ManagedBlobStore,
    folder: Path,
    *,
    verify: bool,
    start_progress: StartProgress,
) -> BackupReport:
    """Back up a site into ``folder``. Progress counts blobs.

    A blob that ``folder`` has already is copied again only if its size is wrong, or, with
    ``verify``, its content. Raises BackupError, ExchangeError, OSError or sqlite3.Error.
    """
    with _open_backup_folder(folder) as (target, work):
        made = datetime.now(timezone.utc)
        path = copy_database(database, folder, work)
        with copy_rows.open_sqlite_copy(path) as connection:
            report = BackupReport(make_manifest(path, connection, made))
            require_free_space(connection, target, f"the backup needs {{}} MiB more in {folder}")
            advance = start_progress(report.manifest.files)
            with ThreadPoolExecutor(THREADS) as threads:
                for shard in range(SHARDS):
                    sizes = list_referenced_sizes(connection, shard)
                    present = _select_present(target, shard, sizes, verify=verify)
                    missing = [digest for digest in sizes if digest not in present]
                    _record_copied(report, copy_blobs(store, target, missing, threads))
                    advance(len(sizes))
        report.manifest.damaged.sort()
        write_manifest(folder, report.manifest)
        for old in folder.glob("ngshare-*.db*"):
            if old.name != report.manifest.database:
                old.unlink()
        return report


def copy_database(database: Database, folder: Path, work_folder: Path) -> Path:
    """Copy a database in one consistent state into a new SQLite file in ``folder``; return it.

    Temporary files are made in ``work_folder``; a crash may leave them behind.
    """
    moment = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%f")[:-3] + "Z"
    path = folder / f"ngshare-{moment}.db"
    if database.url.get_backend_name() == "sqlite":
        snapshots.backup_sqlite(Path(database.url.database or ""), path)
        return path
    work = work_folder / secrets.token_hex(8)
    work.mkdir()
    try:
        migrate.upgrade(copy_rows.sqlite_url(work / "rows.db"))
        copy = Database(copy_rows.sqlite_url(work / "rows.db"))
        try:
            database.read(
                lambda source: copy.write(lambda target: copy_rows.replace_rows(target, source))
            )
        finally:
            copy.close()
        snapshots.backup_sqlite(work / "rows.db", path)
    finally:
        shutil.rmtree(work)
    return path


def _select_present(
    target: ManagedBlobStore, shard: int, sizes: Mapping[bytes, int], *, verify: bool
) -> set[bytes]:
    """Return the blobs of a shard that the backup has already and that are not copied again."""
    return {
        entry.digest
        for entry in target.list(bytes([shard]))
        if entry.digest is not None
        and entry.size == sizes.get(entry.digest)
        and (not verify or is_intact(target, entry.digest))
    }


def _record_copied(report: BackupReport, sizes: Mapping[bytes, int | None]) -> None:
    """Add the result of :func:`copy_blobs` to the report."""
    for digest, size in sizes.items():
        if size is None:
            report.manifest.damaged.append(digest.hex())
        else:
            report.files += 1
            report.bytes += size


@contextmanager
def _open_backup_folder(folder: Path) -> Iterator[tuple[ManagedBlobStore, Path]]:
    """Lock a backup's folder; yield the blob store in it and the folder of temporary files.

    Raises BackupError when the folder holds anything else, or another backup is being made there.
    """
    if folder.exists():
        _refuse_foreign_files(folder)
    target, work = open_folder_store(folder), folder / "incoming"
    try:
        with file_lock(folder, wait=False):
            for leftover in work.iterdir():  # of a backup that was killed
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
            for leftover in folder.glob(f"{MANIFEST_FILE}.*.part"):
                leftover.unlink()
            yield target, work
    except Locked:
        raise BackupError(f"another backup is being made in {folder}: wait for it") from None


def _refuse_foreign_files(folder: Path) -> None:
    """Raise BackupError when a folder holds anything that is not part of a backup."""
    subfolders = ("blobs", "incoming")
    for path in folder.iterdir():
        is_file_of_backup = path.match(f"{MANIFEST_FILE}*") or path.match("ngshare-*.db*")
        if path.name not in subfolders and not is_file_of_backup:
            raise BackupError(
                f"{folder} holds {path.name}, which is no part of a backup: name an empty folder, "
                "or one that holds a backup of this site"
            )
