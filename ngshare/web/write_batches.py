"""Commit the writes that wait at the same time in one transaction, for SQLite.

SQLite runs one writing transaction at a time, and each commit waits for the disk. While one commit
waits, further writes arrive; they share the next one. PostgreSQL does this itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeVar, cast

from ngshare.db.batches import Outcome, run_together
from ngshare.db.transactions import Action, Attempts, Database
from ngshare.errors import Unavailable

T = TypeVar("T")

MAX_BATCH = 16
"""The most writes in one transaction. Reads wait as long as one takes."""


class Write(NamedTuple):
    """An action with its arguments, and the future of its result."""

    action: Action[[], Any]
    future: asyncio.Future[Any]


class WriteBatches:
    """The writes that wait for the database, of one event loop.

    run: awaits attempts at a transaction (:data:`ngshare.db.transactions.Attempts`) in a thread.
    """

    def __init__(self, database: Database, run: Callable[[Attempts[Any]], Awaitable[Any]]) -> None:
        self._database = database
        self._run_attempts = run
        self._waiting: deque[Write] = deque()
        self._task: asyncio.Task[None] | None = None

    async def write(self, action: Action[[], T]) -> T:
        """Return the result of an action once its commit is durable, or raise its error."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(Write(action, future))
        if self._task is None:
            self._task = asyncio.ensure_future(self._run())
        try:
            return cast(T, await future)
        finally:
            # The traceback of an error refers to this frame, and the future to the error.
            del future

    async def _run(self) -> None:
        try:
            while self._waiting:
                size = min(MAX_BATCH, len(self._waiting))
                await self._write_batch([self._waiting.popleft() for _ in range(size)])
        finally:
            self._task = None

    async def _write_batch(self, batch: list[Write]) -> None:
        if len(batch) == 1:
            await self._write_alone(batch[0])
            return
        actions = [write.action for write in batch]
        outcomes: list[Outcome | None]
        try:
            outcomes = await self._run_attempts(
                self._database.write_attempts(run_together, actions)
            )
        except Unavailable as error:  # each of them would fail so
            outcomes = [Outcome(None, error)] * len(batch)
        except Exception:  # because of one of them, perhaps
            outcomes = [None] * len(batch)
        for write, outcome in zip(batch, outcomes, strict=True):
            if outcome is None:
                await self._write_alone(write)
            else:
                _deliver(write.future, outcome)

    async def _write_alone(self, write: Write) -> None:
        try:
            attempts = self._database.write_attempts(write.action)
            outcome = Outcome(await self._run_attempts(attempts), None)
        except Exception as error:
            outcome = Outcome(None, error)
        _deliver(write.future, outcome)


def _deliver(future: asyncio.Future[Any], outcome: Outcome) -> None:
    if future.cancelled():
        return
    if outcome.error is None:
        future.set_result(outcome.result)
    else:
        future.set_exception(outcome.error)
