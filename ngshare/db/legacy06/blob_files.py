"""Hash the files of a 0.6 site, flush them to disk, and hard-link each as a blob.

The blob with the digest ``abcd...`` is ``<storage>/blobs/ab/abcd...``. The old name of a file is
kept. Files are copied where hard links are impossible.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ngshare.db.legacy06 import report as odd
from ngshare.db.legacy06.report import AdoptionError, Report, quoted, sync

THREADS = 16
"""Number of threads that read files. They wait for the disk most of the time."""

BATCH = 1000
"""The number of files that are queued for the threads at a time."""

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
"""Selects the names of files that belong to any tree. SQLite compares ``left_id`` as a number."""

OURS = {"blobs", "incoming", "aside", "quarantine", "belongs-to", "maintenance.lock"}
"""Names that ngshare 1.0 uses in the storage folder."""

Progress = Callable[[str, int], contextlib.AbstractContextManager[Any]]
"""Opens a progress display with a label and a number of steps; it has a method ``advance``."""

_PIECE = 1 << 20

_UNREADABLE = {errno.EIO, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG}

_NO_LINK = {errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_NO_LINK |= {errno.EMLINK, errno.EXDEV}


@dataclass(frozen=True, slots=True)
class Taken:
    """A file that became a blob; ``copied`` if it is not a hard link."""

    name: str
    sha256: bytes
    md5: bytes
    size: int
    copied: bool


@dataclass(frozen=True, slots=True)
class Lost:
    """A file that cannot be read; ``reason`` is None when it is missing."""

    name: str
    reason: str | None = None


def take_files(
    database: sqlite3.Connection, report: Report, progress: Progress, *, may_be_lost: bool
) -> None:
    """Make a blob of every file of any tree, durably, and list the files in the table ``taken``.

    may_be_lost: go on even when every file is missing.

    Raises AdoptionError and OSError.
    """
    database.execute(
        "CREATE TEMPORARY TABLE taken "
        "(name TEXT PRIMARY KEY, sha256 BLOB, md5 BLOB, size INTEGER) WITHOUT ROWID"
    )
    total = database.execute(f"SELECT count(*) FROM ({NEEDED})").fetchone()[0]
    sizes: dict[bytes, int] = {}
    copied: set[bytes] = set()
    lost = 0
    with progress("Adopting files", total) as shown:
        for file in _take_all(database, report.storage):
            shown.advance()
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
            if file.copied:
                copied.add(file.sha256)
    if lost == total > 0 and not may_be_lost:
        raise AdoptionError(
            f"not one of the {total} files that the database names is in {report.storage}: name "
            "the right folder with --storage, or add --adopt-without-files if they are lost for "
            "good"
        )
    if sizes:
        for folder in {_blob(report.storage, digest).parent for digest in sizes}:
            sync(folder)
        sync(report.storage / "blobs")
        sync(report.storage)
    report.copied, report.copied_bytes = len(copied), sum(map(sizes.__getitem__, copied))
    report.count("blobs", len(sizes))
    report.count("bytes", sum(sizes.values()))


def list_orphans(database: sqlite3.Connection, report: Report) -> None:
    """Report every file in the storage that is neither adopted nor of ngshare 1.0."""
    adopted = {Path(name) for (name,) in database.execute("SELECT name FROM taken")}
    for folder, below, names in os.walk(report.storage):
        at_top = Path(folder) == report.storage
        if at_top:
            below[:] = [name for name in below if name not in OURS]
        for name in sorted(names):
            path = Path(folder, name)
            shown = path.relative_to(report.storage)
            if shown in adopted or (at_top and name in OURS):
                continue
            # The database may be in the same folder, with the files that go with it.
            if name.startswith(report.database.name) and report.database.parent.samefile(folder):
                continue
            report.odd(odd.ORPHANS, f"{quoted(str(shown))}, {path.lstat().st_size:,} bytes")


def _take_all(database: sqlite3.Connection, storage: Path) -> Iterator[Taken | Lost]:
    names = database.execute(NEEDED)
    threads = ThreadPoolExecutor(THREADS, "adopt")
    try:
        while batch := [str(name) for (name,) in islice(names, BATCH)]:
            yield from threads.map(lambda name: _take(storage, name), batch)
    finally:
        threads.shutdown(cancel_futures=True)


def _take(storage: Path, name: str) -> Taken | Lost:
    if not name or "\0" in name or Path(name).is_absolute() or ".." in Path(name).parts:
        return Lost(name, "its name leads out of the storage")
    path = storage / name
    try:
        sha256, md5, size = _read(path)
    except (FileNotFoundError, NotADirectoryError):
        return Lost(name)
    except PermissionError as error:
        raise AdoptionError(
            f"{path} cannot be read ({error.strerror}): "
            "give the storage folder, with all that is in it, to the user of ngshare"
        ) from error
    except OSError as error:
        if error.errno in _UNREADABLE:
            return Lost(name, error.strerror or "it cannot be read")
        raise
    return Taken(name, sha256, md5, size, _make_blob(storage, path, sha256, size))


def _read(path: Path) -> tuple[bytes, bytes, int]:
    """Flush a file to disk; return its SHA-256, MD5 and size."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is no file", str(path))
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    with path.open("rb", buffering=0) as file:
        while piece := file.read(_PIECE):
            sha256.update(piece)
            md5.update(piece)
            size += len(piece)
        os.fsync(file.fileno())
    return sha256.digest(), md5.digest(), size


def _make_blob(storage: Path, path: Path, digest: bytes, size: int) -> bool:
    """Link a file as a blob, unless the blob exists; return whether it had to be copied."""
    blob = _blob(storage, digest)
    blob.parent.mkdir(parents=True, exist_ok=True)
    # A removal of unnamed blobs spares what is young, however old the bytes are.
    with contextlib.suppress(FileNotFoundError):
        if blob.stat().st_size == size:
            with contextlib.suppress(PermissionError):
                os.utime(blob)
            return False
    try:
        if path.is_symlink():
            raise OSError(errno.EXDEV, "a name of something elsewhere")
        with contextlib.suppress(PermissionError):
            os.utime(path)
        os.link(path, blob)
    except FileExistsError:  # another file of the same bytes a moment ago, or one cut short
        if blob.stat().st_size != size:
            _copy(storage, path, blob)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        _copy(storage, path, blob)
        return True
    return False


def _copy(storage: Path, path: Path, blob: Path) -> None:
    incoming = storage / "incoming"
    incoming.mkdir(exist_ok=True)
    part = incoming / secrets.token_hex(16)
    try:
        with path.open("rb") as file, part.open("xb") as copy:
            shutil.copyfileobj(file, copy, _PIECE)
            copy.flush()
            os.fsync(copy.fileno())
        part.rename(blob)
    except OSError as error:
        part.unlink(missing_ok=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise AdoptionError(
                f"{storage} is full: without hard links, which its file system does not make, "
                "the files need their room twice. Make room and start again"
            ) from error
        raise


def _blob(storage: Path, digest: bytes) -> Path:
    name = digest.hex()
    return storage / "blobs" / name[:2] / name
