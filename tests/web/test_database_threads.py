"""Calls that run in the threads of the database."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from ngshare.web.database_threads import DatabaseThreads

pytestmark = pytest.mark.gen_test


@pytest.fixture
def threads() -> Iterator[DatabaseThreads]:
    threads = DatabaseThreads(1)
    yield threads
    threads.shutdown()


async def test_calls_of_one_iteration_are_run_in_order_and_each_gets_its_own_result(
    threads: DatabaseThreads,
) -> None:
    order: list[int] = []

    def call(number: int) -> int:
        order.append(number)
        return 10 * number

    results = await asyncio.gather(*(threads.run(lambda n=n: call(n)) for n in range(100)))
    assert results == [10 * number for number in range(100)]
    assert order == list(range(100))


async def test_an_exception_reaches_its_own_caller_only(threads: DatabaseThreads) -> None:
    def fail() -> None:
        raise LookupError("mine")

    calls = [threads.run(lambda: 1), threads.run(fail), threads.run(lambda: 2)]
    first, error, last = await asyncio.gather(*calls, return_exceptions=True)
    assert (first, last) == (1, 2)
    assert isinstance(error, LookupError)


async def test_a_result_does_not_wait_for_a_slow_call_after_it(
    threads: DatabaseThreads,
) -> None:
    go_on = threading.Event()
    try:
        quick = asyncio.ensure_future(threads.run(lambda: None))
        slow = asyncio.ensure_future(threads.run(go_on.wait))
        await asyncio.wait_for(quick, 10)
        assert not slow.done()
    finally:
        go_on.set()
    await slow


async def test_a_call_whose_client_left_before_it_began_is_not_run(
    threads: DatabaseThreads,
) -> None:
    go_on, ran = threading.Event(), threading.Event()
    first = asyncio.ensure_future(threads.run(go_on.wait))
    second = asyncio.ensure_future(threads.run(ran.set))
    await asyncio.sleep(0.01)
    second.cancel()
    go_on.set()
    await first
    await threads.run(lambda: None)
    assert not ran.is_set()


async def test_several_threads_share_the_calls() -> None:
    threads = DatabaseThreads(3)
    together = threading.Barrier(3, timeout=10)
    try:
        await asyncio.gather(*(threads.run(together.wait) for _ in range(3)))
    finally:
        threads.shutdown()
