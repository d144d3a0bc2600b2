"""A wrapper around the blob store that counts its failures for the metrics."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager

from ngshare.blobs import Blob, BlobMissing, BlobStore, BlobUpload
from ngshare.errors import OutOfSpace, Unavailable
from ngshare.web.monitoring.metrics import Metrics


class CountedBlobs:
    """A :class:`ngshare.blobs.BlobStore` that counts the failures of another."""

    def __init__(self, blobs: BlobStore, metrics: Metrics) -> None:
        self._blobs = blobs
        self._errors = metrics.storage_errors

    def upload(self) -> CountedUpload:
        with self.counting():
            return CountedUpload(self, self._blobs.upload())

    def put(self, contents: Sequence[bytes]) -> list[bytes]:
        with self.counting():
            return self._blobs.put(contents)

    def read(self, digest: bytes) -> bytes:
        with self.counting():
            return self._blobs.read(digest)

    def size(self, digest: bytes) -> int:
        with self.counting():
            return self._blobs.size(digest)

    def open(
        self, digest: bytes, start: int = 0, size: int | None = None
    ) -> Generator[bytes, None, None]:
        with self.counting():
            return self._pieces(self._blobs.open(digest, start, size))

    def _pieces(self, pieces: Generator[bytes, None, None]) -> Generator[bytes, None, None]:
        with self.counting():
            yield from pieces

    def check(self) -> None:
        self._blobs.check()

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count what the block raises, by its kind."""
        try:
            yield
        except OutOfSpace:
            self._errors.labels("full").inc()
            raise
        except Unavailable:
            self._errors.labels("failed").inc()
            raise
        except BlobMissing:
            self._errors.labels("missing").inc()
            raise


class CountedUpload:
    """A :class:`ngshare.blobs.BlobUpload` whose failures are counted."""

    def __init__(self, store: CountedBlobs, upload: BlobUpload) -> None:
        self._store = store
        self._upload = upload

    def __enter__(self) -> CountedUpload:
        self._upload.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._upload.__exit__(*error)

    def add(self, pieces: Iterable[bytes], *, digest: bytes | None = None) -> Blob:
        with self._store.counting():
            return self._upload.add(pieces, digest=digest)

    def commit(self) -> None:
        with self._store.counting():
            self._upload.commit()
