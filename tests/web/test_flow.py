"""How many bytes may be in memory at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from tornado.web import Application

from ngshare.blobs import LocalBlobs
from ngshare.errors import Unavailable
from ngshare.web import flow
from ngshare.web.flow import Flow, Turns
from ngshare.web.lanes import Lanes
from ngshare.web.service import FILE_THREADS, Service
from tests.conftest import Api, Reply, tree
from tests.hubstub import HubStub
from tests.web.world import ASSIGNMENT, CLASSMATE, COURSE, STUDENT


def run(scenario: Callable[[], Awaitable[Any]]) -> Any:
    # Not asyncio.run: it would let go of the loop that pytest-tornado has left, and not close it.
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(asyncio.wait_for(scenario(), 60))
    finally:
        loop.close()


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


def test_the_more_a_transfer_holds_the_faster_it_must_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "LOOK", 0.01)
    monkeypatch.setattr(flow, "GRACE", 0.0)
    monkeypatch.setattr(flow, "LONGEST", 0.1)
    looks: list[flow.Held] = []
    slower = flow.Held.slower

    def look(held: flow.Held, speed: float) -> bool:
        looks.append(held)
        return slower(held, speed)

    monkeypatch.setattr(flow.Held, "slower", look)

    async def scenario() -> None:
        gate = Flow(limit=10**9, patience=60)
        cut = asyncio.Event()
        large = await gate.hold(10**8, cut.set)
        large.moved = 10**6  # so much that a small one would have hours left
        small = await gate.hold(10**6 + 1, lambda: pytest.fail("this one is fast enough"))
        small.since += 60
        small.moved = 10**6
        looks.clear()
        while looks.count(large) < 3:  # noqa: ASYNC110  # it has no event for that
            await asyncio.sleep(0.001)
        assert not cut.is_set()  # nobody wants what it holds: a bad connection may take its time
        waiting = asyncio.ensure_future(gate.hold(10**9, nothing))
        await cut.wait()
        waiting.cancel()

    run(scenario)


def test_what_came_whole_is_not_cut_off_while_it_is_worked_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flow, "LOOK", 0.01)
    monkeypatch.setattr(flow, "GRACE", 0.0)

    async def scenario() -> None:
        gate = Flow(limit=100, patience=60)
        cut = asyncio.Event()
        whole = await gate.hold(50, lambda: pytest.fail("all of it came"))
        whole.moved = 50
        (await gate.hold(50, cut.set)).moved = 49
        whole.since -= 3600
        await cut.wait()

    run(scenario)


def test_one_user_alone_cannot_take_all_the_room() -> None:
    async def scenario() -> None:
        gate = Flow(limit=100, patience=60, share=30)
        held = [await gate.hold(20, nothing, "mallory")]
        waiting = [asyncio.ensure_future(gate.hold(20, nothing, "mallory")) for _ in range(3)]
        await settle()
        for _ in range(3):  # those who come later do not wait for mallory's
            await gate.hold(20, nothing, "ada")
            gate.release(next(reversed(gate._held)))
        await gate.hold(80, nothing, "grace")  # more than a share, but grace holds nothing else
        assert not any(task.done() for task in waiting)
        gate.release(held[0])
        await settle()
        assert [task.done() for task in waiting] == [True, False, False]
        assert gate.used == 100
        for task in waiting:
            task.cancel()

    run(scenario)


def test_whoever_gave_everything_back_has_a_whole_share_again() -> None:
    async def scenario() -> None:
        gate = Flow(limit=100, patience=0.05, share=30)
        for size in (30, 0, 30):
            held = await gate.hold(size, nothing, "ada")
            gate.release(held)
        held = await gate.hold(30, nothing, "ada")
        with pytest.raises(Unavailable):
            await gate.hold(1, nothing, "ada")
        gate.release(held)
        await gate.hold(30, nothing, "ada")
        assert gate.used == 30

    run(scenario)


def test_large_transfers_do_not_hold_up_small_ones() -> None:
    async def scenario() -> None:
        lanes = Lanes(limit=800, patience=0.05)
        await lanes.of(5000).hold(5000, nothing, "mallory")
        with pytest.raises(Unavailable):
            await lanes.of(101).hold(101, nothing, "ada")
        for user in ("mallory", "ada", "grace", None):
            await lanes.of(100).hold(100, nothing, user)
        with pytest.raises(Unavailable):
            await lanes.of(1).hold(1, nothing, "ada")

    run(scenario)


def test_one_user_has_so_many_turns_at_once_and_others_have_theirs() -> None:
    async def scenario() -> None:
        turns = Turns(2)
        end = asyncio.Event()
        begun: list[str | None] = []

        async def work(user: str | None) -> None:
            async with turns.of(user):
                begun.append(user)
                await end.wait()

        users = ["mallory"] * 5 + ["ada", None, None, None]
        tasks = [asyncio.ensure_future(work(user)) for user in users]
        await settle()
        assert begun == ["mallory", "mallory", "ada", None, None, None]
        tasks[2].cancel()  # it had no turn to give back, and is in nobody's way
        await settle()
        assert begun.count("mallory") == 2
        end.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert begun.count("mallory") == 4
        assert not turns._of
        assert not turns._users

    run(scenario)


class SlowBlobs(LocalBlobs):
    """Takes its time for a content that asks for it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.wait = threading.Event()
        self.begun = threading.Semaphore(0)

    def put(self, contents: Sequence[bytes]) -> list[bytes]:
        if any(content.startswith(b"slow") for content in contents):
            self.begun.release()
            self.wait.wait(60)
        return super().put(contents)


