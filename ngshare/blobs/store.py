"""The interface of a blob store: content by hash, in streams."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

PIECE = 1 << 20
"""The most bytes that a stream yields at once."""


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
    """A stored content: ``digest`` is its SHA-256 (32 bytes), ``size`` its length in bytes."""

    digest: bytes
    size: int


class BlobUpload(Protocol):
    """Blobs that become durable together. A context manager, used by one thread at a time.

    Leaving it without :meth:`commit` leaves none of its blobs behind.
    """

    def __enter__(self) -> BlobUpload: ...

    def __exit__(self, *error: object) -> None: ...

    def add(self, pieces: Iterable[bytes], *, digest: bytes | None = None) -> Blob:
        """Write one blob, hashing it as its pieces come.

        With ``digest``, raise :class:`BlobDamaged` when the content is another. After that, and
        after an exception of ``pieces``, nothing of this blob is kept and others can be added.
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
        when they cannot be kept.
        """
        ...

    def read(self, digest: bytes) -> bytes:
        """Return a whole blob.

        Raises :class:`BlobMissing`, or :class:`ngshare.errors.Unavailable` when it
        cannot be read now.
        """
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
