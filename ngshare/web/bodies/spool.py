"""Spool request bodies as they arrive: small ones in memory, others in temporary files."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import IO, Any

from ngshare.errors import OutOfSpace, Unavailable

MAX_IN_MEMORY = 2**20
"""The largest body, in bytes, that is received in memory."""

TOTAL_MEMORY = 64 * 2**20
"""The most bytes of all bodies in memory at once. Beyond it small bodies go to files, too."""

WRITE_SIZE = 512 * 1024
"""The bytes that are collected before they are written to a file."""

RESERVATION = 2**20
"""The bytes of space that a body reserves at a time, as it arrives. A length that is only announced
reserves no more than one step."""

RunInThread = Callable[..., Awaitable[Any]]


class Spool:
    """The memory and disk space for request bodies.

    folder: where temporary files are created; None for the system's folder. They have no name, so
    a process that is killed leaves none behind. limit: the most bytes of all files together.
    in_thread: runs a function in a worker thread. used, in_memory: the bytes that are reserved.
    """

    def __init__(self, folder: Path | None, limit: int, in_thread: RunInThread) -> None:
        self.folder = folder
        self.limit = limit
        self.in_thread = in_thread
        self.used = 0
        self.in_memory = 0

    def has_memory(self, size: int) -> bool:
        """Return whether memory for a body of ``size`` bytes is available now."""
        return size <= MAX_IN_MEMORY and self.in_memory + size <= TOTAL_MEMORY

    def reserve(self, size: int) -> None:
        """Reserve ``size`` bytes of disk. Raises Unavailable when there are not as many left."""
        if self.used + size > self.limit:
            raise Unavailable(
                "The exchange is receiving too many large requests; please try again",
                retry_after=10,
            )
        self.used += size

    def release(self, size: int) -> None:
        """Release ``size`` reserved bytes of disk."""
        self.used -= size


class Body:
    """The body of one request as it arrives. It must be closed.

    length: the announced size in bytes; None if it is unknown. size: the bytes that have arrived.
    file: the temporary file of a spooled body, once something is written.
    Raises Unavailable when the spool has no space for it.
    """

    def __init__(self, spool: Spool, length: int | None) -> None:
        self.size = 0
        self.file: IO[bytes] | None = None
        self._spool = spool
        self._buffer = bytearray()
        self._reserved = self._in_memory = 0
        self._closed = self._writing = False
        expected = MAX_IN_MEMORY if length is None else length
        self.spooled = not spool.has_memory(expected)
        if self.spooled:
            self._reserve(min(expected, RESERVATION))
        else:
            self._in_memory = expected
            spool.in_memory += expected

    def add(self, chunk: bytes) -> Awaitable[None] | None:
        """Append a chunk. If an awaitable is returned, await it before the next chunk.
        Raises Unavailable when the spool has no space left; awaited, also OutOfSpace.
        """
        self.size += len(chunk)
        self._buffer += chunk
        if not self.spooled:
            if self.size <= MAX_IN_MEMORY:
                return None
            self._move_to_file()
        if self.size > self._reserved:
            self._reserve(max(RESERVATION, self.size - self._reserved))
        return self._write() if len(self._buffer) >= WRITE_SIZE else None

    async def complete(self) -> None:
        """Write the rest of a spooled body to its file. Raises the exceptions of :meth:`add`."""
        if self.spooled:
            await self._write()

    def content(self) -> bytes:
        """Return the content of a body in memory, and free that memory."""
        content = bytes(self._buffer)
        self._buffer.clear()
        return content

    def close(self) -> None:
        """Release the body's memory, space and file. It may be called more than once."""
        if self._closed:
            return
        self._closed = True
        self._buffer.clear()
        self._spool.release(self._reserved)
        self._spool.in_memory -= self._in_memory
        if self.file is not None and not self._writing:
            # Not while a thread writes: the system might reuse the file's descriptor meanwhile.
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
    """Append to a temporary file, and create it if there is none yet. Blocks."""
    if file is None:
        file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115  # closed by Body
    with memoryview(content) as view:
        written = 0
        while written < len(view):
            written += file.write(view[written:])
    return file
