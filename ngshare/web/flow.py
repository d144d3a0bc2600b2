"""How many bytes of requests and replies may be in memory at once, whatever the clients do."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from ngshare.errors import Unavailable

GRACE = 30.0
"""Seconds that a transfer may stand still before its speed counts."""

SLOWEST = 1000.0
"""Bytes a second. What is slower on the whole is cut off: a few such could fill the memory."""

LONGEST = 600.0
"""Seconds that a transfer may take on the whole while others wait for the room that it holds."""

LOOK = 5.0
"""Seconds between two looks at how fast transfers are."""


class Held:
    """What one transfer holds of a :class:`Flow`. Set ``moved`` to the bytes that came or went."""

    def __init__(self, size: int, cut: Callable[[], None]) -> None:
        self.size = size
        self.moved = 0
        self.cut = cut
        self.since = time.monotonic()

    def too_slow(self, now: float, *, wanted: bool) -> bool:
        """Whether it stands, or creeps while what it holds is wanted by others.

        What has all moved is being worked on.
        """
        if self.moved >= self.size:
            return False
        slowest = max(SLOWEST, self.size / LONGEST) if wanted else SLOWEST
        return self.moved < (now - self.since - GRACE) * slowest


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    size: int
    user: str | None
    turn: asyncio.Future[None]


class Flow:
    """Lets transfers go on while the sum of their sizes stays below ``limit``, in bytes.

    The others wait in the order in which they came, ``patience`` seconds at most. One that
    is larger than the limit goes on alone. Of one user no more than ``share`` bytes go on,
    or one transfer; who waits for room of their own holds up nobody else.
    With ``hurry`` all must be as fast as if others waited.
    For one event loop; not for threads.
    """

    def __init__(
        self, limit: int, patience: float, share: int | None = None, *, hurry: bool = False
    ) -> None:
        self.limit = limit
        self.patience = patience
        self.share = limit if share is None else share
        self.hurry = hurry
        self.used = 0
        self._held: dict[Held, str | None] = {}
        self._of: Counter[str] = Counter()
        self._waiting: deque[_Waiting] = deque()
        self._look: asyncio.TimerHandle | None = None

    async def hold(self, size: int, cut: Callable[[], None], user: str | None = None) -> Held:
        """Wait until ``size`` bytes have room. ``cut`` is called when the transfer is too slow.

        ``user`` is whose share it counts for. Raises Unavailable when there was no room for
        too long.
        """
        if self._waiting or not self._may_go(size, user):
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            entry = _Waiting(size, user, turn)
            self._waiting.append(entry)
            self._admit()
            try:
                await asyncio.wait_for(turn, self.patience)
            except asyncio.TimeoutError:
                raise Unavailable(
                    "The exchange is busy with other transfers; please try again", retry_after=10
                ) from None
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():  # too late: the room was given already
                    self._take(-size, user)
                raise
            finally:
                if entry in self._waiting:
                    self._waiting.remove(entry)
                self._admit()
        else:
            self._take(size, user)
        held = Held(size, cut)
        self._held[held] = user
        self._watch()
        return held

    def release(self, held: Held) -> None:
        """Give back what a transfer held; once is enough, twice does no harm."""
        if held in self._held:
            self._take(-held.size, self._held.pop(held))
            self._admit()

    def _take(self, size: int, user: str | None) -> None:
        self.used += size
        if user is not None:
            self._of[user] += size
            if not self._of[user]:
                del self._of[user]

    def _has_room(self, size: int) -> bool:
        return self.used == 0 or self.used + size <= self.limit

    def _has_share(self, size: int, user: str | None) -> bool:
        return user is None or user not in self._of or self._of[user] + size <= self.share

    def _may_go(self, size: int, user: str | None) -> bool:
        return self._has_room(size) and self._has_share(size, user)

    def _admit(self) -> None:
        for entry in list(self._waiting):
            if not self._has_share(entry.size, entry.user):
                continue
            if not self._has_room(entry.size):
                return
            self._waiting.remove(entry)
            if not entry.turn.done():
                self._take(entry.size, entry.user)
                entry.turn.set_result(None)

    def _watch(self) -> None:
        if self._look is None and self._held:
            self._look = asyncio.get_running_loop().call_later(LOOK, self._cut_slow)

    def _cut_slow(self) -> None:
        self._look = None
        now = time.monotonic()
        wanted = self.hurry or bool(self._waiting)
        for held in [held for held in self._held if held.too_slow(now, wanted=wanted)]:
            held.cut()
        self._watch()


class Lanes:
    """Half of ``limit`` for large transfers, half for the others, which these cannot hold up.

    Large is what takes more than an eighth of it, which is also the share of one user
    among the others.
    """

    def __init__(self, limit: int, patience: float) -> None:
        self.share = max(1, limit // 8)
        self.small = Flow(limit // 2, patience, self.share)
        self.large = Flow(limit // 2, patience)

    def of(self, size: int) -> Flow:
        """Where a transfer of so many bytes goes."""
        return self.large if size > self.share else self.small


class Turns:
    """Has no more than so many things of one user done at once; their others wait in order.

    For one event loop; not for threads.
    """

    def __init__(self, each: int) -> None:
        self._each = each
        self._of: dict[str, asyncio.Semaphore] = {}
        self._users: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def of(self, user: str | None) -> AsyncIterator[None]:
        """Wait for one of the user's turns. Whoever is not known yet waits for none."""
        if user is None:
            yield
            return
        turns = self._of.setdefault(user, asyncio.Semaphore(self._each))
        self._users[user] += 1
        try:
            async with turns:
                yield
        finally:
            self._users[user] -= 1
            if not self._users[user]:
                del self._users[user], self._of[user]
