"""Check whether database and storage answer in time.

Each check runs in a thread of its own, over a connection of its own, so that it ends even when all
threads that serve requests are stuck. Each check runs at most once at a time, and at most once a
second; requests in between get its last result.
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
"""The seconds for which a result is reused."""


class Readiness:
    """The checks of database and storage. Use it on one event loop.

    patience: the seconds that a request for readiness waits for them.
    """

    def __init__(self, database: Database, blobs: BlobStore, patience: float) -> None:
        self._database = Database(database.url)
        # Read now, because a newer version may be installed while this one runs.
        check_database = functools.partial(
            self._database.read, revision.check_revision, migrate.head()
        )
        self._checks = [
            _Check("database", check_database, patience),
            _Check("storage", blobs.check, patience),
        ]

    async def find_failed(self) -> list[str]:
        """Return the names of the checks that fail, or do not end in time."""
        passed = await asyncio.gather(*(check.passes() for check in self._checks))
        return [check.name for check, ok in zip(self._checks, passed, strict=True) if not ok]

    def close(self) -> None:
        """Close the connection of the database check."""
        self._database.close()


class _Check:
    """One check, and its last result.

    function: raises an exception if the check fails. It is called in a thread.
    """

    def __init__(self, name: str, function: Callable[[], object], patience: float) -> None:
        self.name = name
        self._function = function
        self._patience = patience
        self._running: asyncio.Future[bool] | None = None
        self._started_at = 0.0
        self._ended_at = float("-inf")
        self._passed = True

    async def passes(self) -> bool:
        """Return whether the check passes in time; run it unless there is a fresh result."""
        fresh = time.monotonic() - self._ended_at < FRESH_SECONDS
        if self._running is None or (self._running.done() and not fresh):
            self._running = self._start()
            self._started_at = time.monotonic()
        # A check that is overdue already is not waited for again.
        left = self._started_at + self._patience - time.monotonic()
        done, _ = await asyncio.wait([self._running], timeout=max(0.0, left))
        passed = bool(done) and self._running.result()
        if not done:
            self._log_change(False, "no answer")
        return passed

    def _start(self) -> asyncio.Future[bool]:
        """Run the check in a thread; return a future whose result is True if it passes."""
        loop = asyncio.get_running_loop()
        result: asyncio.Future[bool] = loop.create_future()

        def set_result(passed: bool, reason: str) -> None:
            self._ended_at = time.monotonic()
            self._log_change(passed, reason)
            if not result.done():
                result.set_result(passed)

        def run() -> None:
            try:
                self._function()
                passed, reason = True, ""
            except Exception as error:  # of any kind: the check fails
                passed, reason = False, f"{type(error).__name__}: {error}"
            try:
                loop.call_soon_threadsafe(set_result, passed, reason)
            except RuntimeError:  # the service has stopped meanwhile
                log.debug("Nobody waits for the readiness of the %s any more", self.name)

        # A daemon: a check that never ends must not keep the process from ending.
        threading.Thread(target=run, name=f"readiness of {self.name}", daemon=True).start()
        return result

    def _log_change(self, passed: bool, reason: str) -> None:
        """Log a line when the result differs from the one before."""
        if passed and not self._passed:
            log.info("The %s answers again", self.name)
        elif not passed and self._passed:
            log.error("Not ready: the %s does not work (%s)", self.name, reason)
        self._passed = passed