@pytest.mark.gen_test
async def test_one_students_slow_uploads_leave_threads_to_others(
    hub_service: Service, hub: HubStub, api: Api, tmp_path: Path
) -> None:
    hub_service.blobs = blobs = SlowBlobs(tmp_path / "files")
    hub.add("of-mallory", CLASSMATE)
    hub.add("of-sam", STUDENT)

    def submit(who: str, content: str) -> Awaitable[Reply]:
        body = urlencode({"files": tree(a=content)})
        headers = {"Authorization": f"token of-{who}"}
        return api.send("POST", "submission", COURSE, ASSIGNMENT, headers=headers, body=body)

    slow = [asyncio.ensure_future(submit("mallory", f"slow {n}")) for n in range(FILE_THREADS)]
    try:
        await asyncio.to_thread(blobs.begun.acquire)
        (await submit("sam", "my work")).success("timestamp")
    finally:
        blobs.wait.set()
    for reply in await asyncio.gather(*slow):
        reply.success("timestamp")


HEAD = (
    b"POST /api/submission/Physics%%20101/ps1 HTTP/1.1\r\nHost: x\r\n"
    b"Authorization: token of-mallory\r\nContent-Type: application/json\r\n%s\r\n\r\n"
)


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("lines", "connections"),
    [(b"Content-Length: 4000000", 1), (b"Content-Length: 500000", 8)],
    ids=["one large body", "many"],
)
async def test_one_student_who_sends_nothing_holds_up_nobody_else(
    hub_service: Service, hub: HubStub, api: Api, lines: bytes, connections: int
) -> None:
    hub_service.uploads = Lanes(4_000_000, patience=0.2)
    hub.add("of-mallory", CLASSMATE)
    hub.add("of-sam", STUDENT)
    port = urlsplit(api.base_url).port
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(connections)]
    for _, writer in opened:
        writer.write(HEAD % lines)
    await hub.asked(1)
    # What came before this was looked at when it is answered.
    (await api.send("GET", "courses", headers={"Authorization": "token of-mallory"})).success(
        "courses"
    )
    assert hub_service.uploads.small.used + hub_service.uploads.large.used
    headers = {"Authorization": "token of-sam"}
    body = urlencode({"files": tree(a="my work")})
    reply = await api.send("POST", "submission", COURSE, ASSIGNMENT, headers=headers, body=body)
    reply.success("timestamp")
    for _, writer in opened:
        writer.close()
        await writer.wait_closed()


@pytest.fixture
def app(hub_app: Application) -> Application:
    """The service behind a Hub, where who sends a body is known before it is read."""
    return hub_app
