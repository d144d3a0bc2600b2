"""Request bodies: kept, spooled, discarded, refused early, and cut off when they are too slow."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import http.client
import logging
import re
import socket
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
import requests
from tornado.web import Application

from ngshare.web.application import routes
from ngshare.web.bodies import client_limits, receive, spool
from ngshare.web.route_access import METHODS, UNIDENTIFIED, Audience, audience_of
from ngshare.web.service import Service
from tests.conftest import PREFIX, Api, tree
from tests.hubstub import HubStub
from tests.web.waiting import until
from tests.web.world import ASSIGNMENT, CLASSMATE, COURSE, INSTRUCTOR, STUDENT

pytestmark = pytest.mark.gen_test

UNKNOWN = "POST /api/nothing"
TOO_MUCH = 90 * 2**20
"""Bytes. The service of these tests takes 4 MiB, and the server before it 100."""

SAM = "Authorization: token of-sam"
SUBMISSION = "POST /api/submission/Physics%20101/ps1"


@pytest.fixture
def app(hub_app: Application, hub: HubStub) -> Application:
    hub.add("of-sam", STUDENT)
    return hub_app


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests need not wait as long as a proxy may need."""
    monkeypatch.setattr(receive, "CLOSE_SECONDS", 0.1)


def nobody_is_asked() -> list[str]:
    """Every method and path that is answered without asking who sends it: public ones, and 405."""
    found = {UNKNOWN}
    for pattern, handler in routes(PREFIX, hub=True):
        path = re.sub(r"\\(.)", r"\1", pattern.replace("([^/]+)", "x"))
        found |= {
            f"{method.upper()} {path}"
            for method in METHODS
            if audience_of(handler, method) in UNIDENTIFIED
        }
    return sorted(found)


