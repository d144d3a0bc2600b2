"""The interface of a blob store: content by hash, in streams."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

PIECE = 1 << 20
"""The most bytes that a stream yields at a time."""


class BlobMissing(Exception):
    """The store has no bytes under this digest."""

    def __init__(self, digest: bytes) -> None:
        super().__init__(digest.hex())
        self.digest = digest


class BlobDamaged(Exception):
    """The bytes are not those that the digest names."""

    def __init__(self, digest: bytes) -> None:
        super().__init__(digest.hex())
        self.digest = digest


def sha256(content: bytes) -> bytes:
    """Return the digest (32 bytes) that names a blob."""
    return hashlib.sha256(content).digest()


@dataclass(frozen=True, slots=True)
class Blob:
    """A stored blob: ``digest`` is its SHA-256 (32 bytes), ``size`` its length in bytes."""

    digest: bytes
    size: int


@dataclass(frozen=True, slots=True)
class BlobEntry:
    """A file among the blobs; ``digest`` is None for a foreign file.

    ``name`` is its location, for messages; ``size`` is in bytes, ``modified`` in seconds since
    the epoch.
    """

    name: str
    digest: bytes | None
    size: int
    modified: float


@dataclass(frozen=True, slots=True)
class QuarantinedBlob:
    """A blob in the quarantine; the name of its ``folder`` is the hour in which it was moved."""

    folder: str
    digest: bytes
    size: int


@dataclass(slots=True)
class Amount:
    """A count of files and of their bytes."""

    files: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        """Count one more file of this size."""
        self.files += 1
        self.bytes += size


class BlobUpload(Protocol):
    """Blobs that become durable together. A context manager, used by one thread at a time.

    Leaving it without :meth:`commit` leaves none of its blobs behind.
    """

    def __enter__(self) -> BlobUpload: ...

    def __exit__(self, *error: object) -> None: ...

    def add(self, pieces: Iterable[bytes], *, digest: bytes | None = None) -> Blob:
        """Write one blob, and hash its pieces as they come.

        With ``digest``, raise :class:`BlobDamaged` when the content has another. After that, and
        after an exception of ``pieces``, nothing of this blob is stored and others can be added.
        Raises what :meth:`BlobStore.put` raises.
        """
        ...

    def commit(self) -> None:
        """Make every added blob durable under its digest. Raises what :meth:`BlobStore.put` does.

        When it raises, some blobs may be there, whole; a blob that no row names does no harm.
        """
        ...


class BlobStore(Protocol):
    """Content by hash. A blob is stored once, however many trees name it, and never changed.

    All methods block; call them from a worker thread.
    """

    def upload(self) -> BlobUpload:
        """Begin to store blobs."""
        ...

    def put(self, contents: Sequence[bytes]) -> list[bytes]:
        """Store each content and return its digest, in order.

        When this returns, the bytes survive a crash of the machine. Raises
        :class:`ngshare.errors.OutOfSpace` or :class:`ngshare.errors.Unavailable`
        when they cannot be stored.
        """
        ...

    def read(self, digest: bytes) -> bytes:
        """Return a whole blob.

        Raises :class:`BlobMissing`, or :class:`ngshare.errors.Unavailable` when it
        cannot be read now.
        """
        ...

    def size(self, digest: bytes) -> int:
        """Return the length of a blob in bytes. Raises what :meth:`read` raises."""
        ...

    def open(
        self, digest: bytes, start: int = 0, size: int | None = None
    ) -> Generator[bytes, None, None]:
        """Return the bytes from ``start`` on, at most ``size`` of them, in pieces of :data:`PIECE`.

        Raises what :meth:`read` raises, at once when the blob cannot be opened. Close the
        generator when it is not read to its end.
        """
        ...

    def check(self) -> None:
        """Raise OSError unless the store can be written to now."""
        ...


class ManagedBlobStore(BlobStore, Protocol):
    """A blob store as administrators' commands need it. The methods below raise OSError."""

    def upload(self, *, replace: bool = False) -> BlobUpload:
        """Begin to store blobs; with ``replace`` also those that are there, perhaps damaged."""
        ...

    def exists(self, digest: bytes) -> bool:
        """Return whether a blob can be read."""
        ...

    def describe(self, digest: bytes) -> str:
        """Return the location of a blob, present or not, for messages."""
        ...

    def free(self) -> int | None:
        """Return the free space in bytes; None if there is no limit."""
        ...

    def list(self, prefix: bytes = b"") -> Iterator[BlobEntry]:
        """Yield the blobs whose digests begin with ``prefix``, and the files among them.

        A blob that appears or disappears meanwhile may be missing.
        """
        ...

    def quarantine(self, digest: bytes, folder: str) -> bool:
        """Move a blob into a folder of the quarantine; return False when it was not there.

        :meth:`read` and :meth:`open` move it back.
        """
        ...

    def quarantined(self) -> Iterator[QuarantinedBlob]:
        """Yield the blobs in the quarantine, the oldest folder first."""
        ...

    def put_back(self, blob: QuarantinedBlob) -> None:
        """Move a blob back from the quarantine, unless it was uploaded again meanwhile."""
        ...

    def delete_quarantined(self, blob: QuarantinedBlob) -> None:
        """Delete a blob in the quarantine for good."""
        ...

    def remove_leftovers(self, before: float, *, dry: bool = False) -> Amount:
        """Remove temporary files that are older than ``before``, in seconds since the epoch.

        With ``dry`` they are only counted.
        """
        ...
