"""Durable writes, and file locks between processes."""

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


def fsync(path: str | os.PathLike[str]) -> None:
    """Flush a file's content, or a folder's entries, to disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Create a folder durably, with its missing parents. Raises OSError."""
    missing = [each for each in (path, *path.parents) if not each.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for made in missing:
        # A parent may be writable and not readable.
        with contextlib.suppress(PermissionError):
            fsync(made.parent)


def atomic_write(path: Path, write: Callable[[IO[bytes]], object], *, mode: int = 0o666) -> None:
    """Create or replace a file atomically and durably.

    A crash leaves the old file or the new one.

    write: is called with the open file, and writes the content.
    mode: the permissions of the file, less the umask.

    Raises whatever ``write`` raises, and OSError; the old file is unchanged then.
    """
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.part")
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
        durable_rename(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def durable_rename(temporary: Path, path: Path) -> None:
    """Flush a finished file to disk, and rename it within its folder durably. Raises OSError."""
    fsync(temporary)
    temporary.rename(path)
    fsync(path.parent)


@contextlib.contextmanager
def file_lock(path: Path, *, shared: bool = False, wait: bool = True) -> Iterator[None]:
    """Hold an advisory lock (``flock``) on a folder, or on a file, which is created if missing.

    The system releases the lock when the process ends; child processes inherit it.

    shared: take a shared lock instead of an exclusive one.
    wait: wait for the lock instead of raising Locked when another process holds it.

    Raises Locked, and OSError when the file cannot be opened or locked.
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