class Connection:
    """A connection to the service, for what a proper client would never send."""

    def __init__(self, api: Api, line: str = "") -> None:
        self._port = urlsplit(api.base_url).port
        self._head_only = line.startswith("HEAD")

    async def __aenter__(self) -> Connection:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    def send(self, line: str, length: int | None, body: bytes = b"", *headers: str) -> None:
        """Begin a request; without a length, with what is a body in chunks already."""
        size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
        self.send_head(line, size, *headers)
        self.writer.write(body)

    def send_head(self, line: str, *headers: str) -> None:
        """Begin a request with just these headers."""
        head = "\r\n".join([f"{line} HTTP/1.1", "Host: x", *headers, "", ""])
        self.writer.write(head.encode())

    async def reply(self) -> tuple[int, bytes]:
        """The next reply: its status, its head and its body."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 30)
        found = re.search(rb"Content-Length: (\d+)", head)
        body = b""
        if found and not self._head_only:
            body = await self.reader.readexactly(int(found[1]))
        return int(head.split()[1]), head + body


async def works(api: Api) -> None:
    """Whether a student can hand in meanwhile."""
    body = urlencode({"files": tree(a="my work" * 10_000)})
    headers = {"Authorization": "token of-sam"}
    reply = await api.send("POST", "submission", COURSE, ASSIGNMENT, headers=headers, body=body)
    reply.success("timestamp")


# Who need not say who they are


def test_the_list_of_what_anybody_may_ask_is_no_empty_one() -> None:
    lines = nobody_is_asked()
    assert {"GET /healthz", "GET /api/metrics", "POST /api/courses", UNKNOWN} <= set(lines)
    assert Audience.PUBLIC in UNIDENTIFIED
    assert "GET /api/courses" not in lines


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
async def test_a_body_without_a_use_is_not_kept(
    api: Api, hub_service: Service, chunked: bool
) -> None:
    hub_service.spool.limit = 0
    part = b"x" * 1_500_000
    for line in nobody_is_asked():
        async with Connection(api, line) as connection:
            if chunked:
                connection.send(line, None, b"%x\r\n%s\r\n" % (len(part), part))
            else:
                connection.send(line, len(part) + 1, part)
            connection.writer.write(b"0\r\n\r\n" if chunked else b"x")
            status, _ = await connection.reply()
            assert status < 500, line
        assert hub_service.spool.used == hub_service.spool.in_memory == 0


@pytest.mark.parametrize("line", ["POST /api/healthz", "PUT /api/courses", "GET /healthz", UNKNOWN])
async def test_bodies_that_do_not_come_stop_no_submission(
    api: Api, hub_service: Service, line: str
) -> None:
    async with contextlib.AsyncExitStack() as opened:
        for _ in range(8):
            connection = await opened.enter_async_context(Connection(api))
            connection.send(line, 1_000_000, b"xx")
        await until(lambda: hub_service._in_flight == 8)
        await works(api)


# Spooled to a file


def submission(*contents: bytes) -> bytes:
    files = {f"file{number}": content for number, content in enumerate(contents)}
    return urlencode({"files": tree(**files)}).encode()


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
@pytest.mark.parametrize("kind", ["form", "json", "multipart"])
@pytest.mark.parametrize("size", [1_000, 2**20])
async def test_a_body_is_stored_however_it_comes_and_how_large_it_is(
    api: Api, hub: HubStub, hub_service: Service, kind: str, size: int, chunked: bool
) -> None:
    contents = [bytes([number]) * size for number in range(2)]
    files = tree(one=contents[0], two=contents[1])
    content_type = "application/x-www-form-urlencoded"
    body = urlencode({"files": files, "more": "x" * 3}).encode()
    if kind == "json":
        content_type = "application/json"
        body = b'{"more": ["x"], "files": %s, "last": null}' % files.encode()
    elif kind == "multipart":
        content_type = "multipart/form-data; boundary=b"
        body = (
            "".join(
                f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
                for name, value in (("more", "x"), ("files", files), ("last", ""))
            ).encode()
            + b"--b--\r\n"
        )
    async with Connection(api) as connection:
        length = None if chunked else len(body)
        sent = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if chunked else body
        connection.send(SUBMISSION, length, sent, SAM, f"Content-Type: {content_type}")
        status, reply = await connection.reply()
        assert status == 200, reply
    hub.add("of-ivy", INSTRUCTOR)
    collected = await api.send(
        "GET", "submission", COURSE, ASSIGNMENT, STUDENT, headers={"Authorization": "token of-ivy"}
    )
    found = {file["path"]: base64.b64decode(file["content"]) for file in collected.json["files"]}
    assert found == {"one": contents[0], "two": contents[1]}
    await hub_service.idle()
    assert hub_service.spool.used == hub_service.spool.in_memory == 0


async def test_no_room_in_the_spool_is_said_at_once(api: Api, hub_service: Service) -> None:
    hub_service.spool.limit = 2**20 - 1
    async with Connection(api) as connection:
        connection.send(SUBMISSION, 2**20 + 1, b"", SAM)
        status, reply = await connection.reply()
    assert status == 503
    assert b"Retry-After: 10" in reply
    async with Connection(api) as connection:
        part = b"x" * 600_000
        connection.send(SUBMISSION, None, b"%x\r\n%s\r\n" % (len(part), part) * 4, SAM)
        assert (await connection.reply())[0] == 503
    await works(api)
    assert hub_service.spool.used == 0


async def test_a_full_disk_is_507(
    api: Api, hub_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(spool, "_append", full)
    body = submission(b"x" * 2**20)
    async with Connection(api) as connection:
        connection.send(SUBMISSION, len(body), body, SAM)
        status, reply = await connection.reply()
    assert (status, b"disk is full" in reply) == (507, True)
    await hub_service.idle()
    assert hub_service.spool.used == 0


async def test_many_small_bodies_at_once_go_to_files_too(
    api: Api, hub_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "TOTAL_MEMORY", 250_000)
    async with contextlib.AsyncExitStack() as opened:
        for _ in range(4):
            connection = await opened.enter_async_context(Connection(api))
            connection.send(SUBMISSION, 100_000, b"x", SAM)
        await until(lambda: hub_service.spool.used == 200_000)
        assert hub_service.spool.in_memory == 200_000
        await works(api)
    await hub_service.idle()
    assert hub_service.spool.used == hub_service.spool.in_memory == 0


async def test_one_user_sends_few_large_bodies_at_once_and_others_are_not_kept_waiting(
    api: Api, hub: HubStub, hub_service: Service
) -> None:
    hub.add("of-sue", CLASSMATE)
    hub_service.upload_slots = client_limits.UserSemaphores(2)
    body = submission(b"x" * 2**20)
    async with contextlib.AsyncExitStack() as opened:
        connections = [await opened.enter_async_context(Connection(api)) for _ in range(4)]
        for connection in connections:
            connection.send(SUBMISSION, len(body), body[:-1], SAM)
        await until(lambda: hub_service.spool.used == 2 * 2 * spool.RESERVATION)
        async with Connection(api) as other:
            other.send(SUBMISSION, len(body), body, "Authorization: token of-sue")
            assert (await other.reply())[0] == 200
        assert hub_service.spool.used == 2 * 2 * spool.RESERVATION
        for connection in connections:  # when one is through, the next begins
            connection.writer.write(body[-1:])
        for connection in connections:
            assert (await connection.reply())[0] == 200


async def test_what_a_client_that_leaves_took_is_given_back(api: Api, hub_service: Service) -> None:
    for size in (100_000, 5 * 2**19):
        async with Connection(api) as connection:
            connection.send(SUBMISSION, size, b"x" * (size // 2), SAM)
            await until(lambda: hub_service.spool.used + hub_service.spool.in_memory)
        await asyncio.wait_for(hub_service.idle(), 30)
        assert hub_service.spool.used == hub_service.spool.in_memory == 0


# Refused although it has the right size


def ask(port: int | None, path: str, headers: dict[str, str], body: bytes) -> int:
    """Send a request as most clients do: all of it, and then look for the reply."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", path, body, headers)
        with connection.getresponse() as reply:
            reply.read()
            return reply.status
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/nothing", 404),
        ("/api/course/a/b/c", 404),
        ("/api/courses", 405),
        ("/api/submission/Physics%20101/ps1", 401),
        ("/healthz", 405),
    ],
)
async def test_the_reply_to_a_refused_body_is_seen(api: Api, path: str, status: int) -> None:
    port = urlsplit(api.base_url).port
    headers = {"Authorization": "token of nobody"}
    for _ in range(5):
        assert await asyncio.to_thread(ask, port, path, headers, b"x" * 3_900_000) == status


