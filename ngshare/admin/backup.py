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

import hashlib
import json
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from sqlalchemy import Connection, func, select

from ngshare.admin import copy_rows
from ngshare.admin.storage import named_in
from ngshare.blobs import BlobDamaged, BlobMissing, BlobStore, ManagedBlobStore, open_folder_store
from ngshare.blobs.gc import SHARDS
from ngshare.blobs.store import PIECE
from ngshare.db import migrate, snapshots
from ngshare.db.models import File
from ngshare.db.transactions import Database
from ngshare.errors import Unavailable
from ngshare.files import Locked, atomic_write, file_lock
from ngshare.protocol.times import format_time

FORMAT = 1
MANIFEST = "manifest.json"
THREADS = 8
"""How many blobs are copied at once."""

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
    store: ManagedBlobStore,
    folder: Path,
    *,
    verify: bool,
    started: Callable[[int], Step],
) -> Copied:
    """Back up a site into ``folder``.

    A file that is in the folder already is believed when its size is right; with
    ``verify`` it is read. ``started`` is told how many files there are, and gives what
    is told of each. Raises BackupError, ExchangeError, OSError or sqlite3.Error.
    """
    with _opened(folder) as (target, work):
        made = datetime.now(timezone.utc)
        path = copy_database(database, folder, work)
        with copy_rows.open_file(path) as connection:
            copied = Copied(describe(path, connection, made))
            require_room(connection, target, f"the backup needs {{}} MiB more in {folder}")
            step = started(copied.manifest.files)
            with ThreadPoolExecutor(THREADS) as threads:
                for shard in range(SHARDS):
                    named = named_in(connection, shard)
                    wanted = {digest: _size(said) for digest, said in named.items()}
                    there = _there(target, shard, wanted, verify=verify)
                    missing = [digest for digest in wanted if digest not in there]
                    _note(copied, copy_blobs(store, target, missing, threads))
                    step(len(wanted))
        copied.manifest.damaged.sort()
        write_manifest(folder, copied.manifest)
        for old in folder.glob("ngshare-*.db*"):
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
        migrate.upgrade(copy_rows.file_url(work / "rows.db"))
        copy = Database(copy_rows.file_url(work / "rows.db"))
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
        rows=copy_rows.count_rows(connection),
        files=files,
        bytes=size,
    )


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Say that a backup is complete. From here on it is this one."""
    text = json.dumps(asdict(manifest), indent=1) + "\n"
    atomic_write(folder / MANIFEST, lambda file: file.write(text.encode()))


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


def copy_blobs(
    source: BlobStore,
    target: ManagedBlobStore,
    digests: Sequence[bytes],
    threads: ThreadPoolExecutor,
) -> dict[bytes, int | None]:
    """Copy blobs durably, also over what is there under their names; return their sizes.

    None is said of one of which the source has not the right bytes. Raises ExchangeError when
    the target cannot be written.
    """

    def copy(digests: Sequence[bytes]) -> dict[bytes, int | None]:
        sizes: dict[bytes, int | None] = {}
        with target.upload(replace=True) as upload:
            for digest in digests:
                sizes[digest] = None
                with suppress(BlobMissing, BlobDamaged):
                    sizes[digest] = upload.add(_pieces(source, digest), digest=digest).size
            upload.commit()
        return sizes

    sizes: dict[bytes, int | None] = {}
    # Each thread makes several durable together.
    for some in threads.map(copy, (digests[start::THREADS] for start in range(THREADS))):
        sizes.update(some)
    return sizes


def is_sound(store: BlobStore, digest: bytes) -> bool:
    """Return whether a store has the bytes that a digest names."""
    hashed = hashlib.sha256()
    try:
        for piece in store.open(digest):
            hashed.update(piece)
    except (BlobMissing, Unavailable):
        return False
    return hashed.digest() == digest


def hash_file(path: Path) -> bytes | None:
    """Return the SHA-256 of a file (32 bytes); None when it cannot be read."""
    hashed = hashlib.sha256()
    try:
        with path.open("rb", buffering=0) as file:
            while piece := file.read(PIECE):
                hashed.update(piece)
    except OSError:
        return None
    return hashed.digest()


def require_room(connection: Connection, target: ManagedBlobStore, what: str) -> None:
    """Raise BackupError unless what a database names, and is not there yet, can be stored.

    ``what`` tells what needs that, with a place for the MiB.
    """
    free = target.free()
    if free is None:
        return
    wanted = SPARE
    for shard in range(SHARDS):
        there = {entry.digest for entry in target.list(bytes([shard]))}
        named = named_in(connection, shard)
        wanted += sum(_size(said) for digest, said in named.items() if digest not in there)
    if free < wanted:
        raise BackupError(
            f"{what.format(wanted >> 20)}, and {free >> 20} are free: make room, or name another "
            "folder"
        )


def _pieces(source: BlobStore, digest: bytes) -> Iterator[bytes]:
    """Yield a blob. Raises BlobMissing or BlobDamaged."""
    try:
        yield from source.open(digest)
    except Unavailable:
        raise BlobDamaged(digest) from None


def _there(
    target: ManagedBlobStore, shard: int, wanted: dict[bytes, int], *, verify: bool
) -> set[bytes]:
    """Return those of a shard that the backup has already."""
    return {
        entry.digest
        for entry in target.list(bytes([shard]))
        if entry.digest is not None
        and entry.size == wanted.get(entry.digest)
        and (not verify or is_sound(target, entry.digest))
    }


def _note(copied: Copied, sizes: dict[bytes, int | None]) -> None:
    for digest, size in sizes.items():
        if size is None:
            copied.manifest.damaged.append(digest.hex())
        else:
            copied.files += 1
            copied.bytes += size


def _size(said: set[tuple[bytes, int]]) -> int:
    return max(size for _, size in said)


@contextmanager
def _opened(folder: Path) -> Iterator[tuple[ManagedBlobStore, Path]]:
    """Yield the store in the folder of a backup, and where temporary files of it may be made.

    One backup at a time works there.
    """
    if folder.exists():
        _refuse_others(folder)
    target, work = open_folder_store(folder), folder / "incoming"
    try:
        with file_lock(folder, wait=False):
            for leftover in work.iterdir():  # of a backup that was killed
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
            for leftover in folder.glob(f"{MANIFEST}.*.part"):
                leftover.unlink()
            yield target, work
    except Locked:
        raise BackupError(f"another backup is being made in {folder}: wait for it") from None


def _refuse_others(folder: Path) -> None:
    ours = ("blobs", "incoming")
    for path in folder.iterdir():
        known = path.match(f"{MANIFEST}*") or path.match("ngshare-*.db*")
        if path.name not in ours and not known:
            raise BackupError(
                f"{folder} holds {path.name}, which is no part of a backup: name an empty folder, "
                "or one that holds a backup of this site"
            )
