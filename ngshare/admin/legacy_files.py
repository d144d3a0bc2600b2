"""Sort the files that an adopted site still has under their names of ngshare 0.6."""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, exists, select

from ngshare.admin.progress import Advance
from ngshare.admin.references import select_referenced
from ngshare.blobs import BlobMissing, BlobStore
from ngshare.blobs.store import PIECE
from ngshare.db.models import AuditEntry
from ngshare.db.transactions import Database
from ngshare.errors import Unavailable

THREADS = 4
"""The number of files that are read at once."""

_LEGACY_NAME = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(\.[^/]*)?")
"""The names of files in ngshare 0.6, all in the top folder of its storage."""


@dataclass(frozen=True, slots=True)
class LegacyFile:
    """A file under its name of ngshare 0.6. ``linked``: it has another hard link, usually the blob.

    ``size`` is in bytes.
    """

    path: Path
    size: int
    linked: bool


@dataclass(slots=True)
class LegacyFiles:
    """The files under names of ngshare 0.6, by what may be done with them.

    ``adopted``: an intact blob has the same content, so the file may be removed. ``needed``: the
    database references the content, and the blob is missing or damaged. ``orphans``: the database
    does not reference the content, and no blob has it.
    """

    adopted: list[LegacyFile] = field(default_factory=list)
    needed: list[LegacyFile] = field(default_factory=list)
    orphans: list[LegacyFile] = field(default_factory=list)


def list_legacy_files(storage: Path) -> list[LegacyFile]:
    """Return the files in a storage folder that have a name of ngshare 0.6, sorted by name."""
    files = []
    for path in sorted(storage.iterdir()):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode) and _LEGACY_NAME.fullmatch(path.name):
            files.append(LegacyFile(path, status.st_size, status.st_nlink > 1))
    return files


def was_adopted(connection: Connection) -> bool:
    """Return whether the audit log says that the database was adopted from ngshare 0.6."""
    adopted = exists().where(AuditEntry.event == "site adopted")
    return bool(connection.scalar(select(adopted)))


def sort_legacy_files(
    database: Database, store: BlobStore, files: Sequence[LegacyFile], advance: Advance
) -> LegacyFiles:
    """Read each file and the blob of the same content, and return the files sorted.

    Progress counts files. Raises OSError when a file cannot be read.
    """
    result = LegacyFiles()
    without_blob: list[tuple[LegacyFile, bytes]] = []
    with ThreadPoolExecutor(THREADS) as threads:
        compared = threads.map(lambda file: _compare(store, file), files)
        for file, (digest, has_blob) in zip(files, compared, strict=True):
            if has_blob:
                result.adopted.append(file)
            else:
                without_blob.append((file, digest))
            advance(1)
    referenced = database.read(select_referenced, [digest for _, digest in without_blob])
    for file, digest in without_blob:
        (result.needed if digest in referenced else result.orphans).append(file)
    return result


def _compare(store: BlobStore, file: LegacyFile) -> tuple[bytes, bool]:
    """Return the digest of a file, and whether an intact blob has the same content."""
    digest = _digest(_read(file.path))
    try:
        with closing(store.open(digest)) as pieces:
            return digest, _digest(pieces) == digest
    except (BlobMissing, Unavailable):
        return digest, False


def _digest(pieces: Iterator[bytes]) -> bytes:
    sha256 = hashlib.sha256()
    for piece in pieces:
        sha256.update(piece)
    return sha256.digest()


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while piece := file.read(PIECE):
            yield piece
