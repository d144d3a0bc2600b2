"""The bytes of a 0.6 site: each file is hashed, made durable, and linked into the store."""

from __future__ import annotations

import errno
import hashlib
import os
import sqlite3
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ngshare.adoption import report as odd
from ngshare.adoption.names import finished_list, read_names, unfinished_list
from ngshare.adoption.report import AdoptionError, Report, quoted
from ngshare.blobs import LocalBlobs
from ngshare.progress import Progress

THREADS = 16
"""How many files are read at once. They wait for the disk most of the time."""

BATCH = 1000
"""How many files are given to the threads at once."""

_CHUNK = 1 << 20

NEEDED = """
    SELECT DISTINCT f.actual_name FROM legacy_files f JOIN (
        SELECT right_id FROM legacy_assignment_files_assoc_table a
            JOIN legacy_assignments o ON o._id = a.left_id
        UNION SELECT right_id FROM legacy_submission_files_assoc_table a
            JOIN legacy_submissions o ON o._id = a.left_id
        UNION SELECT right_id FROM legacy_feedback_files_assoc_table a
            JOIN legacy_submissions o ON o._id = a.left_id
    ) n ON n.right_id = f._id WHERE f.actual_name IS NOT NULL ORDER BY f._id
"""
"""The names of the files that anything is made of. SQLite compares left_id as the number it is."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A file that the store has now, or will have once the adoption is committed."""

    name: str
    sha256: bytes
    md5: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Lost:
    """A file that the store cannot have. ``reason`` is None when it is simply not there."""

    name: str
    reason: str | None = None


def take_files(
    database: sqlite3.Connection, blobs: LocalBlobs, report: Report, *, may_be_lost: bool
) -> None:
    """Bring every file that anything is made of into the store.

    What was found is left in the temporary table ``taken``. When this returns the
    blobs are durable. Raises AdoptionError or OSError.
    """
    database.execute(
        "CREATE TEMPORARY TABLE taken "
        "(name TEXT PRIMARY KEY, sha256 BLOB, md5 BLOB, size INTEGER) WITHOUT ROWID"
    )
    total = database.execute(f"SELECT count(*) FROM ({NEEDED})").fetchone()[0]
    earlier = _adopted_earlier(report.database)
    sizes: dict[bytes, int] = {}
    lost = 0
    with Progress("Adopting files", total) as progress:
        for file in _take_all(database, blobs, earlier, progress):
            if isinstance(file, Lost):
                lost += 1
                if file.reason is not None:
                    report.odd(odd.UNREADABLE, f"{quoted(file.name)}: {file.reason}")
                continue
            database.execute(
                "INSERT INTO taken VALUES (?, ?, ?, ?)",
                (file.name, file.sha256, file.md5, file.size),
            )
            sizes[file.sha256] = file.size
    if lost == total > 0 and not may_be_lost:
        raise AdoptionError(
            f"not one of the {total} files that the database names is in {blobs.folder}: name the "
            "right folder with --storage, or add --adopt-without-files if they are lost for good"
        )
    blobs.sync()
    report.count("blobs", len(sizes))
    report.count("bytes", sum(sizes.values()))


def list_orphans(database: sqlite3.Connection, blobs: LocalBlobs, report: Report) -> None:
    """Report every file in the storage that is neither ours nor adopted. It is left alone."""
    adopted = {Path(name) for (name,) in database.execute("SELECT name FROM taken")}
    ours = {blobs.belongs_to, blobs.folder / "maintenance.lock"}
    for folder, below, names in os.walk(blobs.folder):
        if Path(folder) == blobs.folder:
            below[:] = [name for name in below if name not in ("blobs", blobs.incoming.name)]
        for name in sorted(names):
            path = Path(folder, name)
            if path.relative_to(blobs.folder) in adopted or path in ours:
                continue
            if _is_of_database(path, report.database):
                continue
            name = quoted(str(path.relative_to(blobs.folder)))
            report.odd(odd.ORPHANS, f"{name}, {path.lstat().st_size:,} bytes")


def _take_all(
    database: sqlite3.Connection,
    blobs: LocalBlobs,
    earlier: dict[str, bytes],
    progress: Progress,
) -> Iterator[Taken | Lost]:
    names = database.execute(NEEDED)
    threads = ThreadPoolExecutor(THREADS, "adopt")
    try:
        while batch := [str(name) for (name,) in islice(names, BATCH)]:
            for file in threads.map(lambda name: _take(blobs, earlier, name), batch):
                yield file
                progress.advance()
    finally:
        threads.shutdown(cancel_futures=True)


def _take(blobs: LocalBlobs, earlier: dict[str, bytes], name: str) -> Taken | Lost:
    path = _inside(blobs.folder, name)
    if path is None:
        return Lost(name, "its name leads out of the storage")
    try:
        if not path.exists() and name in earlier:
            return _read(blobs.path(earlier[name]), name)
        taken = _read(path, name)
    except (FileNotFoundError, NotADirectoryError):
        return Lost(name)
    except PermissionError as error:
        raise AdoptionError(
            f"{path} cannot be read ({error.strerror}): "
            "give the storage folder, with all that is in it, to the user of ngshare"
        ) from error
    except OSError as error:
        if error.errno in (errno.EIO, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG):
            return Lost(name, error.strerror or "it cannot be read")
        raise
    blobs.adopt(path, taken.sha256)
    return taken


def _read(path: Path, name: str) -> Taken:
    """Hash a file, and see to it that its bytes are on the disk."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is no file", str(path))
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            sha256.update(chunk)
            md5.update(chunk)
            size += len(chunk)
        os.fsync(file.fileno())
    return Taken(name, sha256.digest(), md5.digest(), size)


def _inside(folder: Path, name: str) -> Path | None:
    """Where 0.6 kept a file, unless that would be outside of the storage."""
    if not name or "\0" in name or Path(name).is_absolute() or ".." in Path(name).parts:
        return None
    return folder / name


def _adopted_earlier(database: Path) -> dict[str, bytes]:
    """What an earlier adoption took, in case that the database was restored since."""
    earlier: dict[str, bytes] = {}
    for path in (finished_list(database), unfinished_list(database)):
        earlier.update((name, digest) for digest, name in read_names(path))
    return earlier


def _is_of_database(path: Path, database: Path) -> bool:
    """Whether this is the database or a file that goes with it, should they share a folder."""
    return path.name.startswith(database.name) and path.parent.samefile(database.parent)
