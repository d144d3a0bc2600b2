"""Count the bytes of uploads in progress against the quota of their course."""

from __future__ import annotations

import threading
from collections import Counter

from ngshare.actions.quota import over_quota


class Reservations:
    """The bytes that uploads in progress add to each course. Safe in threads.

    They keep the disk within the quotas while many upload at once. What decides is the sum in the
    transaction that writes the rows (:func:`ngshare.actions.quota.enforce_quota`), so it is enough
    that each process knows its own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bytes: Counter[str] = Counter()

    def take(self, course: str, size: int, used: int, limit: int) -> None:
        """Reserve ``size`` bytes. Raises OverQuota when the course would exceed ``limit``."""
        with self._lock:
            if used + self._bytes[course] + size > limit:
                raise over_quota(course, limit)
            self._bytes[course] += size

    def give_back(self, course: str, size: int) -> None:
        """Release bytes that are in rows now, or are not kept."""
        with self._lock:
            self._bytes[course] -= size
            if not self._bytes[course]:
                del self._bytes[course]
