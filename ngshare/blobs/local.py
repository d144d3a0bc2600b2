"""Blobs on a local disk: ``<folder>/blobs/<first two hex digits>/<digest in hex>``.

A blob appears under its name all at once and only when it is durable: it is
written to ``<folder>/incoming``, synced, renamed, and its folder synced. A crash
can leave a file in ``incoming``, or a blob that no row names, and nothing else.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from ngshare.blobs.store import BlobMissing, sha256
from ngshare.errors import ExchangeError, OutOfSpace, Unavailable

log = logging.getLogger("ngshare")


class LocalBlobs:
    """A :class:`ngshare.blobs.BlobStore` in a folder of this machine."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Open the store, making its folders. Raises OSError when they can't be made or written."""
        self.folder = Path(folder)
        self._blobs = self.folder / "blobs"
        self._incoming = self.folder / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)
        self._blobs.mkdir(exist_ok=True)
        for shard in range(256):
            (self._blobs / f"{shard:02x}").mkdir(exist_ok=True)
        self.check()
        for made in (self._blobs, self.folder):
            _sync_folder(made)

    def __str__(self) -> str:
        return f"folder {self.folder}"

    def path(self, digest: bytes) -> Path:
        """Where the blob of this digest is, or would be."""
        name = digest.hex()
        return self._blobs / name[:2] / name

    def put(self, contents: Sequence[bytes]) -> list[bytes]:
        digests = [sha256(content) for content in contents]
        try:
            folders = set()
            for digest, content in dict(zip(digests, contents, strict=True)).items():
                path = self.path(digest)
                if not path.exists():
                    self._write(path, content)
                # Synced even when the blob was there before: another request may
                # have renamed it a moment ago and not have come to its own sync yet.
                folders.add(path.parent)
            for folder in folders:
                _sync_folder(folder)
        except OSError as error:
            raise self._explain(error) from error
        return digests

    def get(self, digest: bytes) -> bytes:
        try:
            return self.path(digest).read_bytes()
        except FileNotFoundError:
            raise BlobMissing(digest) from None

    def check(self) -> None:
        probe = self._incoming / f"probe-{secrets.token_hex(8)}"
        try:
            probe.write_bytes(b"ngshare can write here")
        finally:
            probe.unlink(missing_ok=True)

    def _write(self, path: Path, content: bytes) -> None:
        part = self._incoming / secrets.token_hex(16)
        try:
            with part.open("xb", buffering=0) as file:
                view = memoryview(content)
                while view:
                    view = view[file.write(view) :]
                os.fsync(file.fileno())
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


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
