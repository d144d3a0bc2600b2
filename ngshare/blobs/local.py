"""Store blobs on a local disk: ``<folder>/blobs/<first two hex digits>/<digest in hex>``.

A blob appears under its name atomically and only when it is durable: it is written to
``<folder>/incoming``, synced, renamed, and its folder synced. A crash can leave a file in
``incoming``, or a blob that no row names, and nothing else.

Garbage collection moves blobs that no row names to ``<folder>/quarantine/<hour>/<digest in hex>``
for some days (:mod:`ngshare.blobs.gc`). A read that misses one moves it back.

The module has a few lines over 300: it is the whole of one interface.
"""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import logging
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

from ngshare.blobs.local_upload import LocalUpload
from ngshare.blobs.store import (
    PIECE,
    Amount,
    Blob,
    BlobEntry,
    BlobMissing,
    ManagedBlobStore,
    QuarantinedBlob,
    sha256,
)
from ngshare.errors import ExchangeError, OutOfSpace, Unavailable
from ngshare.files import fsync, make_folder

log = logging.getLogger("ngshare")


class LocalBlobs:
    """A :class:`ngshare.blobs.ManagedBlobStore` in a folder of this machine."""

    def __init__(self, folder: str | os.PathLike[str], *, make: bool = True) -> None:
        """Open the store and create its folders. Raises OSError when they cannot be written.

        Without ``make``, nothing is created or written: for a disk that is mounted read-only.
        """
        self.folder = Path(folder)
        self._blobs = self.folder / "blobs"
        self._shards = str(self._blobs)
        self.incoming = self.folder / "incoming"
        self._incoming = str(self.incoming)
        self._quarantine = self.folder / "quarantine"
        # For names in `incoming`. A random name each time would take a system call.
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
            fsync(made)

    def temporary(self) -> str:
        """Return a new name in ``incoming``."""
        return f"{self._incoming}/{self._token}-{os.getpid()}-{next(self._count)}"

    def __str__(self) -> str:
        return f"folder {self.folder}"

    def shard(self, number: int) -> Path:
        """Return the folder of the blobs whose digests begin with this byte."""
        return self._blobs / f"{number:02x}"

    def path(self, digest: bytes) -> Path:
        """Return the path of the blob of this digest, present or not."""
        return Path(self.name(digest))

    def name(self, digest: bytes) -> str:
        """Return the same path as text."""
        # For requests: a Path takes ten times as long to create.
        name = digest.hex()
        return f"{self._shards}/{name[:2]}/{name}"

    def upload(self, *, replace: bool = False) -> LocalUpload:
        return LocalUpload(self, replace=replace)

    def put(self, contents: Sequence[bytes]) -> list[bytes]:
        with self.upload() as upload:
            # Hashed before writing, so that a blob that exists is not written again.
            digests = [
                upload.add_hashed(Blob(sha256(each), len(each)), [each]) for each in contents
            ]
            upload.commit()
        return digests

    def read(self, digest: bytes) -> bytes:
        with self._reading(digest), self._opened(digest) as file:
            return file.readall()

    def size(self, digest: bytes) -> int:
        with self._reading(digest):
            try:
                return os.stat(self.name(digest)).st_size
            except FileNotFoundError:
                with self._opened(digest) as file:  # it may be in the quarantine
                    return os.fstat(file.fileno()).st_size

    def open(
        self, digest: bytes, start: int = 0, size: int | None = None
    ) -> Generator[bytes, None, None]:
        pieces = self._pieces(digest, start, size)
        next(pieces)  # opens the file
        return pieces

    def _pieces(self, digest: bytes, start: int, size: int | None) -> Generator[bytes, None, None]:
        with self._reading(digest), self._opened(digest) as file:
            yield b""
            file.seek(start)
            left = sys.maxsize if size is None else size
            while left and (piece := file.read(min(PIECE, left))):
                left -= len(piece)
                yield piece

    def _opened(self, digest: bytes) -> io.FileIO:
        name = self.name(digest)
        try:
            return open(name, "rb", buffering=0)
        except FileNotFoundError:
            aside = self._find_quarantined(digest)
        if aside is not None:
            log.warning(
                "%s was in the quarantine, though it is needed: moved back. Did ngshare storage gc "
                "run with another database than that of this site?",
                os.path.basename(name),
            )
            # If it cannot be moved, it is read from the quarantine.
            with contextlib.suppress(OSError):
                self._move_back(aside, digest)
        # Again, even if it was not in quarantine: another reader may have moved it back meanwhile.
        try:
            return open(name, "rb", buffering=0)
        except FileNotFoundError:
            if aside is None:
                raise
            return open(aside, "rb", buffering=0)

    @contextlib.contextmanager
    def _reading(self, digest: bytes) -> Iterator[None]:
        """Translate an OSError to BlobMissing or Unavailable."""
        try:
            yield
        except OSError as error:
            # If its folder is missing too, the disk is not mounted.
            if isinstance(error, FileNotFoundError) and self.shard(digest[0]).is_dir():
                raise BlobMissing(digest) from None
            log.error(
                "Cannot read from %s (%s). Check its disk, and that it is mounted.",
                self.folder,
                error.strerror,
            )
            raise Unavailable("The exchange cannot read files now; please try again") from error

    def exists(self, digest: bytes) -> bool:
        return os.path.exists(self.name(digest)) or self._find_quarantined(digest) is not None

    def describe(self, digest: bytes) -> str:
        return self.name(digest)

    def free(self) -> int | None:
        return shutil.disk_usage(self.folder).free

    def list(self, prefix: bytes = b"") -> Iterator[BlobEntry]:
        for shard in [prefix[0]] if prefix else range(256):
            try:
                paths = sorted(self.shard(shard).iterdir())
            except FileNotFoundError:
                continue
            for path in paths:
                digest = _digest(path.name)
                if digest is not None and digest[0] != shard:
                    digest = None
                if len(prefix) > 1 and not (digest or b"").startswith(prefix):
                    continue
                with contextlib.suppress(FileNotFoundError):
                    state = path.lstat()
                    yield BlobEntry(str(path), digest, state.st_size, state.st_mtime)

    def quarantine(self, digest: bytes, folder: str) -> bool:
        target = self._quarantine / folder / digest.hex()
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(self.name(digest), target)
        except FileNotFoundError:
            return False
        return True

    def quarantined(self) -> Iterator[QuarantinedBlob]:
        for folder in self._quarantine_folders():
            try:
                names = sorted(os.listdir(self._quarantine / folder))
            except (FileNotFoundError, NotADirectoryError):
                continue
            for name in names:
                digest = _digest(name)
                with contextlib.suppress(FileNotFoundError):
                    size = (self._quarantine / folder / name).lstat().st_size
                    if digest is not None:
                        yield QuarantinedBlob(folder, digest, size)

    def put_back(self, blob: QuarantinedBlob) -> None:
        if os.path.exists(self.name(blob.digest)):
            self.delete_quarantined(blob)
            return
        with contextlib.suppress(FileNotFoundError):  # a reader was first
            self._move_back(self._quarantine / blob.folder / blob.digest.hex(), blob.digest)

    def delete_quarantined(self, blob: QuarantinedBlob) -> None:
        folder = self._quarantine / blob.folder
        (folder / blob.digest.hex()).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it is not empty yet
            folder.rmdir()

    def remove_leftovers(self, before: float, *, dry: bool = False) -> Amount:
        total = Amount()
        for path in self.incoming.iterdir():
            with contextlib.suppress(FileNotFoundError):
                folder = path.is_dir() and not path.is_symlink()
                states = [one.lstat() for one in [path, *(path.rglob("*") if folder else ())]]
                # A folder is as old as the youngest file in it.
                if max(state.st_mtime for state in states) >= before:
                    continue
                if folder and not dry:
                    shutil.rmtree(path)
                elif not dry:
                    path.unlink()
                files = [state for state in states if not stat.S_ISDIR(state.st_mode)]
                total.files += max(1, len(files))
                total.bytes += sum(state.st_size for state in files)
        return total

    def _quarantine_folders(self) -> Sequence[str]:
        try:
            return sorted(os.listdir(self._quarantine))
        except FileNotFoundError:
            return []

    def _find_quarantined(self, digest: bytes) -> Path | None:
        for folder in reversed(self._quarantine_folders()):
            path = self._quarantine / folder / digest.hex()
            if path.exists():
                return path
        return None

    def _move_back(self, path: Path, digest: bytes) -> None:
        os.rename(path, self.name(digest))
        fsync(self.shard(digest[0]))
        with contextlib.suppress(OSError):  # it is not empty yet
            path.parent.rmdir()

    def check(self) -> None:
        probe = self.incoming / f"probe-{secrets.token_hex(8)}"
        try:
            probe.write_bytes(b"ngshare can write here")
        finally:
            probe.unlink(missing_ok=True)

    def explain(self, error: OSError) -> ExchangeError:
        """Log why the store cannot be written to, and return what to tell the client."""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            log.error(
                "No room in %s. Free some space or enlarge the disk; "
                "nothing can be stored there until then, and nothing is lost.",
                self.folder,
            )
            return OutOfSpace("The exchange's disk is full; nothing of this request was stored")
        log.error(
            "Cannot write to %s (%s). Check that it is mounted, writable and owned by this user.",
            self.folder,
            error.strerror,
        )
        return Unavailable("The exchange cannot store files at the moment; please try again")


def open_folder_store(folder: str | os.PathLike[str], *, make: bool = True) -> ManagedBlobStore:
    """Return the blob store in a folder, as that of a site or a backup.

    Without ``make`` nothing is made or written. Raises OSError.
    """
    return LocalBlobs(folder, make=make)


def _digest(name: str) -> bytes | None:
    """Return the digest that names a blob; None when it is another file's name."""
    try:
        digest = bytes.fromhex(name)
    except ValueError:
        return None
    return digest if len(digest) == 32 and digest.hex() == name else None
