"""How many requests one user may send a minute."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from ngshare.errors import TooManyRequests

USERS = 100_000
"""Of so many users, those seen last, the count is kept."""


class Rate:
    """Lets each user send so many requests at once, and as many again in each minute after.

    With 0 there is no limit.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def count(self, user: str) -> None:
        """Count one request. Raises TooManyRequests with the seconds until the next is allowed."""
        if not self.per_minute:
            return
        now = self._clock()
        left = self._left_at(now, user)
        self._left[user] = (left - 1 if left >= 1 else left, now)
        self._left.move_to_end(user)
        if len(self._left) > USERS:
            self._left.popitem(last=False)
        self._refuse_below_one(left)

    def check(self, user: str) -> None:
        """Raise what ``count`` would raise, without counting a request."""
        if self.per_minute:
            self._refuse_below_one(self._left_at(self._clock(), user))

    def _left_at(self, now: float, user: str) -> float:
        left, since = self._left.get(user, (float(self.per_minute), now))
        return min(self.per_minute, left + (now - since) * self.per_minute / 60)

    def _refuse_below_one(self, left: float) -> None:
        if left < 1:
            raise TooManyRequests(
                f"More than {self.per_minute} requests in a minute; please wait",
                retry_after=max(1, math.ceil((1 - left) * 60 / self.per_minute)),
            )
