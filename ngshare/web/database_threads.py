"""Run database calls in worker threads, many for each hand-over between event loop and thread.

Python runs one thread at a time, and waking another one takes as long as a small query. So the
calls that one iteration of the event loop makes are submitted to the threads together, and results
that are ready together are delivered together.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar, cast

T = TypeVar("T")

DELIVER_SECONDS = 0.005
"""The longest that a result waits for those of the next calls, however long these take."""


class Call(NamedTuple):
    """A function without arguments to run in a thread, and the future of its result."""

    function: Callable[[], Any]
    future: asyncio.Future[Any]


class Outcome(NamedTuple):
    """The result of a call, or the exception that it raised."""

    future: asyncio.Future[Any]
    result: Any
    error: BaseException | None


class DatabaseThreads:
    """A pool of ``count`` threads for the calls of one event loop, run in the order of arrival."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._executor = ThreadPoolExecutor(count, "database")
        self._calls: deque[Call] = deque()
        self._outcomes: deque[Outcome] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._submitting = False

    async def run(self, function: Callable[[], T]) -> T:
        """Return the result of ``function``, which may block, or raise what it raises."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._calls.append(Call(function, future))
        if not self._submitting:
            self._submitting = True
            loop.call_soon(self._submit, loop)
        try:
            return cast(T, await future)
        finally:
            # The traceback of an error refers to this frame, and the future to the error.
            del future

    def shutdown(self) -> None:
        """Wait until every call has ended, and end the threads."""
        self._executor.shutdown()

    def _submit(self, loop: asyncio.AbstractEventLoop) -> None:
        self._submitting = False
        for _ in range(min(self._count, len(self._calls))):
            self._executor.submit(self._work, loop)
        if self._timer is None:
            self._timer = loop.call_later(DELIVER_SECONDS, self._deliver_early, loop)

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run calls until there are none left. Runs in a thread."""
        while True:
            try:
                call = self._calls.popleft()
            except IndexError:
                break
            if not call.future.cancelled():  # the client has left before it began
                self._outcomes.append(_run(call))
            del call
        if self._outcomes:
            with contextlib.suppress(RuntimeError):  # the loop is closed: no request waits any more
                loop.call_soon_threadsafe(self._deliver)

    def _deliver_early(self, loop: asyncio.AbstractEventLoop) -> None:
        """Deliver the results that are ready; again and again, while calls wait for a thread.

        Once none wait, each thread delivers when its last call has ended.
        """
        again = bool(self._calls)  # before the delivery: a thread may take the last call meanwhile
        self._timer = loop.call_later(DELIVER_SECONDS, self._deliver_early, loop) if again else None
        self._deliver()

    def _deliver(self) -> None:
        """Give the results that are ready to the requests that wait for them."""
        while self._outcomes:
            future, result, error = self._outcomes.popleft()
            if future.cancelled():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)


def _run(call: Call) -> Outcome:
    try:
        return Outcome(call.future, call.function(), None)
    except BaseException as error:
        return Outcome(call.future, None, error)
