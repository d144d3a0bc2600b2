"""Blobs on a local disk: ``<folder>/blobs/<first two hex digits>/<digest in hex>``.

A blob appears under its name all at once and only when it is durable: it is
written to ``<folder>/incoming``, synced, renamed, and its folder synced. A crash
can leave a file in ``incoming``, or a blob that no row names, and nothing else.

A blob that no row names is removed one day (:mod:`ngshare.blobs.sweep`), and a
request may be about to name it at that moment. What keeps the two apart is the
blob's time of modification, the lease: whoever puts content that is there already
sets that time to now, and only what is older than any request can be is removed.
Both look and act while they hold the lock of the shard's folder, shared by those
that put, exclusive for the one that removes. So one of two things happens. The put
comes first: then the blob is young when the other looks, and stays. Or the removal
comes first: then the put finds nothing there, and writes the blob anew, young again.
Whoever sees nothing there to begin with asks for no lock: what they write is young anyway.
A file that is there and may not be touched is replaced under the lock, for the same reason.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import itertools
import logging
import os
import secrets
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path

from ngshare.blobs.store import PIECE, Blob, BlobDamaged, BlobMissing, sha256
from ngshare.durable import make_folder, sync
from ngshare.errors import ExchangeError, OutOfSpace, Unavailable

log = logging.getLogger("ngshare")

TOGETHER = 64
"""How many blobs of one upload are written and synced together; each has a file open.

No upload may have more than these open: eight at once must stay far below the 1,024
that many systems allow a process.
"""

BUFFER = 1 << 20
"""Up to so many bytes, the content of a stream is hashed before any of it is written.

