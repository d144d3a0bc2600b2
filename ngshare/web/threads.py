"""Threads for what the event loop may not wait for."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, NamedTuple, TypeVar, cast

T = TypeVar("T")


class Call(NamedTuple):
    """Something to run, and who waits for it."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    future: asyncio.Future[Any]


class Done(NamedTuple):
    """What came of a call."""

    future: asyncio.Future[Any]
    result: Any
    error: BaseException | None


class Threads:
    """Threads that run calls, and hand what comes of them back to their event loop.

    All that is done by the time that the loop looks is handed over at once, and it is woken
    once. :class:`concurrent.futures.ThreadPoolExecutor` wakes it for each call, and makes two
    futures and two locks besides.
    For one event loop.
    """

    def __init__(self, count: int, name: str) -> None:
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        self._done: deque[Done] = deque()
        self._told = False
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        # At exit they are not waited for, unless they were shut down: a stuck disk would keep us.
        self._threads = [
            Thread(target=self._work, name=f"{name} {number}", daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """What the function returns, or raises, when a thread ran it."""
        if self._closed:
            raise RuntimeError("these threads were shut down")
        self._loop = asyncio.get_running_loop()
        future = self._loop.create_future()
        self._calls.put(Call(function, args, future))
        try:
            return cast(T, await future)
        finally:
            # An error names this frame, and the future the error: the ring would keep for long
            # what the call was about, as a large body.
            del future

    def shutdown(self) -> None:
        """Let what was asked for end, and the threads."""
        self._closed = True
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            if not call.future.cancelled():  # nobody waits any more for what has not begun
                self._done.append(Done(call.future, *_run(call.function, call.args)))
                self._tell()
            del call  # it may hold a large body

    def _tell(self) -> None:
        if self._told:
            return
        self._told = True
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # it is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._hand_over)

    def _hand_over(self) -> None:
        self._told = False  # first: whatever is done from now on is told again
        while self._done:
            future, result, error = self._done.popleft()
            if future.cancelled():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)


def _run(function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, BaseException | None]:
    """What it returned, or raised. It knows nothing of who waits, whom an error would keep."""
    try:
        return function(*args), None
    except StopIteration as error:  # which no future takes
        return None, RuntimeError(f"the call ended with {error!r}")
    except BaseException as error:
        return None, error
