"""How many bytes of requests and replies may be in memory at once, whatever the clients do."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from ngshare.errors import Unavailable

GRACE = 30.0
"""Seconds that a transfer may stand still before its speed counts."""

SLOWEST = 1000.0
"""Bytes a second. What is slower on the whole is cut off: a few such could fill the memory."""

LOOK = 5.0
"""Seconds between two looks at how fast transfers are."""


class Held:
    """What one transfer holds of a :class:`Flow`. Set ``moved`` to the bytes that came or went."""

    def __init__(self, size: int, cut: Callable[[], None]) -> None:
        self.size = size
        self.moved = 0
        self.cut = cut
        self.since = time.monotonic()

    def too_slow(self, now: float) -> bool:
        """Whether it stands, or creeps."""
        return self.moved < (now - self.since - GRACE) * SLOWEST


class Flow:
    """Lets transfers go on while the sum of their sizes stays below ``limit``, in bytes.

    The others wait in the order in which they came, ``patience`` seconds at most. One that
    is larger than the limit goes on alone. For one event loop; not for threads.
    """

    def __init__(self, limit: int, patience: float) -> None:
        self.limit = limit
        self.patience = patience
        self.used = 0
        self._held: set[Held] = set()
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._look: asyncio.TimerHandle | None = None

    async def hold(self, size: int, cut: Callable[[], None]) -> Held:
        """Wait until ``size`` bytes have room. ``cut`` is called when the transfer is too slow.

        Raises Unavailable when there was no room for too long.
        """
        if self._waiting or not self._has_room(size):
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            entry = (size, turn)
            self._waiting.append(entry)
            try:
                await asyncio.wait_for(turn, self.patience)
            except asyncio.TimeoutError:
                raise Unavailable(
                    "The exchange is busy with other transfers; please try again", retry_after=10
                ) from None
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():  # too late: the room was given already
                    self.used -= size
                raise
            finally:
                if entry in self._waiting:
                    self._waiting.remove(entry)
                self._admit()
        else:
            self.used += size
        held = Held(size, cut)
        self._held.add(held)
        self._watch()
        return held

    def release(self, held: Held) -> None:
        """Give back what a transfer held; once is enough, twice does no harm."""
        if held in self._held:
            self._held.remove(held)
            self.used -= held.size
            self._admit()

    def _has_room(self, size: int) -> bool:
        return self.used == 0 or self.used + size <= self.limit

    def _admit(self) -> None:
        while self._waiting and self._has_room(self._waiting[0][0]):
            size, turn = self._waiting.popleft()
            if not turn.done():
                self.used += size
                turn.set_result(None)

    def _watch(self) -> None:
        if self._look is None and self._held:
            self._look = asyncio.get_running_loop().call_later(LOOK, self._cut_slow)

    def _cut_slow(self) -> None:
        self._look = None
        now = time.monotonic()
        for held in [held for held in self._held if held.too_slow(now)]:
            held.cut()
        self._watch()
