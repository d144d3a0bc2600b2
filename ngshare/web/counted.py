"""The blob store, with its failures counted."""

from __future__ import annotations

from collections.abc import Sequence

from ngshare.blobs import BlobMissing, BlobStore
from ngshare.errors import OutOfSpace, Unavailable
from ngshare.metrics import Metrics


class CountedBlobs:
    """A :class:`ngshare.blobs.BlobStore` that counts what another fails to do."""

    def __init__(self, blobs: BlobStore, metrics: Metrics) -> None:
        self._blobs = blobs
        self._errors = metrics.storage_errors

    def put(self, contents: Sequence[bytes]) -> list[bytes]:
        try:
            return self._blobs.put(contents)
        except (OutOfSpace, Unavailable) as error:
            self._errors.labels("full" if isinstance(error, OutOfSpace) else "failed").inc()
            raise

    def get(self, digest: bytes) -> bytes:
        try:
            return self._blobs.get(digest)
        except BlobMissing:
            self._errors.labels("missing").inc()
            raise
        except Unavailable:
            self._errors.labels("failed").inc()
            raise

    def check(self) -> None:
        self._blobs.check()
