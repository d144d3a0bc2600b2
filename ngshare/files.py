"""Files that outlast a crash of the machine, and locks between processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO


class Locked(Exception):
    """Another process holds the lock."""


def sync(path: str | os.PathLike[str]) -> None:
    """Wait until a file's bytes, or the names in a folder, are on the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing, durably. Raises OSError."""
    missing = [each for each in (path, *path.parents) if not each.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for made in missing:
        with contextlib.suppress(PermissionError):  # one may make folders where one may not look
            sync(made.parent)


def atomic_write(path: Path, write: Callable[[IO[bytes]], object], *, mode: int = 0o666) -> None:
    """Replace a file, or make it, at once and durably: after a crash it is the old or the new.

    ``write`` is given the file to write to, ``mode`` are its permissions, less the umask. What
    it raises, and OSError, leaves the file as it was.
    """
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.part")
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
        publish(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def publish(temporary: Path, path: Path) -> None:
    """Give a file that is written its name, in the same folder, durably. Raises OSError."""
    sync(temporary)
    temporary.rename(path)
    sync(path.parent)


@contextlib.contextmanager
def file_lock(path: Path, *, shared: bool = False, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a file, which is made if need be, or of a folder.

    The lock is the system's: it goes with the process that holds it, and is inherited by its
    children. With ``shared`` others may share it. Raises Locked when another process holds it
    and ``wait`` is false, and OSError when there can be no lock.
    """
    flags = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
    descriptor = os.open(path, flags, 0o600)
    try:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(descriptor, kind if wait else kind | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Locked from None
        yield
    finally:
        os.close(descriptor)
