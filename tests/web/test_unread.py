"""Bodies that nobody needs: what is refused, and what comes from people whom nobody knows."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import logging
import re
import socket
from collections.abc import Awaitable
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
import requests
from tornado.web import Application

from ngshare.web import base, flow, transfer
from ngshare.web.application import routes
from ngshare.web.lanes import Lanes
from ngshare.web.service import Service
from ngshare.web.who import METHODS, UNIDENTIFIED, Who, declared
from tests.conftest import PREFIX, Api, tree
from tests.hubstub import HubStub
from tests.web.waiting import until
from tests.web.world import ASSIGNMENT, COURSE, STUDENT

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
    monkeypatch.setattr(transfer, "HANG_UP_SECONDS", 0.1)


def nobody_is_asked() -> list[str]:
    """Every method and path that is answered without asking who sends it: public ones, and 405."""
    found = {UNKNOWN}
    for pattern, handler in routes(PREFIX, hub=True):
        path = re.sub(r"\\(.)", r"\1", pattern.replace("([^/]+)", "x"))
        found |= {
            f"{method.upper()} {path}"
            for method in METHODS
            if declared(handler, method) in UNIDENTIFIED
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
    assert Who.PUBLIC in UNIDENTIFIED
    assert "GET /api/courses" not in lines


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
async def test_nobody_takes_room_from_those_who_are_known(
    api: Api, hub_service: Service, monkeypatch: pytest.MonkeyPatch, chunked: bool
) -> None:
    parsed: list[bytes] = []
    parse = base.parse_body
    monkeypatch.setattr(
        base, "parse_body", lambda kind, body: parsed.append(body) or parse("", b"")
    )
    hub_service.uploads = Lanes(4_000_000, patience=0.2)
    part = b"x" * 100_000
    for line in nobody_is_asked():
        async with Connection(api, line) as connection:
            if chunked:
                connection.send(line, None, b"%x\r\n%s\r\n" % (len(part), part))
            else:
                connection.send(line, len(part) + 1, part)
            # It is known to have arrived when it is counted.
            await until(lambda: any(held.moved for held in hub_service.unread._held))
            assert hub_service.uploads.small.used + hub_service.uploads.large.used == 0, line
            connection.writer.write(b"0\r\n\r\n" if chunked else b"x")
            status, _ = await connection.reply()
            assert status < 500, line
    assert not any(parsed)
    assert hub_service.unread.used == 0


@pytest.mark.parametrize("line", ["POST /api/healthz", "PUT /api/courses", "GET /healthz", UNKNOWN])
async def test_nobody_can_stop_submissions(api: Api, hub_service: Service, line: str) -> None:
    hub_service.uploads = Lanes(8 * 2**20, patience=0.2)
    opened = [Connection(api) for _ in range(8)]
    for connection in opened:
        await connection.__aenter__()
        connection.send(line, 1_000_000, b"xx")
    await until(lambda: len(hub_service.unread._held) == len(opened))
    await works(api)
    for connection in opened:
        await connection.__aexit__()


# What is refused although it has the right size


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
async def test_a_large_body_is_read_before_it_is_refused(api: Api, path: str, status: int) -> None:
    port = urlsplit(api.base_url).port
    headers = {"Authorization": "token of nobody"}
    for _ in range(5):
        assert await asyncio.to_thread(ask, port, path, headers, b"x" * 3_900_000) == status
    async with Connection(api) as connection:
        connection.send(f"POST {path}", 3_900_000, b"x" * 3_900_000)
        assert (await connection.reply())[0] == status
        connection.send("GET /healthz", 0)
        assert (await connection.reply())[0] == 200, "the connection goes on"


@pytest.mark.parametrize(("line", "status"), [(SUBMISSION, 401), (UNKNOWN, None)])
async def test_a_refused_body_must_not_creep(
    api: Api,
    hub_service: Service,
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    status: int | None,
) -> None:
    monkeypatch.setattr(flow, "LOOK", 0.05)
    monkeypatch.setattr(flow, "GRACE", 0.3)
    async with Connection(api) as connection:
        connection.send(line, 1_000_000, b"xx")
        if status is None:
            assert await asyncio.wait_for(connection.reader.read(), 30) == b""
        else:
            assert (await connection.reply())[0] == status
            assert await connection.reader.read() == b""
    await until(lambda: not hub_service.unread._held)
    await hub_service.idle()


# Lengths that are said in an odd way


@pytest.mark.parametrize(
    "odd",
    ["{0}\r\nContent-Length: {0}", "{0},\t{0}, {0}", "00000000000000000000000{0}"],
    ids=["twice", "list", "zeros"],
)
async def test_an_odd_length_takes_room_as_any_other(
    api: Api, hub_service: Service, odd: str
) -> None:
    hub_service.uploads = Lanes(4_000_000, patience=0.2)
    async with Connection(api) as connection:
        connection.send_head(SUBMISSION, f"Content-Length: {odd.format(100_000)}", SAM)
        await until(lambda: hub_service.uploads.small.used == 100_000)
    async with Connection(api) as connection:
        connection.send_head(UNKNOWN, f"Content-Length: {odd.format(100_000)}")
        await until(lambda: hub_service.unread.used == 100_000)
    async with Connection(api) as connection:
        connection.send_head(SUBMISSION, f"Content-Length: {odd.format(TOO_MUCH)}", SAM)
        assert (await connection.reply())[0] == 413
    await hub_service.idle()
    assert hub_service.uploads.small.used + hub_service.unread.used == 0


async def test_a_body_in_tiny_pieces_takes_no_more_memory(
    api: Api, hub_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces: list[list[bytes]] = []
    parse = base.BaseHandler._parse

    def note(handler: base.BaseHandler) -> Awaitable[dict[str, Any]]:
        pieces.append(handler._chunks.copy())
        return parse(handler)

    monkeypatch.setattr(base.BaseHandler, "_parse", note)
    body = urlencode({"files": tree(a="my work")}).encode()
    async with Connection(api) as connection:
        connection.send(SUBMISSION, len(body) + 1, b"&", SAM)
        for at in range(len(body)):
            # Each piece comes alone.
            await until(lambda at=at: any(h.moved == at + 1 for h in held_for_uploads(hub_service)))
            connection.writer.write(body[at : at + 1])
        status, reply = await connection.reply()
    assert status == 200, reply
    assert pieces == [[b"&" + body]]


def held_for_uploads(service: Service) -> list[flow.Held]:
    return [*service.uploads.small._held, *service.uploads.large._held]


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
        assert transfer.READ_ON <= received - taken <= transfer.READ_ON + 2**20
    assert transfer.READ_ON <= received <= transfer.READ_ON + hub_service.max_body + 2**20


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
    monkeypatch.setattr(transfer, "READ_ON_SECONDS", 0.1)
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
