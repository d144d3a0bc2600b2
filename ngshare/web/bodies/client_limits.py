"""Limit the concurrent operations of a user, and the idle time and least speed of a transfer."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from weakref import WeakValueDictionary

CHECK_SECONDS = 2.0
"""The seconds between two checks of all transfers."""

GRACE_SECONDS = 60.0
"""The seconds after which the average speed of a transfer counts."""


class UserSemaphores:
    """A semaphore for each user: at most ``limit`` operations of one user run at once.

    Further operations of that user wait, in the order of their arrival.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        # A semaphore is dropped as soon as no task waits for it or has acquired it.
        self._semaphores: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def of(self, user: str | None) -> AsyncIterator[None]:
        """Acquire the user's semaphore for a block. Without a user there is no limit."""
        if user is None:
            yield
            return
        semaphore = self._semaphores.get(user)
        if semaphore is None:
            semaphore = self._semaphores[user] = asyncio.Semaphore(self.limit)
        async with semaphore:
            yield


class Transfer:
    """A body or a reply in transfer.

    began_at, moved_at: the times of its beginning and of its last progress, by the monotonic clock.
    bytes: the number of bytes transferred. close: closes the connection.
    """

    __slots__ = ("began_at", "bytes", "close", "moved_at")

    def __init__(self, close: Callable[[], None]) -> None:
        self.close = close
        self.began_at = self.moved_at = time.monotonic()
        self.bytes = 0

    def count(self, size: int) -> None:
        """Count bytes that the client sent or received, as progress of the transfer."""
        self.bytes += size
        self.moved_at = time.monotonic()


class SlowConnections:
    """Close connections whose transfer makes no progress, or is too slow.

    idle_seconds: the timeout of a transfer without progress. A reply makes progress when the client
    has received a whole piece (:data:`ngshare.web.in_flight.REPLY_PIECE`). least_speed: bytes per
    second, on average after :data:`GRACE_SECONDS`.
    """

    def __init__(self, idle_seconds: float, least_speed: float) -> None:
        self.idle_seconds = idle_seconds
        self.least_speed = least_speed
        self._transfers: set[Transfer] = set()
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, close: Callable[[], None]) -> Transfer:
        """Watch a transfer from now on; ``close`` is called when it is too slow."""
        transfer = Transfer(close)
        self._transfers.add(transfer)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(CHECK_SECONDS, self._check)
        return transfer

    def forget(self, transfer: Transfer) -> None:
        """Stop watching a transfer."""
        self._transfers.discard(transfer)

    def _check(self) -> None:
        self._timer = None
        now = time.monotonic()
        for transfer in [each for each in self._transfers if self._is_slow(each, now)]:
            self.forget(transfer)
            transfer.close()
        if self._transfers:
            self._timer = asyncio.get_running_loop().call_later(CHECK_SECONDS, self._check)

    def _is_slow(self, transfer: Transfer, now: float) -> bool:
        seconds = now - transfer.began_at - GRACE_SECONDS
        return (
            now - transfer.moved_at > self.idle_seconds
            or transfer.bytes < seconds * self.least_speed
        )
