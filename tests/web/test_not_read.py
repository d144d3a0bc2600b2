"""Large replies that nobody reads: few of one user at once, and not for ever."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from urllib.parse import quote, urlsplit

import pytest

from ngshare.actions import roster, roster_import
from ngshare.actions.access import Caller
from ngshare.db.transactions import Database
from ngshare.web.bodies import client_limits
from ngshare.web.bodies.client_limits import UserSemaphores
from ngshare.web.service import Service
from tests.conftest import Api
from tests.web.waiting import until
from tests.web.world import ASSIGNMENT, COLLEAGUE, COURSE, INSTRUCTOR, STUDENT

pytestmark = pytest.mark.gen_test

SIZE = 12 * 2**20
"""Bytes of a reply, more than the system keeps of what a client does not read."""

LARGE = {
    "a list": f"/api/students/{quote(COURSE)}?user={INSTRUCTOR}",
    "a tree": f"/api/assignment/{quote(COURSE)}/{ASSIGNMENT}?user={STUDENT}",
}

every_large = pytest.mark.parametrize("target", LARGE.values(), ids=LARGE)


@pytest.fixture(autouse=True)
def large(service: Service, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A course with a long list, and with a large tree that is kept in memory."""
    people = [roster.Person(f"many {at}", "x" * (SIZE // 600), "", "") for at in range(600)]
    database.write(roster_import.import_students, Caller(INSTRUCTOR), COURSE, people)
    monkeypatch.setattr(service.tree_cache, "get", lambda files: b"[%s]" % (b" " * SIZE))


@contextlib.asynccontextmanager
async def unread(api: Api, target: str) -> AsyncIterator[socket.socket]:
    """A connection on which a reply was asked for, and is not read."""
    with socket.socket() as client:
        client.setblocking(False)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", urlsplit(api.base_url).port))
        await loop.sock_sendall(
            client, f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        )
        yield client


@every_large
async def test_who_does_not_read_is_cut_off(
    api: Api, service: Service, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.setattr(client_limits, "CHECK_SECONDS", 0.05)
    service.slow_connections.idle_seconds = 0.3
    async with unread(api, target):
        await until(lambda: not service._idle.is_set())
        await asyncio.wait_for(service.idle(), 30)
    assert not service.slow_connections._transfers


@every_large
async def test_one_user_has_few_replies_at_once_and_others_have_theirs(
    api: Api, service: Service, target: str
) -> None:
    service.reply_slots = UserSemaphores(2)
    async with contextlib.AsyncExitStack() as opened:
        clients = [await opened.enter_async_context(unread(api, target)) for _ in range(5)]
        await until(
            lambda: service._in_flight == 5 and len(service.slow_connections._transfers) == 2
        )
        reply = await api.get("students", COURSE, user=COLLEAGUE, limit="1")
        reply.success("students", "next")
        assert len(service.slow_connections._transfers) == 2
        for client in clients:  # whose turn it is goes, and the next has theirs
            client.close()
        await asyncio.wait_for(service.idle(), 30)
    assert not service.slow_connections._transfers
