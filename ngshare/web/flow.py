"""How many bytes of requests and replies may be in memory at once, whatever the clients do."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from ngshare.errors import Unavailable

GRACE = 30.0
"""Seconds that a transfer may stand still before its speed counts."""

SLOWEST = 1000.0
"""Bytes a second. What is slower on the whole is cut off: a few such could fill the memory."""

LONGEST = 600.0
"""Seconds that a transfer may take on the whole while others wait for the room that it holds."""

LOOK = 2.0
"""Seconds between two looks at how fast transfers are."""


class Held:
    """What one transfer holds of a :class:`Flow`. Set ``moved`` to the bytes that came or went."""

    def __init__(self, size: int, cut: Callable[[], None]) -> None:
        self.size = size
        self.moved = 0
        self.cut = cut
        self.since = time.monotonic()
        self.ours = False
        """Whether it is our own work that takes the time now, and not the client."""
        self.wanted: tuple[float, int] | None = None
        """Since when others wait for what it holds, and how much had moved by then."""

    @property
    def whole(self) -> bool:
        """Whether nothing more is to come of the client: what has all moved is worked on by us."""
        return self.ours or self.moved >= self.size

    def begin(self) -> None:
        """From now on it is the client who takes the time."""
        self.ours, self.since, self.wanted = False, time.monotonic(), None

    def slower(self, speed: float) -> bool:
        """Whether it has been slower on the whole, in bytes a second, after some grace."""
        return not self.whole and self.moved < (time.monotonic() - self.since - GRACE) * speed

    def slower_since_wanted(self, speed: float, grace: float) -> bool:
        """The same, of the time since others wait for what it holds."""
        if self.whole or self.wanted is None:
            return False
        since, before = self.wanted
        return self.moved - before < (time.monotonic() - since - grace) * speed


@dataclass(slots=True, eq=False)
class Waiting:
    """A transfer that waits for room, or for more of it when it is ``growing``."""

    size: int
    user: str | None
    growing: Held | None
    turn: asyncio.Future[None]
    since: float
    due: bool = False
    """Whether it waited for so long that nobody may pass it any more."""


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
        self._waiting: deque[Waiting] = deque()
        self._look: asyncio.TimerHandle | None = None

    async def hold(self, size: int, cut: Callable[[], None], user: str | None = None) -> Held:
        """Wait until ``size`` bytes have room. ``cut`` is called when the transfer is too slow.

        ``user`` is whose share it counts for. Raises Unavailable when there was no room for
        too long.
        """
        await self._wait(size, user, None)
        held = Held(size, cut)
        self._held[held] = user
        self._watch()
        return held

    async def grow(self, held: Held, more: int) -> None:
        """Wait until ``more`` bytes have room besides what a transfer holds, and hold them too.

        Raises Unavailable as ``hold`` does.
        """
        user = self._held[held]
        held.ours = True
        await self._wait(more, user, held)
        held.ours = False
        if held in self._held:
            held.size += more
        else:  # it ended meanwhile
            self._take(-more, user)
            self._admit()

    def release(self, held: Held) -> None:
        """Give back what a transfer held; once is enough, twice does no harm."""
        if held in self._held:
            self._take(-held.size, self._held.pop(held))
            self._admit()

    async def _wait(self, size: int, user: str | None, growing: Held | None) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = Waiting(size, user, growing, turn, time.monotonic())
        self._waiting.append(entry)
        self._admit()
        if turn.done():
            return
        self._note_wanted()
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

    def _take(self, size: int, user: str | None) -> None:
        self.used += size
        if user is not None:
            self._of[user] += size
            if not self._of[user]:
                del self._of[user]

    def _has_room(self, entry: Waiting) -> bool:
        return self.used == self._own(entry) or self.used + entry.size <= self.limit

    def _has_share(self, entry: Waiting) -> bool:
        if entry.user is None:
            return True
        of_user = self._of.get(entry.user, 0)
        return of_user == self._own(entry) or of_user + entry.size <= self.share

    def _own(self, entry: Waiting) -> int:
        """How much it holds already."""
        return entry.growing.size if entry.growing in self._held else 0

    def _in_turn(self) -> list[Waiting]:
        """Those who wait, in the order in which they are served."""
        return list(self._waiting)

    def _may_be_passed(self, entry: Waiting) -> bool:
        """Whether others go on for whom there is room, when there is none for this one yet."""
        return False

    def _admit(self) -> None:
        for entry in self._in_turn():
            if not self._has_share(entry):
                continue
            if self._has_room(entry):
                self._waiting.remove(entry)
                if not entry.turn.done():
                    self._take(entry.size, entry.user)
                    entry.turn.set_result(None)
            elif not self._may_be_passed(entry):
                return

    def _watch(self) -> None:
        if self._look is None and self._held:
            self._look = asyncio.get_running_loop().call_later(LOOK, self._cut_slow)

    def _cut_slow(self) -> None:
        self._look = None
        self._note_wanted()
        for held in self._too_slow():
            held.cut()
        self._watch()

    def _kept_out(self) -> Waiting | None:
        """Who is the first to wait for room that others hold, rather than for their own share."""
        return next((entry for entry in self._in_turn() if self._has_share(entry)), None)

    def _note_wanted(self) -> None:
        wanted = self.hurry or self._kept_out() is not None
        for held in self._held:
            if not wanted:
                held.wanted = None
            elif held.wanted is None:
                held.wanted = (time.monotonic(), held.moved)

    def _too_slow(self) -> list[Held]:
        """What stands still, or creeps while what it holds is wanted by others."""
        return [
            held
            for held in self._held
            if held.slower(max(SLOWEST, held.size / LONGEST) if held.wanted else SLOWEST)
        ]


class Turns:
    """Has no more than so many things of one user done at once; their others wait in order.

    For one event loop; not for threads.
    """

    def __init__(self, each: int) -> None:
        self._each = each
        self._of: dict[str, asyncio.Semaphore] = {}
        self._users: Counter[str] = Counter()

    def of(self, user: str | None) -> Turn:
        """Wait for one of the user's turns. Whoever is not known yet waits for none."""
        return Turn(self, user)

    async def take(self, user: str) -> None:
        """Wait for a turn, which :meth:`give_back` ends."""
        turns = self._of.setdefault(user, asyncio.Semaphore(self._each))
        self._users[user] += 1
        try:
            await turns.acquire()
        except BaseException:
            self._forget(user)
            raise

    def give_back(self, user: str) -> None:
        """End a turn."""
        self._of[user].release()
        self._forget(user)

    def _forget(self, user: str) -> None:
        self._users[user] -= 1
        if not self._users[user]:
            del self._users[user], self._of[user]


class Turn:
    """One turn: ``async with turns.of(user)``. Each request has one; a generator takes longer."""

    __slots__ = ("_turns", "_user")

    def __init__(self, turns: Turns, user: str | None) -> None:
        self._turns = turns
        self._user = user

    async def __aenter__(self) -> None:
        if self._user is not None:
            await self._turns.take(self._user)

    async def __aexit__(self, *error: object) -> None:
        if self._user is not None:
            self._turns.give_back(self._user)
