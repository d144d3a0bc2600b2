"""Write blobs to a local disk: write, sync and rename each, then sync its folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ngshare.blobs.store import Blob, BlobDamaged
from ngshare.files import fsync

if TYPE_CHECKING:
    from ngshare.blobs.local import LocalBlobs

TOGETHER = 64
"""The number of blobs of one upload that are written before they are synced together.

Each is an open file. Eight uploads at once must stay far below the 1,024 files that many systems
allow a process.
"""

BUFFER = 1 << 20
"""Content of up to so many bytes is hashed before any of it is written.

A small file that exists already is then not written again.
"""


class LocalUpload:
    """A :class:`ngshare.blobs.BlobUpload` into a :class:`LocalBlobs`.

    All files of a batch are written before the first is synced, which takes less time.
    """

    def __init__(self, store: LocalBlobs, *, replace: bool) -> None:
        self._store = store
        self._replace = replace
        self._written: dict[bytes, str] = {}
        self._open: list[int] = []
        self._shards: set[str] = set()
        self._failure: OSError | None = None

    def __enter__(self) -> LocalUpload:
        return self

    def __exit__(self, *error: object) -> None:
        for descriptor in self._open:
            os.close(descriptor)
        self._open.clear()
        for temporary in self._written.values():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        self._written.clear()

    def add(self, pieces: Iterable[bytes], *, digest: bytes | None = None) -> Blob:
        hashed, size = hashlib.sha256(), 0
        buffered: list[bytes] = []
        file: tuple[str, int] | None = None
        try:
            for piece in pieces:
                hashed.update(piece)
                size += len(piece)
                buffered.append(piece)
                if size > BUFFER:
                    file = file or self._create()
                    self._write(file[1], buffered)
                    buffered.clear()
            blob = Blob(hashed.digest(), size)
            if digest is not None and blob.digest != digest:
                raise BlobDamaged(digest)
        except BaseException:
            if file is not None:
                self._discard(*file)
            raise
        self.add_hashed(blob, buffered, file)
        return blob

    def add_hashed(
        self, blob: Blob, pieces: Iterable[bytes], file: tuple[str, int] | None = None
    ) -> bytes:
        """Add a blob that has been hashed: its ``pieces``, or the ``file`` they were written to."""
        if self._is_there(blob):
            if file is not None:
                self._discard(*file)
            return blob.digest
        if file is None:
            file = self._create()
            try:
                self._write(file[1], pieces)
            except BaseException:
                self._discard(*file)
                raise
        self._written[blob.digest], descriptor = file
        self._open.append(descriptor)
        if len(self._open) == TOGETHER:
            self._sync()
        return blob.digest

    def commit(self) -> None:
        self._sync()
        store = self._store
        if self._failure is not None:  # of an earlier batch
            raise store.explain(self._failure)
        try:
            for digest, temporary in self._written.items():
                os.rename(temporary, store.name(digest))
            # Synced even if every blob existed: another request may have renamed one a moment
            # ago and not have synced its folder yet.
            for shard in self._shards:
                fsync(shard)
        except OSError as error:
            raise store.explain(error) from error
        self._written.clear()
        self._shards.clear()

    def _is_there(self, blob: Blob) -> bool:
        name = self._store.name(blob.digest)
        self._shards.add(os.path.dirname(name))
        if blob.digest in self._written or self._replace:
            return blob.digest in self._written
        try:
            # A truncated one, as after a repair of the file system, is written again.
            return os.stat(name).st_size == blob.size
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._store.explain(error) from error

    def _create(self) -> tuple[str, int]:
        temporary = self._store.temporary()
        try:
            return temporary, os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except OSError as error:
            raise self._store.explain(error) from error

    def _write(self, descriptor: int, pieces: Iterable[bytes]) -> None:
        try:
            for piece in pieces:
                view = memoryview(piece)
                while view:
                    view = view[os.write(descriptor, view) :]
        except OSError as error:
            raise self._store.explain(error) from error

    def _discard(self, temporary: str, descriptor: int) -> None:
        os.close(descriptor)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)

    def _sync(self) -> None:
        try:
            for descriptor in self._open:
                os.fsync(descriptor)
        except OSError as error:
            self._failure = error
            raise self._store.explain(error) from error
        finally:
            while self._open:
                os.close(self._open.pop())
