"""The lane of large transfers: nobody alone can hold up another there, and the slow get through."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from urllib.parse import urlencode, urlsplit

import pytest
from tornado.web import Application

from ngshare.errors import Unavailable
from ngshare.web import flow, lanes
from ngshare.web.flow import Held
from ngshare.web.lanes import Lanes, LargeFlow
from ngshare.web.service import Service
from tests.conftest import Api, tree
from tests.hubstub import HubStub
from tests.web.test_flow import nothing, run, settle
from tests.web.world import ASSIGNMENT, CLASSMATE, COURSE, STUDENT

MB = 10**6
LIMIT = 128 * MB
PATIENCE = 30.0
MBIT = 125_000
"""Bytes a second of a connection of 1 Mbit/s."""


class Lane(LargeFlow):
    """The lane with the default settings, at a clock that the test moves."""

    def __init__(self, clock: SimpleNamespace) -> None:
        super().__init__(LIMIT, PATIENCE)
        self.clock = clock
        self.speeds: dict[Held, float] = {}
        self.cut: list[str] = []

    async def begin(self, user: str, size: int, speed: float = 0) -> Held:
        """A transfer at so many bytes a second, which is closed when it is cut."""

        def cut() -> None:
            self.cut.append(user)
            self.release(held)

        held = await self.hold(size, cut, user)
        self.speeds[held] = speed
        return held

    def ask(self, user: str, size: int, speed: float = 0) -> asyncio.Task[Held]:
        return asyncio.ensure_future(self.begin(user, size, speed))

    async def seconds(self, count: int) -> None:
        """Let time pass: transfers move, those that are whole end, and the slow are looked for."""
        for _ in range(count):
            await settle()
            self.clock.now += 1
            for held in list(self._held):
                held.moved = min(held.size, held.moved + int(self.speeds.get(held, 0)))
                if held.moved == held.size:
                    self.release(held)
            self._cut_slow()
            await settle()
            assert self.used <= LIMIT or len(self._held) == 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    clock = SimpleNamespace(now=1000.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(flow, "time", clock)
    monkeypatch.setattr(lanes, "time", clock)
    monkeypatch.setattr(flow, "LOOK", 3600)
    return clock


async def end(*waiting: asyncio.Task[Held]) -> None:
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


@pytest.mark.parametrize("speed", [0, 1 * MB, 20 * MB], ids=["nothing", "1 MB/s", "20 MB/s"])
def test_one_who_announces_much_holds_up_nobody_else(clock: SimpleNamespace, speed: int) -> None:
    async def scenario() -> None:
        lane = Lane(clock)
        again = [lane.ask("mallory", 500 * MB, speed) for _ in range(20)]
        await lane.seconds(2)
        for _ in range(3):
            ada = lane.ask("ada", 37 * MB, 5 * MB)
            await lane.seconds(int(PATIENCE / 2))
            assert ada.done()
            await lane.seconds(10)
            assert ada.result() not in lane._held
            assert "ada" not in lane.cut
        await end(*again)

    run(scenario)


def test_nobody_is_cut_off_for_being_slow_while_nobody_waits(clock: SimpleNamespace) -> None:
    async def scenario() -> None:
        lane = Lane(clock)
        await lane.begin("ada", 500 * MB, MBIT)
        await lane.seconds(600)
        assert lane.cut == []

    run(scenario)


def test_what_keeps_others_out_may_go_on_when_it_is_fast(clock: SimpleNamespace) -> None:
    async def scenario() -> None:
        lane = Lane(clock)
        ada = await lane.begin("ada", 120 * MB, 10 * MB)
        grace = lane.ask("grace", 40 * MB)
        await lane.seconds(13)
        assert ada not in lane._held
        assert grace.done()
        assert lane.cut == []

    run(scenario)


def test_students_on_bad_connections_are_not_made_to_cut_each_other_off(
    clock: SimpleNamespace,
) -> None:
    async def scenario() -> None:
        lane = Lane(clock)
        slow = [await lane.begin(f"slow{n}", 40 * MB, MBIT) for n in range(3)]
        for turn in range(12):  # one after the other, each as long as it has patience
            waiting = lane.ask(f"late{turn}", 40 * MB, MBIT)
            await lane.seconds(int(PATIENCE))
            if waiting.done():
                break
            await end(waiting)
        assert lane.cut == []
        assert not {*slow} & {*lane._held}  # all came whole, after 320 seconds

    run(scenario)


def test_what_stands_still_has_a_third_of_the_others_patience(clock: SimpleNamespace) -> None:
    async def scenario() -> None:
        lane = Lane(clock)
        for user in ("ada", "grace", "mallory"):
            await lane.begin(user, 40 * MB, 0 if user == "mallory" else MBIT)
        late = lane.ask("late", 40 * MB)
        await lane.seconds(9)
        assert lane.cut == []
        await lane.seconds(3)
        assert lane.cut == ["mallory"]
        assert late.done()

    run(scenario)


def test_only_as_many_are_cut_off_as_make_room_and_the_slowest_first(
    clock: SimpleNamespace,
) -> None:
    async def scenario() -> None:
        lane = Lane(clock)
        for n in (3, 1, 2):
            await lane.begin(f"slow{n}", 40 * MB, n * 10_000)
        late = lane.ask("late", 40 * MB, 5 * MB)
        await lane.seconds(15)
        assert late.done()
        assert lane.cut == ["slow1"]

    run(scenario)


def test_one_user_has_one_place_and_whoever_had_one_goes_behind_the_others(
    clock: SimpleNamespace,
) -> None:
    async def scenario() -> None:
        lane = Lane(clock)
        first = await lane.begin("mallory", 100 * MB)
        waiting = [
            lane.ask("mallory", 40 * MB),
            lane.ask("ada", 100 * MB),
            lane.ask("grace", 100 * MB),
        ]
        await settle()
        first.moved = first.size
        lane.release(first)
        await settle()
        assert [task.done() for task in waiting] == [False, True, False]
        waiting.append(lane.ask("ada", 40 * MB))
        lane.release(waiting[1].result())
        await settle()
        assert [task.done() for task in waiting] == [False, True, True, False]
        lane.release(waiting[2].result())
        await settle()
        assert all(task.done() for task in waiting)  # the two fit together
        for task in waiting:
            lane.release(task.result())
        clock.now += 3600
        lane.release(await lane.ask("eve", 100 * MB))
        assert {*lane._served} == {"eve"}  # nobody is remembered for ever

    run(scenario)


def test_whoever_had_a_place_in_vain_goes_behind_all_others(clock: SimpleNamespace) -> None:
    async def scenario() -> None:
        lane = Lane(clock)
        again = [lane.ask("mallory", 500 * MB) for _ in range(5)]
        # Ada's wait for ada's own place, and mallory's do not pass them.
        again += [lane.ask("ada", 40 * MB, 8 * MB) for _ in range(4)]
        await lane.seconds(30)
        assert all(task.done() for task in again[-4:])
        assert lane.cut == ["mallory"]
        await end(*again)

    run(scenario)


def test_who_waits_for_more_room_lets_others_pass_for_a_third_of_the_patience_once(
    clock: SimpleNamespace,
) -> None:
    async def scenario() -> None:
        lane = Lane(clock)
        await lane.begin("slow", 40 * MB, MBIT)
        for attempt in (1, 2):
            much = lane.ask("mallory", 64 * MB, 2 * MBIT)
            more = lane.ask("eve", 64 * MB)  # the two of them do not fit beside
            await lane.seconds(2)
            assert much.done()
            assert not more.done()
            ada = await asyncio.wait_for(lane.ask("ada", 20 * MB), 5)  # and this one does
            lane.release(ada)
            await lane.seconds(9)
            ada_too = lane.ask("ada", 20 * MB)
            await settle()
            assert ada_too.done() == (attempt == 2)
            await end(more)
            lane.release(much.result())
            lane.release(await ada_too)
            await lane.seconds(1)

    run(scenario)


def test_a_slow_transfer_does_not_keep_out_all_that_is_larger_than_the_rest(
    clock: SimpleNamespace,
) -> None:
    async def scenario() -> None:
        lane = Lane(clock)
        await lane.begin("mallory", 40 * MB, MBIT)
        release = lane.ask("instructor", 100 * MB, 10 * MB)
        await lane.seconds(9)
        assert lane.cut == []
        await lane.seconds(6)
        assert lane.cut == ["mallory"]
        assert release.done()
        await lane.seconds(10)
        # Who has made others stand back does not do it again soon.
        await lane.begin("slow", 40 * MB, MBIT)
        again = lane.ask("instructor", 100 * MB)
        await lane.seconds(int(PATIENCE))
        assert lane.cut == ["mallory"]
        await end(again)

    run(scenario)


def test_a_body_of_unknown_length_keeps_its_one_place_while_it_grows(
    clock: SimpleNamespace,
) -> None:
    async def scenario() -> None:
        lane = Lane(clock)
        growing = await lane.begin("ada", 60 * MB)
        await lane.begin("mallory", 60 * MB)
        await lane.grow(growing, 8 * MB)
        assert (growing.size, lane.used) == (68 * MB, 128 * MB)
        more = asyncio.ensure_future(lane.grow(growing, MB))
        first = lane.ask("grace", 40 * MB)
        await lane.seconds(12)  # it takes more than half, but it is we who make it wait
        assert lane.cut == ["mallory"]
        await more
        assert first.done()
        assert lane.used == 109 * MB
        more = asyncio.ensure_future(lane.grow(growing, 100 * MB))
        await settle()
        lane.release(growing)  # the client left while this waited
        lane.release(first.result())
        await more
        assert lane.used == 0

    run(scenario)


def test_a_body_of_unknown_length_is_refused_when_there_is_no_more_room() -> None:
    async def scenario() -> None:
        lane = LargeFlow(100, 0.05)
        growing = await lane.hold(50, nothing, "ada")
        await lane.hold(50, nothing, "grace")
        with pytest.raises(Unavailable):
            await lane.grow(growing, 1)
        lane.release(growing)
        assert lane.used == 50

    run(scenario)


HEAD = (
    b"POST /api/submission/Physics%%20101/ps1 HTTP/1.1\r\nHost: x\r\n"
    b"Authorization: token of-mallory\r\nContent-Type: application/json\r\n%s\r\n\r\n"
)


@pytest.mark.gen_test
@pytest.mark.parametrize("lines", [b"Content-Length: 4000000", b"Transfer-Encoding: chunked"])
async def test_a_large_submission_gets_in_while_another_student_creeps(
    hub_service: Service,
    hub: HubStub,
    api: Api,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    lines: bytes,
) -> None:
    monkeypatch.setattr(flow, "LOOK", 0.1)
    hub_service.uploads = Lanes(4 * 2**20, patience=3)
    hub.add("of-mallory", CLASSMATE)
    hub.add("of-sam", STUDENT)
    _, writer = await asyncio.open_connection("127.0.0.1", urlsplit(api.base_url).port)
    writer.write(HEAD % lines)
    if b"chunked" in lines:  # which takes more than half of the lane, and then nothing comes
        for _ in range(20):
            writer.write(b"10000\r\n" + b"x" * 2**16 + b"\r\n")
    while not hub_service.uploads.large.used:  # noqa: ASYNC110  # it has no event for that
        await asyncio.sleep(0.01)
    headers = {"Authorization": "token of-sam"}
    body = urlencode({"files": tree(a="x" * 10**6)})
    reply = await api.send("POST", "submission", COURSE, ASSIGNMENT, headers=headers, body=body)
    reply.success("timestamp")
    assert "Cut off POST /api/submission/Physics%20101/ps1" in caplog.text
    writer.close()


@pytest.fixture
def app(hub_app: Application) -> Application:
    """The service behind a Hub, where who sends a body is known before it is read."""
    return hub_app