async def test_a_refusal_does_not_wait_for_the_body(api: Api, hub_service: Service) -> None:
    async with Connection(api) as connection:
        connection.send(SUBMISSION, 1_000_000, b"xx")
        status, reply = await connection.reply()
        assert status == 401
        assert b"\r\nConnection: close\r\n" in reply
    await asyncio.wait_for(hub_service.idle(), 30)


async def test_what_is_only_announced_takes_no_space(api: Api, hub_service: Service) -> None:
    async with contextlib.AsyncExitStack() as opened:
        for _ in range(3):
            connection = await opened.enter_async_context(Connection(api))
            connection.send(SUBMISSION, hub_service.max_body, b"x", SAM)
        await until(lambda: hub_service.spool.used)
        assert hub_service.spool.used <= 3 * spool.RESERVATION


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (f"POST /api/feedback/Physics%20101/{ASSIGNMENT}/{STUDENT}", "timestamp"),
        (f"GET /api/assignment/Physics%20101/{ASSIGNMENT}", "list_only"),
        ("GET /api/courses", "after"),
        ("GET /api/courses", "limit"),
    ],
)
async def test_a_long_value_of_a_short_field_is_refused(api: Api, path: str, field: str) -> None:
    body = urlencode({"files": tree(a="1"), field: "x" * 100_001}).encode()
    async with Connection(api) as connection:
        connection.send(path, len(body), body, SAM)
        status, reply = await connection.reply()
    assert (status, b"longer than 100000 characters" in reply) == (400, True)


# Slow clients


