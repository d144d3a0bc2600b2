"""Limit the requests of each user per minute."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from ngshare.errors import TooManyRequests

USERS = 100_000
"""The most users that are tracked. The one who sent nothing for longest is forgotten."""


class RateLimit:
    """A token bucket for each user.

    per_minute: the requests that a user may send at once, and again in each minute after; 0 for
    no limit. clock: returns seconds.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self._clock = clock
        # By user: the requests allowed at the time of the last one, and that time.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def count(self, user: str) -> None:
        """Count one request. Raises TooManyRequests, with the seconds until the next is allowed."""
        if not self.per_minute:
            return
        now = self._clock()
        allowed = self._allowed(now, user)
        self._buckets[user] = (allowed - 1 if allowed >= 1 else allowed, now)
        self._buckets.move_to_end(user)
        if len(self._buckets) > USERS:
            self._buckets.popitem(last=False)
        self._require_one(allowed)

    def check(self, user: str) -> None:
        """Raise what :meth:`count` would raise, without counting a request."""
        if self.per_minute:
            self._require_one(self._allowed(self._clock(), user))

    def _allowed(self, now: float, user: str) -> float:
        """Return how many requests the user may send now."""
        allowed, since = self._buckets.get(user, (float(self.per_minute), now))
        return min(self.per_minute, allowed + (now - since) * self.per_minute / 60)

    def _require_one(self, allowed: float) -> None:
        if allowed < 1:
            raise TooManyRequests(
                f"More than {self.per_minute} requests in a minute; please wait",
                retry_after=max(1, math.ceil((1 - allowed) * 60 / self.per_minute)),
            )
