"""Collect garbage: move blobs that no row names to a quarantine, and delete them days later.

Before a blob is deleted the rows are queried again. A read that misses a blob first looks in the
quarantine and moves it back. So neither locks nor leases are needed beside uploads, and a
collection with the wrong database is undone by moving the blobs back. It works on any store that
can move a blob: if a move is a copy followed by a deletion, the bytes are in one of the two places
at every moment.

Why a concurrent upload loses nothing:

- An upload that finds its blob absent writes it.
- An upload that finds its blob present writes nothing. If the blob is moved before the row is
  committed, the row names a blob in the quarantine: a read moves it back, and so does the
  deletion, which queries the rows first. An upload takes minutes from that check to its commit. A
  blob that is deleted was moved at least :data:`GRACE` before, by default :data:`DAYS` days, so
  the row is committed by then.
- A blob is in its place or in the quarantine at every moment, even in a crash: it is renamed.
- A blob that was moved and then uploaded again is in both places. The one in its place stays.

None of this depends on the age of a blob. Recent ones are skipped because a row may name them soon.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import islice
from typing import TypeVar

from ngshare.blobs.store import Amount, ManagedBlobStore

SHARDS = 256
"""The number of shards of a store, by the first byte of the digests."""

BATCH = 200
"""The number of digests in one query of the rows."""

DAYS = 7
"""The default number of days that a blob stays in the quarantine."""

GRACE = timedelta(hours=1)
"""The least time that a blob stays in the quarantine: longer than any upload takes to commit."""

LEFTOVER_AGE = timedelta(days=1)
"""The age from which a temporary file counts as left behind by an interrupted upload."""

_FOLDER = "%Y-%m-%dT%HZ"

T = TypeVar("T")

SelectReferenced = Callable[[Sequence[bytes]], Collection[bytes]]
"""Returns those of some digests that a committed row names."""


@dataclass(frozen=True, slots=True)
class Deleted:
    """The blobs deleted from the quarantine, and those put back because a row names them."""

    deleted: Amount
    put_back: Amount


def quarantine(
    store: ManagedBlobStore,
    shard: int,
    before: float,
    select_referenced: SelectReferenced,
    *,
    dry: bool = False,
) -> Amount:
    """Move the blobs of a shard that no row names and that are older than ``before``.

    ``before`` is in seconds since the epoch. With ``dry`` they are only counted.
    """
    total = Amount()
    old = (entry for entry in store.list(bytes([shard])) if entry.modified < before)
    for batch in _batches(old):
        digests = [entry.digest for entry in batch if entry.digest is not None]
        referenced = set(select_referenced(digests)) if digests else set()
        for entry in batch:
            if entry.digest is None or entry.digest in referenced:
                continue
            if dry or store.quarantine(entry.digest, _now().strftime(_FOLDER)):
                total.add(entry.size)
    return total


def delete_expired(
    store: ManagedBlobStore, days: int, select_referenced: SelectReferenced, *, dry: bool = False
) -> Deleted:
    """Delete blobs that were in the quarantine for ``days``; move back those that a row names now.

    With ``dry`` both are only counted.
    """
    result = Deleted(Amount(), Amount())
    until = _now() - max(timedelta(days=days), GRACE)
    expired = (blob for blob in store.quarantined() if _moved_before(blob.folder) <= until)
    for batch in _batches(expired):
        referenced = set(select_referenced([blob.digest for blob in batch]))
        for blob in batch:
            if blob.digest in referenced:
                result.put_back.add(blob.size)
                if not dry:
                    store.put_back(blob)
            else:
                result.deleted.add(blob.size)
                if not dry:
                    store.delete_quarantined(blob)
    return result


def put_back_all(store: ManagedBlobStore) -> Amount:
    """Move everything in the quarantine back to its place."""
    total = Amount()
    for blob in store.quarantined():
        store.put_back(blob)
        total.add(blob.size)
    return total


def in_quarantine(store: ManagedBlobStore) -> Amount:
    """Count the blobs in the quarantine."""
    total = Amount()
    for blob in store.quarantined():
        total.add(blob.size)
    return total


def remove_leftovers(store: ManagedBlobStore, *, dry: bool = False) -> Amount:
    """Remove temporary files of interrupted uploads and commands."""
    return store.remove_leftovers((_now() - LEFTOVER_AGE).timestamp(), dry=dry)


def _moved_before(folder: str) -> datetime:
    """Return the end of the hour that names a folder of the quarantine.

    A folder that was not named by us never expires.
    """
    try:
        hour = datetime.strptime(folder, _FOLDER).replace(tzinfo=timezone.utc)
    except ValueError:
        return datetime.max.replace(tzinfo=timezone.utc)
    return hour + timedelta(hours=1)


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _batches(many: Iterable[T]) -> Iterator[list[T]]:
    each = iter(many)
    while batch := list(islice(each, BATCH)):
        yield batch