@pytest.fixture
def hurried(hub_service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that waits for a client for tenths of a second."""
    monkeypatch.setattr(client_limits, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(client_limits, "GRACE_SECONDS", 0.3)
    hub_service.slow_connections.idle_seconds = 0.5


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("line", [SUBMISSION, UNKNOWN])
@pytest.mark.parametrize("size", [1_000_000, 3_000_000])
async def test_a_body_that_stands_still_is_cut_off(
    api: Api, hub_service: Service, line: str, size: int
) -> None:
    async with Connection(api) as connection:
        connection.send(line, size, b"xx", SAM)
        assert await asyncio.wait_for(connection.reader.read(), 30) == b""
    await asyncio.wait_for(hub_service.idle(), 30)
    assert hub_service.spool.used == hub_service.spool.in_memory == 0


@pytest.mark.usefixtures("hurried")
async def test_a_body_that_creeps_is_cut_off_and_a_slow_one_arrives(
    api: Api, hub_service: Service
) -> None:
    async def send(seconds: float, body: bytes, least_speed: float) -> bytes:
        hub_service.slow_connections.least_speed = least_speed
        async with Connection(api) as connection:
            connection.send(SUBMISSION, len(body), b"", SAM)
            parts = 20
            size = -(-len(body) // parts)
            for at in range(0, len(body), size):
                if connection.reader.at_eof():
                    return b""
                connection.writer.write(body[at : at + size])
                await asyncio.sleep(seconds / parts)
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                return (await connection.reply())[1]
            return b""

    body = submission(b"x" * 1000)
    assert await send(0.7, body, least_speed=100_000) == b""
    assert b"timestamp" in await send(0.7, body, least_speed=500)
    body = submission(b"x" * 2**20)
    assert b"timestamp" in await send(0.7, body, least_speed=100_000)


# Lengths that are said in an odd way


@pytest.mark.parametrize(
    "odd",
    ["{0}\r\nContent-Length: {0}", "{0},\t{0}, {0}", "00000000000000000000000{0}"],
    ids=["twice", "list", "zeros"],
)
async def test_an_odd_length_counts_as_any_other(api: Api, hub_service: Service, odd: str) -> None:
    for size in (100_000, 2_000_000):
        async with Connection(api) as connection:
            connection.send_head(SUBMISSION, f"Content-Length: {odd.format(size)}", SAM)
            kept = hub_service.spool
            size = min(size, spool.RESERVATION)
            await until(lambda kept=kept, size=size: kept.in_memory + kept.used == size)
        await hub_service.idle()
    async with Connection(api) as connection:
        connection.send_head(SUBMISSION, f"Content-Length: {odd.format(TOO_MUCH)}", SAM)
        assert (await connection.reply())[0] == 413
    await hub_service.idle()


# What is too large


@pytest.mark.parametrize("line", [SUBMISSION, UNKNOWN, "GET /healthz", "HEAD /api/courses"])
@pytest.mark.parametrize("expect", [[], ["Expect: 100-continue"]], ids=["", "asks before"])
async def test_what_is_too_large_is_refused_when_it_is_announced(
    api: Api, hub_service: Service, line: str, expect: list[str]
) -> None:
    async with Connection(api, line) as connection:
        connection.send(line, TOO_MUCH, b"", *expect)
        status, reply = await connection.reply()
        assert status == 413
        assert b"\r\nConnection: close\r\n" in reply
        assert line.startswith("HEAD") or b"larger than 4 MiB" in reply
        assert await asyncio.wait_for(connection.reader.read(), 30) == b"", "no more is said"
    await hub_service.idle()
    await works(api)


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
async def test_the_reply_reaches_who_sends_on_and_the_rest_is_not_taken(
    api: Api, hub_service: Service, caplog: pytest.LogCaptureFixture, chunked: bool
) -> None:
    caplog.set_level(logging.INFO)
    size = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {TOO_MUCH}"
    part = b"100000\r\n" + b"x" * 2**20 + b"\r\n"

    def upload() -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
            client.sendall(f"{SUBMISSION} HTTP/1.1\r\nHost: x\r\n{size}\r\n{SAM}\r\n\r\n".encode())
            with pytest.raises(ConnectionError):  # the service hangs up, and soon
                for _ in range(200):
                    client.sendall(part)
            return client.recv(10_000)

    port = urlsplit(api.base_url).port
    for _ in range(5):
        caplog.clear()
        reply = await asyncio.to_thread(upload)
        assert reply.startswith(b"HTTP/1.1 413 ")
        assert b"larger than 4 MiB" in reply
        await hub_service.idle()
        (line,) = (record for record in caplog.records if record.name == "ngshare.access")
        received = line.fields["received"]  # type: ignore[attr-defined]
        taken = hub_service.max_body if chunked else 0
        assert receive.LINGER_BYTES <= received - taken <= receive.LINGER_BYTES + 2**20
    assert receive.LINGER_BYTES <= received <= receive.LINGER_BYTES + hub_service.max_body + 2**20


@pytest.mark.parametrize("mebibytes", [5, 9, 60])
async def test_todays_clients_read_why_their_submission_is_too_large(
    api: Api, mebibytes: int
) -> None:
    """They use requests, which looks for a reply when it cannot send any more."""

    def submit() -> tuple[int, str]:
        url = f"{api.base_url}/api/submission/Physics%20101/ps1"
        with requests.post(url, data=b"x" * mebibytes * 2**20, timeout=30) as reply:
            return reply.status_code, reply.json()["message"]

    for _ in range(5):
        status, message = await asyncio.to_thread(submit)
        assert status == 413
        assert message.startswith("The request is larger than 4 MiB")


async def test_who_waits_with_a_body_that_is_too_large_is_hung_up_on(
    api: Api, hub_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receive, "LINGER_SECONDS", 0.1)
    async with Connection(api) as connection:
        connection.send(SUBMISSION, TOO_MUCH, b"x")
        assert (await connection.reply())[0] == 413
        await hub_service.idle()
        with pytest.raises(ConnectionError):
            for _ in range(100):
                connection.writer.write(b"x")
                await connection.writer.drain()
                await asyncio.sleep(0.01)


async def test_who_leaves_after_such_a_reply_is_in_the_log(
    api: Api, hub_service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with Connection(api) as connection:
        connection.send(SUBMISSION, TOO_MUCH, b"x")
        assert (await connection.reply())[0] == 413
    await hub_service.idle()
    assert [record.message[:8] for record in caplog.records if record.name == "ngshare.access"] == [
        "413 POST"
    ]
