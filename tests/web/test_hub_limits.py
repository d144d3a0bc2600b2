"""Unknown tokens take little of the Hub's time from those who are known, or from a class."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.web import Application

from ngshare.errors import Unavailable
from ngshare.web.auth import lookup_limits
from ngshare.web.auth.hub_client import SharedHubAuth
from tests.conftest import Api, Reply
from tests.hubstub import HubStub
from tests.web.test_auth import BROWSER, COOKIE, cookies, token
from tests.web.world import COURSE, STUDENT

pytestmark = pytest.mark.gen_test(timeout=60)

HERE, ELSEWHERE = "192.0.2.1", "198.51.100.7"
REJECTED = lookup_limits.REJECTED_PER_MINUTE


@pytest.fixture
def app(hub_app: Application, hub: HubStub) -> Application:
    hub.add("of the student", STUDENT)
    return hub_app


@pytest.fixture
def http_client(io_loop: Any, http_server: Any) -> Iterator[AsyncHTTPClient]:
    """A client of its own: JupyterHub 5's would wait for connections behind the tests' requests."""
    client = AsyncHTTPClient(force_instance=True, max_clients=30)  # type: ignore[call-arg]
    yield client
    client.close()


@pytest.fixture(autouse=True)
def clock(hub_auth: SharedHubAuth, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The clock by which the limit of an address recovers; advance ``clock.now``."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(hub_auth._limits._rejected, "_clock", lambda: clock.now)
    return clock


async def courses(api: Api, value: str, address: str = HERE) -> Reply:
    headers = {**token(value), "X-Forwarded-For": address}
    return await api.send("GET", "courses", headers=headers)


async def guess(api: Api, count: int, address: str = HERE, start: int = 0) -> list[int]:
    """Send so many made-up tokens at once, and return the statuses."""
    numbers = range(start, start + count)
    replies = [courses(api, f"guess {address} {number}", address) for number in numbers]
    return [reply.status for reply in await asyncio.gather(*replies)]


def flood(hub_auth: SharedHubAuth, count: int) -> list[asyncio.Task[Any]]:
    return [
        asyncio.ensure_future(hub_auth.user_for_token(f"flood {number}", sync=False))
        for number in range(count)
    ]


async def test_of_many_unknown_tokens_a_few_are_looked_up_at_once(
    hub: HubStub, hub_auth: SharedHubAuth
) -> None:
    hub.delay = 0.01
    assert await asyncio.gather(*flood(hub_auth, 60)) == [None] * 60
    assert 1 < hub.asked_at_once <= lookup_limits.UNKNOWN_AT_ONCE


async def test_a_flood_of_unknown_tokens_does_not_delay_known_ones(
    api: Api, hub: HubStub, hub_auth: SharedHubAuth
) -> None:
    """Also when the Hub has to be asked about them again, because its answer is too old."""
    (await courses(api, "of the student")).success("courses")
    for cached in hub_auth._users.values():
        cached.expires_at = 0
    hub.hold("flood")
    flooding = flood(hub_auth, 200)
    await hub.asked(1 + lookup_limits.UNKNOWN_AT_ONCE)
    reply = await courses(api, "of the student")
    assert reply.json["courses"] == [COURSE]
    assert hub.questions.count("of the student") == 2
    hub.release()
    await asyncio.gather(*flooding)


async def test_unknown_tokens_beyond_those_that_may_wait_get_503(
    api: Api, hub: HubStub, hub_auth: SharedHubAuth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup_limits, "MAX_WAITING", 5)
    hub.hold("flood")
    flooding = flood(hub_auth, lookup_limits.UNKNOWN_AT_ONCE + 5)
    await hub.asked(lookup_limits.UNKNOWN_AT_ONCE)
    reply = await courses(api, "one more")
    assert reply.status == 503
    assert int(reply.headers["Retry-After"]) > 0
    with pytest.raises(Unavailable):
        await hub_auth.user_for_token("flood one more", sync=False)
    hub.release()
    await asyncio.gather(*flooding)
    assert (await courses(api, "one more")).status == 401, "and there is room again"


async def test_an_address_that_sends_many_rejected_tokens_is_slowed_down(
    api: Api, hub: HubStub, clock: SimpleNamespace
) -> None:
    hub.add("of a classmate", "classmate")
    (await courses(api, "of the student")).success("courses")
    statuses = await guess(api, REJECTED + 80)
    assert set(statuses) == {401, 429}
    # And those that were on their way when the limit was reached.
    assert REJECTED <= statuses.count(401) <= REJECTED + lookup_limits.UNKNOWN_AT_ONCE
    asked = len(hub.questions)
    assert asked == 1 + statuses.count(401), "the Hub is not asked about the others"

    refused = await courses(api, "of a classmate")
    assert refused.status == 429
    assert int(refused.headers["Retry-After"]) > 0
    assert "address" in refused.message
    assert len(hub.questions) == asked
    # Those who are known or come from elsewhere are not refused, and nobody is for long.
    (await courses(api, "of the student")).success("courses")
    assert await guess(api, 1, ELSEWHERE) == [401]
    clock.now += 1
    (await courses(api, "of a classmate")).success("courses")


async def test_one_client_of_ipv6_counts_as_one_whichever_address_it_takes(api: Api) -> None:
    statuses = await asyncio.gather(
        *(guess(api, 1, f"2001:db8::{number:x}") for number in range(1, REJECTED + 60))
    )
    assert [429] in statuses
    assert await guess(api, 1, "2001:db8:0:1::1") == [401]


async def test_a_class_that_logs_in_from_one_address_is_not_slowed_down(
    api: Api, hub: HubStub
) -> None:
    students = [f"student {number}" for number in range(3 * REJECTED)]
    for student in students:
        hub.add(f"of {student}", student)
    await guess(api, 20)  # some have an old token
    replies = await asyncio.gather(*(courses(api, f"of {student}") for student in students))
    assert {reply.status for reply in replies} == {200}


async def test_login_codes_that_the_hub_rejects_count_too(api: Api, hub: HubStub) -> None:
    """Whoever gets a redirect to the Hub's login can come back with any code."""
    reply = await api.send("GET", "", headers=BROWSER)
    state = parse_qs(urlsplit(reply.headers["Location"]).query)["state"][0]
    cookie = "; ".join(f"{name}={value}" for name, value in cookies(reply).items())

    async def come_back(code: str, address: str) -> Reply:
        headers = {**BROWSER, "Cookie": cookie, "X-Forwarded-For": address}
        query = {"code": code, "state": state}
        return await api.send("GET", "oauth_callback", headers=headers, query=query)

    replies = [come_back("made up", HERE) for _ in range(REJECTED + 40)]
    statuses = [reply.status for reply in await asyncio.gather(*replies)]
    assert statuses.count(503) <= REJECTED + lookup_limits.UNKNOWN_AT_ONCE
    assert statuses.count(429) >= 20
    hub.log_in("code", "of the student")
    reply = await come_back("code", ELSEWHERE)
    assert reply.status == 302
    assert COOKIE in cookies(reply)
