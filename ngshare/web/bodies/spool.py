"""Keep request bodies while they arrive: small ones in memory, the others in temporary files."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import IO, Any

from ngshare.errors import OutOfSpace, Unavailable

SMALL = 2**20
"""Bodies of at most so many bytes are kept in memory."""

MEMORY = 64 * 2**20
"""The most bytes of all bodies that are in memory at once; further small ones go to files too."""

WRITE = 512 * 1024
"""How many bytes are written to a file at once."""

STEP = 2**20
"""In steps of so many bytes a body reserves space as it arrives: only announced, it takes none."""

RunInThread = Callable[..., Awaitable[Any]]


class Spool:
    """The space that request bodies may take.

    folder: where temporary files are made; None for the system's folder. They have no name, so
    a process that is killed leaves none behind.
    limit: the most bytes of all of them.
    """

    def __init__(self, folder: Path | None, limit: int, in_thread: RunInThread) -> None:
        self.folder = folder
        self.limit = limit
        self.in_thread = in_thread
        self.used = 0
        self.in_memory = 0

    def has_memory(self, size: int) -> bool:
        """Whether a body of ``size`` bytes may be kept in memory now."""
        return size <= SMALL and self.in_memory + size <= MEMORY

    def reserve(self, size: int) -> None:
        """Take ``size`` bytes of the space. Raises Unavailable when there are not as many left."""
        if self.used + size > self.limit:
            raise Unavailable(
                "The exchange is receiving too many large requests; please try again",
                retry_after=10,
            )
        self.used += size

    def release(self, size: int) -> None:
        """Give bytes back."""
        self.used -= size


class Body:
    """The body of one request as it arrives. Close it.

    length: how many bytes were announced; None when that is not known.
    Raises Unavailable when the spool has no space for it.
    """

    def __init__(self, spool: Spool, length: int | None) -> None:
        self.size = 0
        self.file: IO[bytes] | None = None
        self._spool = spool
        self._buffer = bytearray()
        self._reserved = self._in_memory = 0
        self._closed = self._writing = False
        expected = SMALL if length is None else length
        self.spooled = not spool.has_memory(expected)
        if self.spooled:
            self._reserve(min(expected, STEP))
        else:
            self._in_memory = expected
            spool.in_memory += expected

    def add(self, chunk: bytes) -> Awaitable[None] | None:
        """Keep a chunk; return what to await before the next, None for nothing."""
        self.size += len(chunk)
        self._buffer += chunk
        if not self.spooled:
            if self.size <= SMALL:
                return None
            self._move_to_file()
        if self.size > self._reserved:
            self._reserve(max(STEP, self.size - self._reserved))
        return self._write() if len(self._buffer) >= WRITE else None

    async def complete(self) -> None:
        """Write what is still in memory of a spooled body. Raises what :meth:`add` does."""
        if self.spooled:
            await self._write()

    def content(self) -> bytes:
        """Take the content of a body that is in memory out of it."""
        content = bytes(self._buffer)
        self._buffer.clear()
        return content

    def close(self) -> None:
        """Give back what the body takes. It can be closed more than once."""
        if self._closed:
            return
        self._closed = True
        self._buffer.clear()
        self._spool.release(self._reserved)
        self._spool.in_memory -= self._in_memory
        if self.file is not None and not self._writing:
            # While a thread writes, the number of its file must not be given to another file.
            self.file.close()

    def _reserve(self, size: int) -> None:
        self._spool.reserve(size)
        self._reserved += size

    def _move_to_file(self) -> None:
        self.spooled = True
        self._spool.in_memory -= self._in_memory
        self._in_memory = 0

    async def _write(self) -> None:
        pending, self._buffer = self._buffer, bytearray()
        self._writing = True
        try:
            self.file = await self._spool.in_thread(_append, self.file, self._spool.folder, pending)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise OutOfSpace(
                    "The exchange's disk is full; nothing of this request was stored"
                ) from error
            raise Unavailable(
                "The exchange cannot store files at the moment; please try again"
            ) from error
        finally:
            self._writing = False
            if self._closed and self.file is not None:  # the request ended meanwhile
                self.file.close()


def _append(file: IO[bytes] | None, folder: Path | None, content: bytearray) -> IO[bytes]:
    """Write to the end of a file, which is made if there is none yet. Runs in a thread."""
    if file is None:
        file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115  # closed by Body
    with memoryview(content) as view:
        written = 0
        while written < len(view):
            written += file.write(view[written:])
    return file
