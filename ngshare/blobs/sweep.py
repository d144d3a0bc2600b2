"""Look at a whole store, and remove from it what nothing names.

Why this never removes what a request is about to name is told in
:mod:`ngshare.blobs.local`; the part of the remover is in :func:`sweep`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ngshare.blobs.local import LocalBlobs, open_folder

SHARDS = 256
"""How many folders the blobs are spread over, by the first byte of their digests."""

BATCH = 200
"""How many blobs are looked at under one lock; requests for their shard wait meanwhile."""

Named = Callable[[Sequence[bytes]], Collection[bytes]]
"""Answers which of some digests anything names, by what is committed when it is asked."""


class Busy(Exception):
    """Another command works on this store, and both together are not safe."""


class NoLocks(Exception):
    """The file system cannot keep two programs apart, so nothing may be removed from it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in a shard's folder: ``digest`` is None where its name is no blob's.

    ``size`` is in bytes, ``modified`` in seconds since the epoch.
    """

    path: Path
    digest: bytes | None
    size: int
    modified: float


@dataclass(slots=True)
class Removed:
    """How much was removed, or would be: files, and their bytes."""

    files: int = 0
    bytes: int = 0

    def __iadd__(self, more: Removed) -> Removed:
        self.files += more.files
        self.bytes += more.bytes
        return self


def entries(store: LocalBlobs, shard: int) -> list[Entry]:
    """What lies in one of the :data:`SHARDS` folders, by name; a folder that is not there is empty.

    What disappears meanwhile is left out.
    """
    folder = store.shard(shard)
    try:
        paths = sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    found = []
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            state = path.lstat()
            found.append(Entry(path, _digest(path.name, shard), state.st_size, state.st_mtime))
    return found


def disk_time(store: LocalBlobs) -> float:
    """The present moment by the clock that dates the store's files, which may be a server's."""
    probe = store.incoming / f"probe-{secrets.token_hex(8)}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def sweep(
    store: LocalBlobs, shard: int, before: float, named: Named, *, remove: bool = True
) -> Removed:
    """Remove the blobs of a shard that nothing names and that are older than ``before``.

    ``before`` is in seconds since the epoch, by :func:`disk_time`; it must be
    further back than any request takes from storing its bytes to committing its
    rows. A blob's age is looked at again under the exclusive lock of the shard.
    Who put it longer ago than that has committed, so ``named``, asked after that
    look, knows of it; who comes to put it now waits for the lock, then finds
    nothing and writes it. Without ``remove`` it is only counted.

    Raises NoLocks where the file system has no such lock.
    """
    old = [entry for entry in entries(store, shard) if entry.digest and entry.modified < before]
    total = Removed()
    for start in range(0, len(old), BATCH):
        with _locked(store.shard(shard)):
            total += _sweep(old[start : start + BATCH], before, named, remove=remove)
    return total


def _sweep(old: Sequence[Entry], before: float, named: Named, *, remove: bool) -> Removed:
    still: dict[bytes, tuple[Path, int]] = {}
    for entry in old:
        with contextlib.suppress(FileNotFoundError):
            state = entry.path.lstat()
            if entry.digest is not None and state.st_mtime < before:
                still[entry.digest] = entry.path, state.st_size
    kept = set(named(list(still))) if still else set()
    total = Removed()
    for digest, (path, size) in still.items():
        if digest not in kept:
            if remove:
                path.unlink(missing_ok=True)
            total += Removed(1, size)
    return total


def sweep_incoming(store: LocalBlobs, before: float, *, remove: bool = True) -> Removed:
    """Remove what requests and commands that were cut off left in ``incoming``, if it is old.

    A folder is as old as the youngest thing in it; ``before`` as in :func:`sweep`.
    """
    total = Removed()
    for path in store.incoming.iterdir():
        with contextlib.suppress(FileNotFoundError):
            folder = path.is_dir() and not path.is_symlink()
            states = [one.lstat() for one in [path, *(path.rglob("*") if folder else ())]]
            if max(state.st_mtime for state in states) >= before:
                continue
            if remove and folder:
                shutil.rmtree(path)
            elif remove:
                path.unlink()
            files = [state for state in states if not stat.S_ISDIR(state.st_mode)]
            total += Removed(max(1, len(files)), sum(state.st_size for state in files))
    return total


@contextlib.contextmanager
def kept_still(store: LocalBlobs, *, alone: bool) -> Iterator[None]:
    """Keep commands apart: those that need every blob to stay, and the one that removes.

    The former share the lock; with ``alone`` nobody else may have it. The service
    takes no part in it. Raises Busy when it is not to be had, NoLocks when the
    file system has none.
    """
    descriptor = os.open(store.folder / "maintenance.lock", os.O_RDONLY | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy from None
        except OSError as error:
            raise NoLocks(error.strerror) from error
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with open_folder(folder) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            raise NoLocks(error.strerror or errno.errorcode.get(error.errno or 0)) from error
        yield


def _digest(name: str, shard: int) -> bytes | None:
    if len(name) != 64 or not name.startswith(f"{shard:02x}"):
        return None
    try:
        digest = bytes.fromhex(name)
    except ValueError:
        return None
    return digest if digest.hex() == name else None
