"""The names that files had in ngshare 0.6: an adopted site keeps them beside its blobs."""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, exists, select

from ngshare.admin.storage import named
from ngshare.blobs import BlobMissing, BlobStore
from ngshare.db.models import AuditEntry
from ngshare.db.transactions import Database
from ngshare.errors import Unavailable

THREADS = 4

PIECE = 1 << 20
"""How many bytes of a file are read at once."""

_NAME = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(\.[^/]*)?")
"""How ngshare 0.6 named files, all in the top folder of its storage."""

Step = Callable[[], object]
"""Called after each file."""


@dataclass(frozen=True, slots=True)
class LegacyFile:
    """A file under its name of ngshare 0.6; ``linked`` says that it has another name too."""

    path: Path
    size: int
    linked: bool


@dataclass(slots=True)
class LegacyFiles:
    """What there is of ngshare 0.6.

    ``adopted`` files have a blob of the same bytes. Of ``needed`` ones that is missing or damaged,
    and the database names it. The database names no file of the bytes of an ``orphan``, and
    there is no blob of them.
    """

    adopted: list[LegacyFile] = field(default_factory=list)
    needed: list[LegacyFile] = field(default_factory=list)
    orphans: list[LegacyFile] = field(default_factory=list)


def list_files(folder: Path) -> list[LegacyFile]:
    """Return the files in a storage that still have a name of ngshare 0.6, by name."""
    found = []
    for path in sorted(folder.iterdir()):
        state = path.lstat()
        if stat.S_ISREG(state.st_mode) and _NAME.fullmatch(path.name):
            found.append(LegacyFile(path, state.st_size, state.st_nlink > 1))
    return found


def was_adopted(connection: Connection) -> bool:
    """Whether the database was adopted from ngshare 0.6, as far as its audit log tells."""
    adopted = exists().where(AuditEntry.event == "site adopted")
    return bool(connection.scalar(select(adopted)))


def sort_files(
    database: Database, store: BlobStore, files: Sequence[LegacyFile], step: Step
) -> LegacyFiles:
    """Read these files, and the blobs of the same bytes, and return which may be removed.

    Raises OSError when a file cannot be read.
    """
    found = LegacyFiles()
    without_blob: list[tuple[LegacyFile, bytes]] = []
    with ThreadPoolExecutor(THREADS) as threads:
        read = threads.map(lambda file: _compare(store, file), files)
        for file, (digest, stored) in zip(files, read, strict=True):
            if stored:
                found.adopted.append(file)
            else:
                without_blob.append((file, digest))
            step()
    wanted = database.read(named, [digest for _, digest in without_blob])
    for file, digest in without_blob:
        (found.needed if digest in wanted else found.orphans).append(file)
    return found


def _compare(store: BlobStore, file: LegacyFile) -> tuple[bytes, bool]:
    """Return the digest of a file, and whether there is a blob of just these bytes."""
    digest = _digest(_pieces(file.path))
    try:
        with closing(store.open(digest)) as pieces:
            return digest, _digest(pieces) == digest
    except (BlobMissing, Unavailable):
        return digest, False


def _digest(pieces: Iterator[bytes]) -> bytes:
    hashed = hashlib.sha256()
    for piece in pieces:
        hashed.update(piece)
    return hashed.digest()


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while piece := file.read(PIECE):
            yield piece
