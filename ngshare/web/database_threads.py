"""Run database calls in worker threads, many for each hand-over between event loop and thread.

Python runs one thread at a time, and waking another one takes as long as a small query. So the
calls that one iteration of the event loop makes are handed to the threads together, and results
that are ready together are handed back together.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar, cast

T = TypeVar("T")

DELIVER_SECONDS = 0.005
"""The longest that a result waits in its thread for those of the next calls."""


class Call(NamedTuple):
    """A function without arguments to run in a thread, and the future of its result."""

    function: Callable[[], object]
    future: asyncio.Future[object]


class Outcome(NamedTuple):
    """The result of a call, or the exception that it raised."""

    future: asyncio.Future[object]
    result: object
    error: BaseException | None


class DatabaseThreads:
    """A pool of ``count`` threads for the calls of one event loop, run in the order of arrival."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._executor = ThreadPoolExecutor(count, "database")
        self._calls: deque[Call] = deque()
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

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run calls until there are none left. Runs in a thread."""
        outcomes: list[Outcome] = []
        delivered = time.monotonic()
        while True:
            try:
                call = self._calls.popleft()
            except IndexError:
                break
            if not call.future.cancelled():  # the client has left before it began
                outcomes.append(_run(call))
            del call
            if time.monotonic() - delivered > DELIVER_SECONDS:
                _deliver(loop, outcomes)
                outcomes, delivered = [], time.monotonic()
        _deliver(loop, outcomes)


def _run(call: Call) -> Outcome:
    try:
        return Outcome(call.future, call.function(), None)
    except BaseException as error:
        return Outcome(call.future, None, error)


def _deliver(loop: asyncio.AbstractEventLoop, outcomes: list[Outcome]) -> None:
    if outcomes:
        with contextlib.suppress(RuntimeError):  # the loop is closed: no request waits any more
            loop.call_soon_threadsafe(_set_results, outcomes)


def _set_results(outcomes: list[Outcome]) -> None:
    for future, result, error in outcomes:
        if future.cancelled():
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
