"""Whether the database's server can be reached; the log hears when it goes and when it is back."""

from __future__ import annotations

import logging
import threading
import time

log = logging.getLogger("ngshare")

REFUSE_SECONDS = 1.0
"""After a connection could not be made, so long none is tried and every request is refused.

Else those who wait for a server that does not even refuse would queue up behind each other.
"""

REMIND_SECONDS = 60.0
"""How often the log says again that the database does not answer."""


class Outage:
    """What is known of whether connections can be made. Threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun: float | None = None
        self._refuse_until = 0.0
        self._said = ""
        self._remind_at = 0.0

    @property
    def just_now(self) -> bool:
        """Whether a connection could not be made a moment ago."""
        return self._begun is not None and time.monotonic() < self._refuse_until

    def begin(self, reason: str) -> None:
        """A connection could not be made."""
        now = time.monotonic()
        with self._lock:
            if self._begun is None:
                self._begun = now
            self._refuse_until = now + REFUSE_SECONDS
            if reason == self._said and now < self._remind_at:
                return
            self._said, self._remind_at = reason, now + REMIND_SECONDS
        log.error(
            "The database does not answer: %s. Requests get 503 until it does. See that it runs "
            "and can be reached from here; ngshare tries again by itself.",
            reason,
        )

    def end(self) -> None:
        """A connection was made."""
        if self._begun is None:
            return
        with self._lock:
            begun, self._begun, self._said = self._begun, None, ""
        if begun is not None:
            log.info("The database answers again, after %.0f s", time.monotonic() - begun)