A small file that is there already is then not written again.
"""

_NO_HARD_LINKS = {errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_NO_HARD_LINKS |= {errno.EMLINK}


class LocalBlobs:
    """A :class:`ngshare.blobs.BlobStore` in a folder of this machine."""

    def __init__(self, folder: str | os.PathLike[str], *, make: bool = True) -> None:
        """Open the store, making its folders. Raises OSError when they can't be made or written.

        Without ``make`` nothing is made or written: for reading from a disk that may not be.
        """
        self.folder = Path(folder)
        self._blobs = self.folder / "blobs"
        self._shards = str(self._blobs)
        self.incoming = self.folder / "incoming"
        self._incoming = str(self.incoming)
        self.belongs_to = self.folder / "belongs-to"
        # Of names in `incoming`: to ask the system for random ones each time takes longer.
        self._token = secrets.token_hex(16)
        self._count = itertools.count()
        if not make:
            return
        make_folder(self.folder)
        self.incoming.mkdir(exist_ok=True)
        self._blobs.mkdir(exist_ok=True)
        for shard in range(256):
            self.shard(shard).mkdir(exist_ok=True)
        self.check()
        for made in (self._blobs, self.folder):
            sync(made)

    def temporary(self) -> str:
        """A new name in ``incoming``."""
        return f"{self._incoming}/{self._token}-{os.getpid()}-{next(self._count)}"

    def __str__(self) -> str:
        return f"folder {self.folder}"

    def shard(self, number: int) -> Path:
        """The folder of the blobs whose digests begin with this byte."""
        return self._blobs / f"{number:02x}"

    def path(self, digest: bytes) -> Path:
        """Where the blob of this digest is, or would be."""
        return Path(self.name(digest))

    def name(self, digest: bytes) -> str:
        """The same as text."""
        # Text where requests wait for it: a Path takes ten times as long to make.
        name = digest.hex()
        return f"{self._shards}/{name[:2]}/{name}"

    def upload(self) -> LocalUpload:
        return LocalUpload(self)

    def put(self, contents: Sequence[bytes]) -> list[bytes]:
        with self.upload() as upload:
            # Known before it is written, so that what is there already is not written at all.
            digests = [upload.keep(Blob(sha256(each), len(each)), [each]) for each in contents]
            upload.commit()
        return digests

    def read(self, digest: bytes) -> bytes:
        with self._reading(digest), open(self.name(digest), "rb", buffering=0) as file:
            return file.readall()

    def open(
        self, digest: bytes, start: int = 0, size: int | None = None
    ) -> Generator[bytes, None, None]:
        pieces = self._pieces(digest, start, size)
        next(pieces)  # open it now
        return pieces

    def _pieces(self, digest: bytes, start: int, size: int | None) -> Generator[bytes, None, None]:
        with self._reading(digest), open(self.name(digest), "rb", buffering=0) as file:
            yield b""
            file.seek(start)
            left = sys.maxsize if size is None else size
            while left and (piece := file.read(min(PIECE, left))):
                left -= len(piece)
                yield piece

    @contextlib.contextmanager
    def _reading(self, digest: bytes) -> Iterator[None]:
        """Raise BlobMissing or Unavailable in the place of an OSError."""
        try:
            yield
        except OSError as error:
            # Without its folder it is not this blob that is missing, but the disk.
            if isinstance(error, FileNotFoundError) and self.shard(digest[0]).is_dir():
                raise BlobMissing(digest) from None
            log.error(
                "Cannot read from %s (%s). Check its disk, and that it is mounted.",
                self.folder,
                error.strerror,
            )
            raise Unavailable("The exchange cannot read files now; please try again") from error

    def check(self) -> None:
        probe = self.incoming / f"probe-{secrets.token_hex(8)}"
        try:
            probe.write_bytes(b"ngshare can write here")
        finally:
            probe.unlink(missing_ok=True)

    def lease(self, shard: int, digests: Iterable[bytes]) -> set[bytes]:
        """Make those blobs of a shard young that are there already, and return them."""
        present = set()
        with self.shared(shard):
            for digest in digests:
                # Somebody else's file that may not be touched is written again, as ours.
                with contextlib.suppress(FileNotFoundError, PermissionError):
                    os.utime(self.name(digest))
                    present.add(digest)
        return present

    @contextlib.contextmanager
    def shared(self, shard: int) -> Iterator[None]:
        """Hold the lock of a shard's folder, together with others that put.

        A file system that has no locks for folders has no removal either:
        :func:`ngshare.blobs.sweep.sweep` refuses there.
        """
        with open_folder(self.shard(shard)) as folder:
            with contextlib.suppress(OSError):
                fcntl.flock(folder, fcntl.LOCK_SH)
            yield

    def explain(self, error: OSError) -> ExchangeError:
        """Log why the store cannot be written to, and return what to tell the client."""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            log.error(
                "No room in %s. Free some space or enlarge the disk; "
                "submissions are refused until then, and nothing is lost.",
                self.folder,
            )
            return OutOfSpace("The exchange's disk is full; nothing of this request was stored")
        log.error(
            "Cannot write to %s (%s). Check that it is mounted, writable and owned by this user.",
            self.folder,
            error.strerror,
        )
        return Unavailable("The exchange cannot store files at the moment; please try again")


class LocalUpload:
    """A :class:`ngshare.blobs.BlobUpload` into a :class:`LocalBlobs`.

    All files of a batch are written before the first is synced: it takes less time so.
    """

    def __init__(self, store: LocalBlobs) -> None:
        self._store = store
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
        self.keep(blob, buffered, file)
        return blob

    def keep(
        self, blob: Blob, pieces: Iterable[bytes], file: tuple[str, int] | None = None
    ) -> bytes:
        """Add a blob that has been hashed: ``pieces``, or ``file`` if it is written already."""
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
        if self._failure is not None:  # of a batch before
            raise store.explain(self._failure)
        try:
            for digest, temporary in self._written.items():
                os.rename(temporary, store.name(digest))
            # Synced even when all was there before: another request may have
            # renamed it a moment ago and not have come to its own sync yet.
            for shard in self._shards:
                sync(shard)
        except OSError as error:
            raise store.explain(error) from error
        self._written.clear()
        self._shards.clear()

    def _is_there(self, blob: Blob) -> bool:
        name = self._store.name(blob.digest)
        self._shards.add(os.path.dirname(name))
        if blob.digest in self._written:
            return True
        try:
            # One that was cut short, as by a repair of the file system, is made again.
            there = os.stat(name).st_size == blob.size
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._store.explain(error) from error
        return there and bool(self._store.lease(blob.digest[0], [blob.digest]))

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


@contextlib.contextmanager
def open_folder(folder: Path) -> Iterator[int]:
    """A folder's descriptor, to sync or to lock it by. Closing it lets go of the lock."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
