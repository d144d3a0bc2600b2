"""Track whether the database server is reachable, and log when an outage begins and ends."""

from __future__ import annotations

import logging
import threading
import time

log = logging.getLogger("ngshare")

REFUSE_SECONDS = 1.0
"""The time after a failed connection attempt in which requests are refused without a new attempt.

Otherwise each request would wait for a server that does not even refuse connections.
"""

REMIND_SECONDS = 60.0
"""Interval of repeated log lines during an outage."""


class Outage:
    """The state of the connection to the database server. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun: float | None = None
        self._refuse_until = 0.0
        self._logged_reason = ""
        self._remind_at = 0.0

    @property
    def is_recent(self) -> bool:
        """True if a connection attempt failed within the last ``REFUSE_SECONDS``."""
        return self._begun is not None and time.monotonic() < self._refuse_until

    def begin(self, reason: str) -> None:
        """Record a failed connection attempt, and log its reason.

        The same reason is logged again only every ``REMIND_SECONDS``.
        """
        now = time.monotonic()
        with self._lock:
            if self._begun is None:
                self._begun = now
            self._refuse_until = now + REFUSE_SECONDS
            if reason == self._logged_reason and now < self._remind_at:
                return
            self._logged_reason, self._remind_at = reason, now + REMIND_SECONDS
        log.error(
            "The database does not answer: %s. Requests get 503 until it does. See that it runs "
            "and can be reached from here; ngshare tries again by itself.",
            reason,
        )

    def end(self) -> None:
        """Record a successful connection, and log the end of an outage."""
        if self._begun is None:
            return
        with self._lock:
            begun, self._begun, self._logged_reason = self._begun, None, ""
        if begun is not None:
            log.info("The database answers again, after %.0f s", time.monotonic() - begun)
