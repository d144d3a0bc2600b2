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
import itertools
import logging
import os
import secrets
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ngshare.blobs.store import BlobMissing, sha256
from ngshare.durable import make_folder, sync
from ngshare.errors import ExchangeError, OutOfSpace, Unavailable

log = logging.getLogger("ngshare")

TOGETHER = 64
"""How many blobs of one request are written and synced together; each has a file open.

No request may have more than these open: eight at once must stay far below the 1,024
that many systems allow a process.
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

    def __str__(self) -> str:
        return f"folder {self.folder}"

    def shard(self, number: int) -> Path:
        """The folder of the blobs whose digests begin with this byte."""
        return self._blobs / f"{number:02x}"

    def path(self, digest: bytes) -> Path:
        """Where the blob of this digest is, or would be."""
        return Path(self._name(digest))

    def _name(self, digest: bytes) -> str:
        # Text where requests wait for it: a Path takes ten times as long to make.
        name = digest.hex()
        return f"{self._shards}/{name[:2]}/{name}"

    def put(self, contents: Sequence[bytes]) -> list[bytes]:
        digests = [sha256(content) for content in contents]
        wanted = dict(zip(digests, contents, strict=True))
        try:
            # Most blobs are new, and need no lock: it keeps apart those who find one there.
            seen: dict[int, list[bytes]] = {}
            for digest in wanted:
                if os.path.exists(self._name(digest)):
                    seen.setdefault(digest[0], []).append(digest)
            present: set[bytes] = set()
            for number, there in seen.items():
                present |= self._lease(number, there)
            missing = [
                digest
                for digest, content in wanted.items()
                # One that was cut short, as by a repair of the file system, is made again.
                if digest not in present or os.stat(self._name(digest)).st_size != len(content)
            ]
            taken = {digest for there in seen.values() for digest in there} - present
            for start in range(0, len(missing), TOGETHER):
                self._write({d: wanted[d] for d in missing[start : start + TOGETHER]}, taken)
            # Synced even when all was there before: another request may have
            # renamed it a moment ago and not have come to its own sync yet.
            for shard in {os.path.dirname(self._name(digest)) for digest in wanted}:
                sync(shard)
        except OSError as error:
            raise self._explain(error) from error
        return digests

    def get(self, digest: bytes) -> bytes:
        try:
            with open(self._name(digest), "rb", buffering=0) as blob:
                return blob.readall()
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

    def adopt(self, path: Path, digest: bytes) -> bool:
        """Let a file that is durable already be the blob ``digest`` too, without copying it.

        Return False when this file system has no hard links: then the file must be
        renamed to :meth:`path` once it is not needed under its own name any more.
        Only from another disk is a file copied. Call :meth:`sync` before a row names
        the blob. Raises OSError.
        """
        blob = self.path(digest)
        if self._lease(digest[0], [digest]):
            return True
        try:
            if path.is_symlink():
                raise OSError(errno.EXDEV, "a name of something elsewhere")
            with contextlib.suppress(PermissionError):
                os.utime(path)  # the blob is young when it appears, however old its bytes are
            os.link(path, blob)
        except FileExistsError:
            pass  # another file of the same bytes, a moment ago
        except OSError as error:
            if error.errno in _NO_HARD_LINKS:
                return False
            if error.errno != errno.EXDEV:
                raise
            self._copy(path, blob)
        return True

    def sync(self) -> None:
        """Make every blob that was adopted durable under its name. Raises OSError."""
        for shard in range(256):
            sync(self.shard(shard))

    def check(self) -> None:
        probe = self.incoming / f"probe-{secrets.token_hex(8)}"
        try:
            probe.write_bytes(b"ngshare can write here")
        finally:
            probe.unlink(missing_ok=True)

    def _lease(self, shard: int, digests: Iterable[bytes]) -> set[bytes]:
        """Make those blobs of a shard young that are there already, and return them."""
        present = set()
        with self._shared(shard):
            for digest in digests:
                # Somebody else's file that may not be touched is written again, as ours.
                with contextlib.suppress(FileNotFoundError, PermissionError):
                    os.utime(self._name(digest))
                    present.add(digest)
        return present

    @contextlib.contextmanager
    def _shared(self, shard: int) -> Iterator[None]:
        """Hold the lock of a shard's folder, together with others that put.

        A file system that has no locks for folders has no removal either:
        :func:`ngshare.blobs.sweep.sweep` refuses there.
        """
        with open_folder(self.shard(shard)) as folder:
            with contextlib.suppress(OSError):
                fcntl.flock(folder, fcntl.LOCK_SH)
            yield

    def _write(self, contents: Mapping[bytes, bytes], taken: Collection[bytes]) -> None:
        """Make these blobs. All are written before the first is synced: it takes less time so.

        Of those ``taken`` there was a file that could not be made young.
        """
        parts: dict[bytes, str] = {}
        incoming = str(self.incoming)
        try:
            with contextlib.ExitStack() as opened:
                descriptors = []
                for digest, content in contents.items():
                    part = f"{incoming}/{self._token}-{os.getpid()}-{next(self._count)}"
                    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
                    opened.callback(os.close, descriptor)
                    parts[digest] = part
                    descriptors.append(descriptor)
                    view = memoryview(content)
                    while view:
                        view = view[os.write(descriptor, view) :]
                for descriptor in descriptors:
                    os.fsync(descriptor)
            for digest, part in parts.items():
                if digest in taken:
                    # Who removes may have seen that this file is old, and takes it by its name.
                    with self._shared(digest[0]):
                        os.rename(part, self._name(digest))
                else:
                    os.rename(part, self._name(digest))
        except BaseException:
            for part in parts.values():
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(part)
            raise

    def _copy(self, source: Path, path: Path) -> None:
        part = self.incoming / secrets.token_hex(16)
        try:
            with source.open("rb") as file, part.open("xb") as copy:
                shutil.copyfileobj(file, copy, 1 << 20)
                copy.flush()
                os.fsync(copy.fileno())
            part.rename(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def _explain(self, error: OSError) -> ExchangeError:
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


@contextlib.contextmanager
def open_folder(folder: Path) -> Iterator[int]:
    """A folder's descriptor, to sync or to lock it by. Closing it lets go of the lock."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
