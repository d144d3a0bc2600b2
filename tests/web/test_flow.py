"""How many bytes may be in memory at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ngshare.errors import Unavailable
from ngshare.web import flow
from ngshare.web.flow import Flow


def run(scenario: Callable[[], Awaitable[Any]]) -> Any:
    return asyncio.run(asyncio.wait_for(scenario(), 60))  # type: ignore[arg-type]


def nothing() -> None:
    """What is called when a transfer is cut, where none is."""


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_up_to_the_limit_all_go_on_and_the_others_wait_in_order() -> None:
    async def scenario() -> None:
        gate = Flow(limit=100, patience=60)
        first = await gate.hold(60, nothing)
        second = await gate.hold(40, nothing)
        order: list[int] = []

        async def wait(number: int, size: int) -> None:
            await gate.hold(size, nothing)
            order.append(number)

        # The last would have room before the one in front of it, and must not pass it.
        waiting = [asyncio.ensure_future(wait(n, size)) for n, size in enumerate((50, 60, 40))]
        await settle()
        gate.release(second)
        await settle()
        assert order == []
        gate.release(first)
        gate.release(first)  # harmless
        await settle()
        assert order == [0]
        assert gate.used == 50
        for task in waiting:
            task.cancel()

    run(scenario)


def test_a_transfer_beyond_the_limit_goes_on_alone() -> None:
    async def scenario() -> None:
        gate = Flow(limit=100, patience=0.05)
        huge = await gate.hold(1000, nothing)
        with pytest.raises(Unavailable):
            await gate.hold(1, nothing)
        gate.release(huge)
        await gate.hold(1, nothing)
        with pytest.raises(Unavailable):
            await gate.hold(1000, nothing)

    run(scenario)


def test_who_waits_too_long_is_told_when_to_come_back_and_holds_nothing() -> None:
    async def scenario() -> None:
        gate = Flow(limit=100, patience=0.05)
        held = await gate.hold(100, nothing)
        with pytest.raises(Unavailable) as refused:
            await gate.hold(50, nothing)
        assert refused.value.retry_after == 10
        gate.release(held)
        assert gate.used == 0
        await gate.hold(100, nothing)

    run(scenario)


def test_one_that_gives_up_lets_those_behind_it_pass() -> None:
    async def scenario() -> None:
        gate = Flow(limit=100, patience=60)
        await gate.hold(60, nothing)
        large = asyncio.ensure_future(gate.hold(90, nothing))
        small = asyncio.ensure_future(gate.hold(40, nothing))
        await settle()
        large.cancel()
        await small
        assert gate.used == 100

    run(scenario)


def test_what_stands_still_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "LOOK", 0.01)
    monkeypatch.setattr(flow, "GRACE", 0.05)
    monkeypatch.setattr(flow, "SLOWEST", 1.0)

    async def scenario() -> None:
        gate = Flow(limit=100, patience=60)
        cut = asyncio.Event()
        moving = await gate.hold(50, lambda: pytest.fail("this one moves"))
        moving.moved = 10_000
        await gate.hold(50, cut.set)
        await cut.wait()

    run(scenario)
