"""Copy blobs from one store into another: the storage of a site, and that of a backup."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from sqlalchemy import Connection

from ngshare.admin.backup_manifest import BackupError
from ngshare.admin.references import list_referenced_sizes
from ngshare.blobs import BlobDamaged, BlobMissing, BlobStore, ManagedBlobStore
from ngshare.blobs.gc import SHARDS
from ngshare.errors import Unavailable

THREADS = 8
"""The number of blobs that are copied at once."""

SPARE_BYTES = 16 << 20
"""The free disk space that must be left after a copy, in bytes."""


def copy_blobs(
    source: BlobStore,
    target: ManagedBlobStore,
    digests: Sequence[bytes],
    threads: ThreadPoolExecutor,
) -> dict[bytes, int | None]:
    """Copy blobs durably, replacing those that ``target`` has; return the size of each in bytes.

    The size is None where ``source`` has no blob, or a damaged one. Raises ExchangeError when
    ``target`` cannot be written.
    """

    def copy_batch(digests: Sequence[bytes]) -> dict[bytes, int | None]:
        sizes: dict[bytes, int | None] = {}
        with target.upload(replace=True) as upload:
            for digest in digests:
                sizes[digest] = None
                with suppress(BlobMissing, BlobDamaged):
                    sizes[digest] = upload.add(_read(source, digest), digest=digest).size
            upload.commit()
        return sizes

    sizes: dict[bytes, int | None] = {}
    # One batch for each thread, because a commit makes a whole batch durable with few syncs.
    batches = (digests[start::THREADS] for start in range(THREADS))
    for copied in threads.map(copy_batch, batches):
        sizes.update(copied)
    return sizes


def _read(source: BlobStore, digest: bytes) -> Iterator[bytes]:
    """Yield the content of a blob. Raises BlobMissing, or BlobDamaged when it cannot be read."""
    try:
        yield from source.open(digest)
    except Unavailable:
        raise BlobDamaged(digest) from None


def is_intact(store: BlobStore, digest: bytes) -> bool:
    """Read a blob, and return whether it is there and its content matches its digest."""
    sha256 = hashlib.sha256()
    try:
        for piece in store.open(digest):
            sha256.update(piece)
    except (BlobMissing, Unavailable):
        return False
    return sha256.digest() == digest


def require_free_space(connection: Connection, target: ManagedBlobStore, message: str) -> None:
    """Raise BackupError unless ``target`` can store every referenced blob that it lacks.

    ``connection`` is to the database that references the blobs. ``message`` begins the error,
    with ``{}`` in the place of the needed MiB.
    """
    free = target.free()
    if free is None:
        return
    needed = SPARE_BYTES
    for shard in range(SHARDS):
        present = {entry.digest for entry in target.list(bytes([shard]))}
        sizes = list_referenced_sizes(connection, shard)
        needed += sum(size for digest, size in sizes.items() if digest not in present)
    if free < needed:
        raise BackupError(
            f"{message.format(needed >> 20)}, and {free >> 20} are free: make room, or name "
            "another folder"
        )
