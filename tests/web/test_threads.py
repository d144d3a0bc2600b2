"""The threads that run what the event loop may not wait for."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import weakref
from collections.abc import Iterator

import pytest

from ngshare.web.threads import Threads

pytestmark = pytest.mark.gen_test


@pytest.fixture
def threads() -> Iterator[Threads]:
    threads = Threads(2, "of a test")
    yield threads
    threads.shutdown()


async def test_what_a_function_returns_or_raises_comes_back(threads: Threads) -> None:
    def fail(message: str) -> None:
        raise LookupError(message)

    assert await threads.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(LookupError, match="nothing there"):
        await threads.run(fail, "nothing there")
    assert await threads.run(divmod, 7, 2) == (3, 1)  # the thread goes on


async def test_each_of_many_at_once_has_its_own_result(threads: Threads) -> None:
    numbers = range(2000)
    assert await asyncio.gather(*(threads.run(pow, number, 2) for number in numbers)) == [
        number**2 for number in numbers
    ]


async def test_the_event_loop_goes_on_and_as_many_run_at_once_as_there_are_threads(
    threads: Threads,
) -> None:
    meet = threading.Barrier(3)
    waiting = [asyncio.ensure_future(threads.run(meet.wait, 30)) for _ in range(2)]
    await asyncio.to_thread(meet.wait, 30)  # it would be broken if one waited for the other
    assert sorted(await asyncio.gather(*waiting)) in ([0, 1], [0, 2], [1, 2])


async def test_nobody_runs_what_nobody_waits_for_any_more(threads: Threads) -> None:
    gate, ran = threading.Event(), []
    held = [asyncio.ensure_future(threads.run(gate.wait, 30)) for _ in range(2)]
    given_up = asyncio.ensure_future(threads.run(ran.append, "given up"))
    await asyncio.sleep(0.01)
    given_up.cancel()
    held[0].cancel()  # it has begun: what comes of it is nobody's
    with contextlib.suppress(asyncio.CancelledError):
        await given_up
    gate.set()
    assert await held[1] is True
    await threads.run(ran.append, "wanted")
    assert ran == ["wanted"]


async def test_what_is_done_is_not_kept(threads: Threads) -> None:
    class Body:
        pass

    def refuse(body: Body) -> None:
        raise LookupError("refused")

    body, refused = Body(), Body()
    known = weakref.ref(body), weakref.ref(refused)
    gc.disable()
    try:
        assert await threads.run(id, body)
        with contextlib.suppress(LookupError):
            await threads.run(refuse, refused)
        del body, refused
        await asyncio.sleep(0.05)  # the threads come to wait for their next calls
        assert [each() for each in known] == [None, None]
    finally:
        gc.enable()


async def test_shutdown_lets_end_what_was_asked_for() -> None:
    threads, done = Threads(1, "of a test"), []
    asked = [asyncio.ensure_future(threads.run(done.append, number)) for number in range(50)]
    await asyncio.sleep(0)  # now they are asked for
    await asyncio.to_thread(threads.shutdown)
    assert done == list(range(50))
    assert await asyncio.gather(*asked) == [None] * 50
    with pytest.raises(RuntimeError, match="shut down"):
        await threads.run(divmod, 1, 1)


def test_a_loop_that_is_closed_is_told_nothing() -> None:
    threads, gate = Threads(1, "of a test"), threading.Event()

    async def leave() -> None:
        asyncio.ensure_future(threads.run(gate.wait, 30))  # noqa: RUF006  # nobody waits for it
        await asyncio.sleep(0.01)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave())
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    gate.set()
    threads.shutdown()
