"""Count the bytes of uploads in progress against the quota of their course."""

from __future__ import annotations

import threading
from collections import Counter

from ngshare.actions.quota import over_quota


class Reservations:
    """The bytes that uploads in progress have reserved of each course's quota. Thread-safe.

    They keep the disk within the quotas while many users upload at once. Each process knows only
    its own, which is enough: the sum in the transaction that writes the rows decides
    (:func:`ngshare.actions.quota.enforce_quota`).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bytes: Counter[str] = Counter()

    def reserve(self, course: str, size: int, used: int, limit: int) -> None:
        """Reserve ``size`` bytes, besides the ``used`` bytes that the course has stored already.

        Raises OverQuota when the course would exceed ``limit`` bytes.
        """
        with self._lock:
            if used + self._bytes[course] + size > limit:
                raise over_quota(course, limit)
            self._bytes[course] += size

    def release(self, course: str, size: int) -> None:
        """Release reserved bytes, because their rows are written now or the upload failed."""
        with self._lock:
            self._bytes[course] -= size
            if not self._bytes[course]:
                del self._bytes[course]
