"""What every blob store promises."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol


class BlobMissing(Exception):
    """The store has no bytes under this digest."""

    def __init__(self, digest: bytes) -> None:
        super().__init__(digest.hex())
        self.digest = digest


def sha256(content: bytes) -> bytes:
    """The digest (32 bytes) that names a blob."""
    return hashlib.sha256(content).digest()


class BlobStore(Protocol):
    """Content by hash. A blob is stored once, however many trees name it, and never changed.

    All methods block; call them from a worker thread.
    """

    def put(self, contents: Sequence[bytes]) -> list[bytes]:
        """Keep each content and return its digest, in order.

        When this returns, the bytes survive a crash of the machine. Raises
        :class:`ngshare.errors.OutOfSpace` or :class:`ngshare.errors.Unavailable`
        when they cannot be kept.
        """
        ...

    def get(self, digest: bytes) -> bytes:
        """The content under ``digest``.

        Raises :class:`BlobMissing`, or :class:`ngshare.errors.Unavailable` when it
        cannot be read now.
        """
        ...

    def check(self) -> None:
        """Raise OSError unless the store can be written to now."""
        ...
