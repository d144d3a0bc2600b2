"""Check the blobs of a site against their digests and against the rows that reference them.

Each shard of the blobs is checked in a transaction of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from ngshare.admin.progress import Advance
from ngshare.admin.references import (
    RecordedContent,
    Reference,
    find_references,
    list_referenced,
)
from ngshare.blobs import Amount, BlobMissing, ManagedBlobStore, gc
from ngshare.blobs.gc import SHARDS
from ngshare.db.transactions import Database
from ngshare.errors import Unavailable

THREADS = 4
"""The number of blobs that are read at once."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A damaged blob: the problem, its location for people, and the files that reference it.

    ``references`` are the first few of ``reference_count``.
    """

    problem: str
    digest: bytes
    location: str
    references: list[Reference]
    reference_count: int


@dataclass(slots=True)
class CheckReport:
    """The result of a storage check. ``files`` and ``bytes`` count all blobs that were read.

    ``lost`` are the first few of ``lost_count`` files whose bytes ngshare 0.6 had lost before
    the adoption. ``unreferenced`` counts blobs that no row references. ``foreign_files`` are the
    locations of other files in the folders of the blobs. ``quarantined`` counts the blobs in the
    quarantine, ``put_back`` those that rows reference and that this check moved back from there.
    """

    files: int = 0
    bytes: int = 0
    damage: list[Damage] = field(default_factory=list)
    lost: list[Reference] = field(default_factory=list)
    lost_count: int = 0
    unreferenced: Amount = field(default_factory=Amount)
    foreign_files: list[str] = field(default_factory=list)
    quarantined: Amount = field(default_factory=Amount)
    put_back: int = 0


@dataclass(frozen=True, slots=True)
class _Content:
    """The content of a blob as read; ``error`` is set when it could not be read to its end."""

    sha256: bytes
    md5: bytes
    size: int
    error: str | None = None


def check_storage(database: Database, store: ManagedBlobStore, advance: Advance) -> CheckReport:
    """Read every blob, and compare it with its digest and with the rows that reference it.

    Calls ``advance`` after each of the :data:`SHARDS` shards. Uploads and garbage collections
    may run at the same time.
    """
    report = CheckReport()
    with ThreadPoolExecutor(THREADS) as threads:
        for shard in range(SHARDS):
            # Rows first: a blob is durable before the row that references it.
            referenced = database.read(list_referenced, shard)
            entries = list(store.list(bytes([shard])))
            listed = {entry.digest for entry in entries if entry.digest is not None}
            report.foreign_files += [entry.name for entry in entries if entry.digest is None]
            digests = sorted(referenced.keys() | listed)
            read = threads.map(lambda digest: _read(store, digest), digests)
            contents = dict(zip(digests, read, strict=True))
            for digest, problem in _compare(referenced, contents):
                references, count = database.read(find_references, digest)
                location = store.describe(digest)
                report.damage.append(Damage(problem, digest, location, references, count))
            for digest, content in contents.items():
                if content is None:
                    continue
                report.files += 1
                report.bytes += content.size
                if digest not in referenced:
                    report.unreferenced.add(content.size)
                if digest not in listed:
                    report.put_back += 1  # reading it moved it back
            advance(1)
    report.quarantined = gc.in_quarantine(store)
    report.lost, report.lost_count = database.read(find_references, None)
    return report


def _read(store: ManagedBlobStore, digest: bytes) -> _Content | None:
    """Read a blob and return its hashes and size; None when it is missing."""
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    error = None
    try:
        for piece in store.open(digest):
            sha256.update(piece)
            md5.update(piece)
            size += len(piece)
    except BlobMissing:
        return None
    except Unavailable as failure:
        error = getattr(failure.__cause__, "strerror", None) or str(failure)
    return _Content(sha256.digest(), md5.digest(), size, error)


def _compare(
    referenced: Mapping[bytes, set[RecordedContent]],
    contents: Mapping[bytes, _Content | None],
) -> Iterator[tuple[bytes, str]]:
    """Yield the digest of each damaged blob with the problem, in words."""
    for digest, content in contents.items():
        if content is None:
            # An unreferenced blob may have been collected since it was listed.
            if digest in referenced:
                yield digest, "its bytes are missing"
        elif content.error is not None:
            yield digest, f"it cannot be read ({content.error})"
        elif content.sha256 != digest:
            yield digest, "its bytes have changed"
        else:
            for md5, size in referenced.get(digest, ()):
                if size != content.size:
                    yield digest, f"a row says it has {size} bytes, it has {content.size}"
                if md5 != content.md5:
                    yield digest, "a row says another MD5 than its bytes have"
