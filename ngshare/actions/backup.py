"""A backup of a site: a folder with a copy of the database and of every file that it names.

The database is copied first, as one consistent state, and the files it names after it:
they were there before their rows, and never change. So a backup agrees with itself also
when it is made under load. Whatever the site's database is, the copy is SQLite.

The folder holds ``manifest.json``, which says what is in it and is written last, the
database's copy, and ``blobs``, laid out as in the storage. A backup made into a folder
that holds one already copies only what is new; until it is complete the old one stays
what the manifest tells of.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, func, select

from ngshare import migrate, snapshots
from ngshare.actions import transfer
from ngshare.actions.storage import PIECE, named_in
from ngshare.blobs import LocalBlobs
from ngshare.blobs.local import open_folder
from ngshare.blobs.sweep import SHARDS, entries
from ngshare.database import Database
from ngshare.durable import sync
from ngshare.models import File
from ngshare.wire import format_time

FORMAT = 1
MANIFEST = "manifest.json"
SPARE = 16 << 20
"""How many bytes a disk must have left when a backup is on it."""

Step = Callable[[int], object]
"""Told how many files more are done."""


class BackupError(Exception):
    """No backup can be made there, or it cannot be used. One line that says what to do."""


@dataclass(slots=True)
class Manifest:
    """What a backup holds.

    ``made`` is its moment, ``database`` the file beside the manifest, with its
    ``sha256``; ``rows`` counts those of each table. ``storage`` is the folder of the
    blobs, seen from the manifest's. ``files`` and ``bytes`` count the blobs that rows
    name. ``damaged`` are those of them, in hex, that were lost or damaged at the site
    when the backup was made.
    """

    made: str
    revision: str
    database: str
    sha256: str
    rows: dict[str, int]
    files: int
    bytes: int
    damaged: list[str] = field(default_factory=list)
    storage: str = "."
    format: int = FORMAT


@dataclass(slots=True)
class Copied:
    """What a backup did: how many files are new in it, and their bytes."""

    manifest: Manifest
    files: int = 0
    bytes: int = 0


def make(
    database: Database,
    store: LocalBlobs,
    folder: Path,
    *,
    verify: bool,
    started: Callable[[int], Step],
) -> Copied:
    """Back up a site into ``folder``. Nothing may be removed from the store meanwhile.

    A file that is in the folder already is believed when its size is right; with
    ``verify`` it is read. ``started`` is told how many files there are, and gives what
    is told of each. Raises BackupError, OSError or sqlite3.Error.
    """
    with _opened(folder, store) as target:
        made = datetime.now(timezone.utc)
        path = copy_database(database, target.folder, target.incoming)
        with transfer.open_file(path) as connection:
            copied = Copied(describe(path, connection, made))
            _require_room(connection, target)
            step = started(copied.manifest.files)
            with ThreadPoolExecutor(8) as threads:
                for shard in range(SHARDS):
                    named = named_in(connection, shard)
                    wanted = {digest: _size(said) for digest, said in named.items()}
                    there = _there(target, shard, wanted, verify=verify)
                    missing = [digest for digest in wanted if digest not in there]
                    sizes = threads.map(partial(_copy, store, target), missing)
                    _note(copied, dict(zip(missing, sizes, strict=True)))
                    if missing:
                        with open_folder(target.shard(shard)) as descriptor:
                            os.fsync(descriptor)
                    step(len(wanted))
        copied.manifest.damaged.sort()
        write_manifest(target.folder, copied.manifest)
        for old in target.folder.glob("ngshare-*.db*"):
            if old.name != copied.manifest.database:
                old.unlink()
        return copied


def copy_database(database: Database, folder: Path, work_in: Path) -> Path:
    """Copy the whole database, as it is at one moment, into a new SQLite file in ``folder``.

    ``work_in`` is where files may be made meanwhile, and left behind by a crash.
    """
    moment = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%f")[:-3] + "Z"
    path = folder / f"ngshare-{moment}.db"
    if database.url.get_backend_name() == "sqlite":
        snapshots.backup_sqlite(Path(database.url.database or ""), path)
        return path
    work = work_in / secrets.token_hex(8)
    work.mkdir()
    try:
        migrate.upgrade(transfer.file_url(work / "rows.db"))
        copy = Database(transfer.file_url(work / "rows.db"))
        try:
            database.read(
                lambda source: copy.write(lambda target: transfer.replace_rows(target, source))
            )
        finally:
            copy.close()
        snapshots.backup_sqlite(work / "rows.db", path)
    finally:
        shutil.rmtree(work)
    return path


def describe(path: Path, connection: Connection, made: datetime) -> Manifest:
    """What there is to say of a copy of a database, which is open.

    It holds all that was acknowledged before ``made``.
    """
    named = select(File.sha256, func.max(File.size).label("size")).where(File.sha256.is_not(None))
    each = named.group_by(File.sha256).subquery()
    files, size = connection.execute(
        select(func.count(), func.coalesce(func.sum(each.c.size), 0)).select_from(each)
    ).one()
    revision, content = migrate.current(connection), hash_file(path)
    if revision is None or content is None:
        raise BackupError(f"{path}, the copy of the database, cannot be read")
    return Manifest(
        made=format_time(made),
        revision=revision,
        database=path.name,
        sha256=content.hex(),
        rows=transfer.count_rows(connection),
        files=files,
        bytes=size,
    )


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Say that a backup is complete. From here on it is this one."""
    part = folder / f"{MANIFEST}.part"
    with part.open("w", encoding="utf8") as file:
        json.dump(asdict(manifest), file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    part.rename(folder / MANIFEST)
    sync(folder)


def read_manifest(folder: Path) -> Manifest:
    """What a backup says that it holds. Raises BackupError when it is none, or not complete."""
    try:
        said = json.loads((folder / MANIFEST).read_text(encoding="utf8"))
    except FileNotFoundError:
        raise BackupError(
            f"{folder} holds no complete backup: there is no {MANIFEST} in it"
        ) from None
    except (OSError, ValueError) as error:
        raise BackupError(f"{folder / MANIFEST} cannot be read ({error})") from error
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        raise BackupError(f"{folder / MANIFEST} is not a manifest that this ngshare understands")
    try:
        return Manifest(**said)
    except TypeError as error:
        raise BackupError(f"{folder / MANIFEST} is damaged ({error})") from error


def copy_blob(source: Path, target: LocalBlobs, digest: bytes) -> int | None:
    """Copy a blob durably, but for its folder's entry; return its size.

    None when the source has not the bytes that ``digest`` names; then nothing is copied.
    Raises OSError when the target cannot be written.
    """
    part = target.incoming / secrets.token_hex(16)
    hashed, size = hashlib.sha256(), 0
    try:
        with part.open("xb", buffering=0) as copy:
            for piece in _pieces(source):
                if piece is None:
                    return None
                hashed.update(piece)
                size += len(piece)
                view = memoryview(piece)
                while view:
                    view = view[copy.write(view) :]
            if hashed.digest() != digest:
                return None
            os.fsync(copy.fileno())
        part.rename(target.path(digest))
        return size
    finally:
        part.unlink(missing_ok=True)


def hash_file(path: Path) -> bytes | None:
    """The SHA-256 of a file (32 bytes); None when it cannot be read."""
    hashed = hashlib.sha256()
    for piece in _pieces(path):
        if piece is None:
            return None
        hashed.update(piece)
    return hashed.digest()


def _pieces(path: Path) -> Iterator[bytes | None]:
    """The content of a file, piece by piece; at last None when it cannot be read to its end."""
    try:
        file = path.open("rb", buffering=0)
    except OSError:
        yield None
        return
    with file:
        while True:
            try:
                piece = file.read(PIECE)
            except OSError:
                yield None
                return
            if not piece:
                return
            yield piece


def _there(target: LocalBlobs, shard: int, wanted: dict[bytes, int], *, verify: bool) -> set[bytes]:
    """Those of a shard that the backup has already."""
    return {
        entry.digest
        for entry in entries(target, shard)
        if entry.digest is not None
        and entry.size == wanted.get(entry.digest)
        and (not verify or hash_file(entry.path) == entry.digest)
    }


def _copy(store: LocalBlobs, target: LocalBlobs, digest: bytes) -> int | None:
    return copy_blob(store.path(digest), target, digest)


def _note(copied: Copied, sizes: dict[bytes, int | None]) -> None:
    for digest, size in sizes.items():
        if size is None:
            copied.manifest.damaged.append(digest.hex())
        else:
            copied.files += 1
            copied.bytes += size


def _size(said: set[tuple[bytes, int]]) -> int:
    return max(size for _, size in said)


def _require_room(connection: Connection, target: LocalBlobs) -> None:
    wanted = SPARE
    for shard in range(SHARDS):
        there = {entry.digest for entry in entries(target, shard)}
        named = named_in(connection, shard)
        wanted += sum(_size(said) for digest, said in named.items() if digest not in there)
    free = shutil.disk_usage(target.folder).free
    if free < wanted:
        raise BackupError(
            f"the backup needs {wanted >> 20} MiB more in {target.folder}, and {free >> 20} are "
            "free: make room, or name another folder"
        )


@contextmanager
def _opened(folder: Path, store: LocalBlobs) -> Iterator[LocalBlobs]:
    """The folder of a backup, which is laid out as a storage, and which one backup works in."""
    here, site = folder.resolve(), store.folder.resolve()
    if here == site or site in here.parents or here in site.parents:
        raise BackupError(
            f"{folder} and the storage {store.folder} are in each other: name another"
        )
    if folder.exists():
        _refuse_others(folder)
    target = LocalBlobs(folder)
    with open_folder(folder) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupError(f"another backup is being made in {folder}: wait for it") from None
        for leftover in target.incoming.iterdir():  # of a backup that was killed
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        yield target


def _refuse_others(folder: Path) -> None:
    ours = (MANIFEST, f"{MANIFEST}.part", "blobs", "incoming")
    for path in folder.iterdir():
        if path.name not in ours and not path.match("ngshare-*.db*"):
            raise BackupError(
                f"{folder} holds {path.name}, which is no part of a backup: name an empty folder, "
                "or one that holds a backup of this site"
            )
