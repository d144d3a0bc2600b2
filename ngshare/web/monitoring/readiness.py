"""Whether the service can do its work now: whether database and storage answer in time.

Each is asked in a thread of its own, over a connection of its own, so that the
answer comes also when all that serve requests are stuck. However often it is asked
for, each is asked one question at a time, and at most one a second.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
import time
from collections.abc import Callable

from ngshare.actions import revision
from ngshare.blobs import BlobStore
from ngshare.db import migrate
from ngshare.db.transactions import Database

log = logging.getLogger("ngshare")

FRESH_SECONDS = 1.0
"""For how long an answer is believed."""


class Readiness:
    """Asks the database and the storage how they are. Use it on one event loop."""

    def __init__(self, database: Database, blobs: BlobStore, patience: float) -> None:
        self._database = Database(database.url)
        # Now: a newer version may be installed while this one runs.
        check_database = functools.partial(
            self._database.read, revision.check_revision, migrate.head()
        )
        self._parts = [
            _Part("database", check_database, patience),
            _Part("storage", blobs.check, patience),
        ]

    async def ill(self) -> list[str]:
        """Which parts do not answer, or not in time; none when all is well."""
        well = await asyncio.gather(*(part.well() for part in self._parts))
        return [part.name for part, fine in zip(self._parts, well, strict=True) if not fine]

    def close(self) -> None:
        """Close the connection of its own."""
        self._database.close()


class _Part:
    """One part of the service, and the last that was heard of it."""

    def __init__(self, name: str, question: Callable[[], object], patience: float) -> None:
        self.name = name
        self._question = question
        self._patience = patience
        self._asked: asyncio.Future[bool] | None = None
        self._asked_at = 0.0
        self._answered_at = float("-inf")
        self._was_well = True

    async def well(self) -> bool:
        fresh = time.monotonic() - self._answered_at < FRESH_SECONDS
        if self._asked is None or (self._asked.done() and not fresh):
            self._asked = self._ask()
            self._asked_at = time.monotonic()
        # Whoever comes when it is overdue already does not wait for it again.
        left = self._asked_at + self._patience - time.monotonic()
        done, _ = await asyncio.wait([self._asked], timeout=max(0.0, left))
        well = bool(done) and self._asked.result()
        if not done:
            self._tell(False, "no answer")
        return well

    def _ask(self) -> asyncio.Future[bool]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bool] = loop.create_future()

        def tell(well: bool, reason: str) -> None:
            self._answered_at = time.monotonic()
            self._tell(well, reason)
            if not answer.done():
                answer.set_result(well)

        def ask() -> None:
            try:
                self._question()
                well, reason = True, ""
            except Exception as error:  # whatever it is, the part does not work
                well, reason = False, f"{type(error).__name__}: {error}"
            try:
                loop.call_soon_threadsafe(tell, well, reason)
            except RuntimeError:  # the service has stopped meanwhile
                log.debug("Nobody waits for the readiness of the %s any more", self.name)

        # A daemon: a question that is never answered must not keep the process from ending.
        threading.Thread(target=ask, name=f"readiness of {self.name}", daemon=True).start()
        return answer

    def _tell(self, well: bool, reason: str) -> None:
        """Write a line when something has changed."""
        if well and not self._was_well:
            log.info("The %s answers again", self.name)
        elif not well and self._was_well:
            log.error("Not ready: the %s does not work (%s)", self.name, reason)
        self._was_well = well
