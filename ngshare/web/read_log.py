"""Buffer audit entries of reads, and write them in batches.

A request that only reads never waits for the disk. So a service that is killed may lose the
entries of its last seconds. Entries of changes are written in the transaction of the change, and
are never lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from ngshare.actions.audit import ReadEvent
from ngshare.errors import OutcomeUnknown

log = logging.getLogger("ngshare")

FLUSH_SECONDS = 3.0
"""The longest time between a read and its entry in the audit log."""

BATCH_SIZE = 500
"""The most entries of one transaction; a buffer that holds as many is written at once."""

BUFFER_LIMIT = 20_000
"""The most entries in the buffer; then the oldest are dropped."""


class ReadLog:
    """A buffer of reads, which ``write`` stores every few seconds; ``dropped`` counts losses."""

    def __init__(
        self,
        write: Callable[[Sequence[ReadEvent]], Awaitable[None]],
        dropped: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._write = write
        self._dropped = dropped
        self._buffer: deque[ReadEvent] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None

    def add(self, read: ReadEvent) -> None:
        """Buffer a read. Call it on the event loop."""
        if len(self._buffer) >= BUFFER_LIMIT:
            self._buffer.popleft()
            self._dropped(1)
        self._buffer.append(read)
        if self._writing is not None:
            return  # the next batch is scheduled when that one is written
        if len(self._buffer) >= BATCH_SIZE:
            self._begin()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._begin)

    async def flush(self) -> None:
        """Write the whole buffer. Entries that cannot be written are dropped and counted."""
        self._stop_timer()
        if self._writing is not None:
            await self._writing
            self._stop_timer()
        if not await self._write_all():
            log.error("Reads that are missing from the audit log: %d", len(self._buffer))
            self._dropped(len(self._buffer))
            self._buffer.clear()

    def _begin(self) -> None:
        self._stop_timer()
        self._writing = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        await self._write_all()
        self._writing = None
        if self._buffer:  # reads since then, or that could not be written
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._begin)

    async def _write_all(self) -> bool:
        while self._buffer:
            batch = [self._buffer.popleft() for _ in range(min(BATCH_SIZE, len(self._buffer)))]
            try:
                await self._write(batch)
            except OutcomeUnknown as error:  # a duplicate would be worse than a gap
                log.error("Some reads may be missing from the audit log: %s", error)
            except Exception as error:  # of any kind: the batch is put back and written later
                log.error("Reads are not in the audit log yet: %s", error)
                self._buffer.extendleft(reversed(batch))
                return False
        return True

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
