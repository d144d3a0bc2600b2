"""The reads that the audit log tells of, kept in memory until they are written together.

A request that only reads never waits for the disk. So a service that is killed may
lose the reads of its last seconds; changes are written with what they change, and
never lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from ngshare.actions.audit import ReadEvent
from ngshare.errors import OutcomeUnknown

log = logging.getLogger("ngshare")

SECONDS = 3.0
"""How long a read stays in memory, unless there are many."""

BATCH = 500
"""So many are written in one transaction, and at once when there are as many."""

LIMIT = 20_000
"""So many are kept while the database does not take them; then the oldest are dropped."""


class ReadLog:
    """Collects reads, and has ``write`` keep them every few seconds."""

    def __init__(
        self,
        write: Callable[[Sequence[ReadEvent]], Awaitable[None]],
        dropped: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._write = write
        self._dropped = dropped
        self._kept: deque[ReadEvent] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None

    def add(self, read: ReadEvent) -> None:
        """Keep a read until it is written. Call it on the event loop."""
        if len(self._kept) >= LIMIT:
            self._kept.popleft()
            self._dropped(1)
        self._kept.append(read)
        if self._writing is not None:
            return  # what is left when that is done is written after it
        if len(self._kept) >= BATCH:
            self._begin()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SECONDS, self._begin)

    async def flush(self) -> None:
        """Write all that is kept. What cannot be written is dropped, and counted."""
        self._stop_timer()
        if self._writing is not None:
            await self._writing
            self._stop_timer()
        if not await self._write_all():
            log.error("Reads that are missing from the audit log: %d", len(self._kept))
            self._dropped(len(self._kept))
            self._kept.clear()

    def _begin(self) -> None:
        self._stop_timer()
        self._writing = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        await self._write_all()
        self._writing = None
        if self._kept:  # came meanwhile, or could not be written
            self._timer = asyncio.get_running_loop().call_later(SECONDS, self._begin)

    async def _write_all(self) -> bool:
        while self._kept:
            batch = [self._kept.popleft() for _ in range(min(BATCH, len(self._kept)))]
            try:
                await self._write(batch)
            except OutcomeUnknown as error:  # twice in the log would be worse than not at all
                log.error("Some reads may be missing from the audit log: %s", error)
            except Exception as error:  # whatever it is, the reads are kept and tried again
                log.error("Reads are not in the audit log yet: %s", error)
                self._kept.extendleft(reversed(batch))
                return False
        return True

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
