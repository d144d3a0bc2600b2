"""Clients that do harm, knowing or not: slow ones, liars, and those that leave in the middle."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.site import Server, Site, form, together, wait_for

HEAD = (
    b"POST /api/submission/c/a HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: %s\r\nContent-Length: %d\r\n\r\n"
)
FORM = b"application/x-www-form-urlencoded"


@pytest.fixture
def server(site: Site) -> Server:
    server = site.start("--Ngshare.max_request_mib=64", "--Ngshare.max_in_flight_mib=64")
    with server.client() as ada:
        assert ada.post("course", "c", instructors='["ada"]').status == 200
        assert ada.release("c", "a", {"a.txt": b"a"}).status == 200
    return server


@contextlib.contextmanager
def connected(server: Server, count: int = 1) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as opened:
        yield [
            opened.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60))
            for _ in range(count)
        ]


def works(server: Server) -> bool:
    """Whether somebody else can hand in and be collected from meanwhile."""
    files = {"a.bin": os.urandom(200_000)}
    with server.client() as ada:
        reply = ada.submit("c", "a", files)
        return reply.status == 200 and (
            ada.collect("c", "a", "ada", reply.json["timestamp"]) == files
        )


def memory(server: Server) -> int:
    """Bytes that the process has in memory now."""
    pages = int(Path(f"/proc/{server.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_clients_that_send_a_byte_now_and_then(server: Server) -> None:
    with connected(server, 60) as clients:
        for number, client in enumerate(clients):
            head = HEAD % (FORM, 500_000)
            client.sendall(head[: 20 + number * 2] if number % 2 else head)
        for _ in range(3):
            for client in clients:
                client.sendall(b"x")
            assert works(server)
    assert works(server)


def test_clients_that_leave_in_the_middle(server: Server) -> None:
    before = memory(server)
    for _ in range(10):
        with connected(server, 20) as clients:
            for number, client in enumerate(clients):
                client.sendall(HEAD % (FORM, 3_000_000) + b"x" * 100_000 * (number % 5))
    assert works(server)
    wait_for("the memory to be given back", lambda: memory(server) < before + 100 * 2**20)
    # Nobody is waited for who will not come back.
    assert server.stop() == 0
    assert "cut off" not in server.output


def test_clients_that_take_a_reply_and_do_not_read_it(server: Server) -> None:
    large = {"a.bin": os.urandom(20 * 2**20)}
    with server.client() as ada:
        assert ada.release("c", "large", large).status == 200
    before = memory(server)
    with connected(server, 40) as clients:
        for client in clients:
            client.sendall(
                b"GET /api/assignment/c/large?user=ada HTTP/1.1\r\nHost: localhost\r\n\r\n"
            )
        for _ in range(3):
            assert works(server)
        assert memory(server) < before + 400 * 2**20
    assert works(server)


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        (FORM, b"&".join(b"f%d=1" % number for number in range(1_000_000)), 400),
        (b"application/json", b'{"files": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
        (FORM, b"user=ada&files=" + b"[" * 100_000, 400),
        (FORM, form("ada", files="[" + "{}," * 1_000_000 + "{}]"), 400),
    ],
    ids=["a million fields", "deep JSON", "deep JSON in a form", "a million files"],
)
def test_bodies_made_to_be_expensive(server: Server, kind: bytes, body: bytes, status: int) -> None:
    with connected(server) as [client]:
        client.sendall(HEAD % (kind, len(body)) + body)
        assert client.recv(1000).startswith(b"HTTP/1.1 %d " % status)
    assert works(server)


def test_who_announces_ten_gigabytes_is_refused_without_being_read(server: Server) -> None:
    with connected(server, 20) as clients:
        for client in clients:
            client.sendall(HEAD % (FORM, 10 * 2**30) + b"x" * 100_000)
        assert works(server)
        for client in clients:
            assert client.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_who_sends_ten_gigabytes_reads_why_not_and_is_hung_up_on(server: Server) -> None:
    part = b"x" * 2**20

    def upload(number: int) -> None:
        with connected(server) as [client]:
            client.sendall(HEAD % (FORM, 10 * 2**30))
            # A little is taken after the reply, and what is on its way in the system's buffers.
            with pytest.raises(ConnectionError):
                for _ in range(64):
                    client.sendall(part)
            reply = client.recv(1000)
        assert reply.startswith(b"HTTP/1.1 413 ")
        assert b"\r\nConnection: close\r\n" in reply
        assert b"larger than 64 MiB" in reply

    together(4, upload)
    assert works(server)


def test_more_uploads_than_may_be_in_memory_wait_for_room(server: Server) -> None:
    """One of 50 MiB at a time has room. The others wait, or are told when to come back."""
    before = memory(server)
    body = form("ada", files="[]") + b"&ballast=" + b"x" * (50 * 2**20)

    def upload(number: int) -> None:
        status = 503
        while status == 503:
            with connected(server) as [client]:
                client.sendall(HEAD % (FORM, len(body)) + body)
                reply = client.recv(1000)
            status = int(reply.split()[1])
            assert status == 200 or b"\r\nRetry-After: " in reply
        assert status == 200

    together(4, upload)
    assert memory(server) < before + 400 * 2**20
    assert works(server)
