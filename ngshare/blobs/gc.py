"""Garbage collection of blobs, by way of a quarantine.

A blob that no row names is moved into the quarantine, and deleted from there days later, after
the rows were asked again. A read that misses a blob moves it back from the quarantine first. So
neither locks nor leases are needed beside uploads, and a collection with the wrong database is
undone by a move back. It works on any store that can move: where a move is a copy followed by a
removal, the bytes are in one of the two places at every moment.

Why nothing that is uploaded at the same time is lost:

- An upload that finds its blob absent writes it.
- An upload that finds its blob present writes nothing. If the blob is moved before the row is
  committed, the row names a blob in the quarantine: a read moves it back, and so does the
  deletion, which asks for the rows first. From its look to its commit an upload takes minutes;
  what is deleted was moved at least :data:`GRACE` before, and :data:`DAYS` days by default, so
  the row is there by then.
- A blob is in its place or in the quarantine at every moment, also in a crash: it is renamed.
- What was moved and then uploaded again is in both places. The one in its place stays.

The age of a blob plays no part in that. Young ones are left alone to save their way there and back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import islice
from typing import TypeVar

from ngshare.blobs.store import Amount, ManagedBlobStore

SHARDS = 256
"""In how many parts a store is looked through: by the first byte of the digests."""

BATCH = 200
"""How many blobs the rows are asked for at once."""

DAYS = 7
"""How many days a blob stays in the quarantine, unless an administrator says otherwise."""

GRACE = timedelta(hours=1)
"""How long a blob stays in the quarantine at least: longer than any upload takes to commit."""

LEFTOVER_AGE = timedelta(days=1)
"""How old an upload's temporary file must be to be taken for that of one that was interrupted."""

_FOLDER = "%Y-%m-%dT%HZ"

T = TypeVar("T")

Named = Callable[[Sequence[bytes]], Collection[bytes]]
"""Answers which of some digests any row names, by what is committed when it is asked."""


@dataclass(frozen=True, slots=True)
class Deleted:
    """What was deleted from the quarantine, or would be, and what rows name again."""

    deleted: Amount
    put_back: Amount


def quarantine(
    store: ManagedBlobStore, shard: int, before: float, named: Named, *, dry: bool = False
) -> Amount:
    """Move the blobs of a shard that no row names and that are older than ``before``.

    ``before`` is in seconds since the epoch. With ``dry`` they are only counted.
    """
    total = Amount()
    old = (entry for entry in store.list(bytes([shard])) if entry.modified < before)
    for batch in _batches(old):
        digests = [entry.digest for entry in batch if entry.digest is not None]
        kept = set(named(digests)) if digests else set()
        for entry in batch:
            if entry.digest is None or entry.digest in kept:
                continue
            if dry or store.quarantine(entry.digest, _now().strftime(_FOLDER)):
                total.add(entry.size)
    return total


def delete_expired(
    store: ManagedBlobStore, days: int, named: Named, *, dry: bool = False
) -> Deleted:
    """Delete what has been in the quarantine for so many days; move back what a row names by now.

    With ``dry`` both are only counted.
    """
    result = Deleted(Amount(), Amount())
    until = _now() - max(timedelta(days=days), GRACE)
    expired = (blob for blob in store.quarantined() if _moved_before(blob.folder) <= until)
    for batch in _batches(expired):
        kept = set(named([blob.digest for blob in batch]))
        for blob in batch:
            if blob.digest in kept:
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
    """Count what is in the quarantine."""
    total = Amount()
    for blob in store.quarantined():
        total.add(blob.size)
    return total


def remove_leftovers(store: ManagedBlobStore, *, dry: bool = False) -> Amount:
    """Remove what interrupted uploads and commands left behind."""
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
