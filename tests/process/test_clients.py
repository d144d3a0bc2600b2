"""Clients that do harm, knowing or not: slow ones, liars, and those that leave in the middle."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.process.site import (
    COMMAND,
    PATIENCE,
    Server,
    Site,
    Trees,
    files_field,
    form,
    open_files,
    together,
    wait_for,
)
from tests.process.test_crash import assert_no_row_without_its_bytes

HEAD = (
    b"POST /api/submission/c/a HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: %s\r\nContent-Length: %d\r\n\r\n"
)
FORM = b"application/x-www-form-urlencoded"


LARGE_UPLOADS = 12

GRACE = 3.0
IDLE = 5.0
PATIENCE_FOR_ROOM = 2.0
IN_A_HURRY = f"""
from ngshare.web import flow, server
from ngshare.web.service import Service
flow.GRACE, flow.LOOK, server.IDLE_SECONDS = {(GRACE, 0.2, IDLE)}
Service.__init__.__kwdefaults__["patience"] = {PATIENCE_FOR_ROOM}
from ngshare.app import main
main()
"""
"""A service that loses its patience with slow clients in seconds, not in minutes."""


@pytest.fixture
def server(site: Site) -> Server:
    return started(site)


@pytest.fixture
def hurried(site: Site) -> Server:
    return started(site, (sys.executable, "-c", IN_A_HURRY))


def started(site: Site, command: Sequence[str] = COMMAND) -> Server:
    """A server with an assignment. 32 MiB of large uploads have room, and 32 of others."""
    server = site.start(
        "--Ngshare.max_request_mib=64", "--Ngshare.max_in_flight_mib=64", command=command
    )
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
    return submit(server, {"a.bin": os.urandom(200_000)})


def submit(server: Server, files: Trees) -> bool:
    """Whether this is handed in, and collected the same."""
    with server.client() as ada:
        reply = ada.submit("c", "a", files)
        return reply.status == 200 and (
            ada.collect("c", "a", "ada", reply.json["timestamp"]) == files
        )


def memory(server: Server) -> int:
    """Bytes that the process has in memory now."""
    return _status(server, "VmRSS")


def peak(server: Server) -> int:
    """The most bytes that the process ever had in memory, since ``forget_peak``."""
    return _status(server, "VmHWM")


def forget_peak(server: Server) -> None:
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")


def _status(server: Server, name: str) -> int:
    lines = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name + ":"))


def is_open(client: socket.socket) -> bool:
    """Whether the service has not closed the connection, which it has said nothing on."""
    readable, _, _ = select.select([client], [], [], 0)
    try:
        return not readable or bool(client.recv(2**16))
    except ConnectionError:
        return False


class Settled:
    """What a server had open and in memory at first, and has again when all is over."""

    def __init__(self, server: Server) -> None:
        assert works(server)  # what is made at the first request is there now
        self.server = server
        self.files = len(open_files(server.pid))
        self.memory = memory(server)

    def wait(self) -> None:
        wait_for(f"{self.files} open files", lambda: len(open_files(self.server.pid)) <= self.files)
        wait_for(
            "the memory to be given back",
            lambda: memory(self.server) < self.memory + 100 * 2**20,
        )


def test_clients_that_send_a_byte_a_second(hurried: Server) -> None:
    """They hold nearly all of the room for uploads, for a few seconds and no longer."""
    before = Settled(hurried)
    with connected(hurried, 60) as clients, ThreadPoolExecutor(1) as thread:
        heads, bodies = clients[:20], clients[20:]
        for number, client in enumerate(heads):
            client.sendall((HEAD % (FORM, 500_000))[: 20 + number * 2])
        for client in bodies:
            client.sendall(HEAD % (FORM, 3 * 2**18))  # 30 MiB together
        for _ in range(2):
            for client in clients:
                client.sendall(b"x")
            assert works(hurried)  # nobody else notices
            time.sleep(1)
        waiting = thread.submit(submit, hurried, {"a.bin": os.urandom(5 * 2**20)})
        left = clients
        give_up = time.monotonic() + PATIENCE
        while left and time.monotonic() < give_up:
            for client in left:
                with contextlib.suppress(ConnectionError):
                    client.sendall(b"x")
            left = [client for client in left if is_open(client)]
            assert hurried.healthy()
            time.sleep(1)
        assert left == []
        assert waiting.result()
        assert works(hurried)
    assert hurried.output.count("Cut off POST /api/submission/c/a from 127.0.0.1") == len(bodies)
    before.wait()


def test_a_client_that_creeps_makes_way_when_others_wait(hurried: Server) -> None:
    with connected(hurried) as [client], ThreadPoolExecutor(1) as thread:
        client.sendall(HEAD % (FORM, 60 * 2**20))
        for _ in range(10):  # longer than it may stand still
            client.sendall(b"x" * 10_000)
            time.sleep(0.5)
        assert is_open(client)  # nobody wants what it holds
        assert "Cut off" not in hurried.output
        waiting = thread.submit(submit, hurried, {"a.bin": os.urandom(10 * 2**20)})
        while is_open(client) and not waiting.done():
            with contextlib.suppress(ConnectionError):
                client.sendall(b"x" * 10_000)
            time.sleep(0.5)
        assert waiting.result()
    assert hurried.output.count("Cut off") == 1


def test_clients_that_leave_in_the_middle(site: Site, server: Server) -> None:
    """Some with the last byte. What came whole may be stored, and nothing by half."""
    before = Settled(server)
    may_be_stored = []
    for _ in range(5):
        with connected(server, 20) as clients:
            for number, client in enumerate(clients):
                files = {"a.bin": os.urandom(300_000), "b.bin": os.urandom(number)}
                body = form("ada", files=files_field(files))
                sent = HEAD % (FORM, len(body)) + body
                if number % 5 == 4:
                    client.sendall(sent)
                    may_be_stored.append(files)
                else:
                    client.sendall(sent[: -1 - number * len(body) // 20])
    before.wait()
    assert works(server)
    with server.client() as ada:
        listed = ada.get("submissions", "c", "a").json["submissions"]
        stored = [ada.collect("c", "a", "ada", one["timestamp"]) for one in listed]
    kept = [files for files in stored if files.keys() == {"a.bin", "b.bin"}]
    assert len(kept) == len(stored) - 2  # and what was handed in to see whether it works
    assert len({files["a.bin"] for files in kept}) == len(kept)
    assert all(files in may_be_stored for files in kept)
    assert_no_row_without_its_bytes(site)
    assert list((site.storage / "incoming").iterdir()) == []
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
    before = Settled(server)
    forget_peak(server)

    def send(number: int) -> None:
        if number % 2:
            assert works(server)
            return
        with connected(server) as [client]:
            client.sendall(HEAD % (kind, len(body)) + body)
            assert client.recv(1000).startswith(b"HTTP/1.1 %d " % status)

    together(8, send)
    assert peak(server) < before.memory + 200 * 2**20
    before.wait()


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


def test_more_uploads_than_may_be_in_memory_wait_for_room(hurried: Server) -> None:
    """Two of 10 MiB at a time have room. The others wait, or are told when to come back.

    Neither takes more than half of the room, so both may be slow.
    """
    before = Settled(hurried)
    forget_peak(hurried)
    files = {"a.bin": os.urandom(10 * 2**20)}
    body = form("ada", files=files_field(files))
    message = HEAD % (FORM, len(body)) + body
    refused = threading.Barrier(LARGE_UPLOADS + 1)

    def upload(number: int) -> int:
        """Send it until it is stored. Return how often it was not."""
        refusals = 0
        while True:
            with connected(hurried) as [client]:
                client.sendall(message)
                reply = client.recv(1000)
            if reply.startswith(b"HTTP/1.1 200 "):
                return refusals
            assert reply.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nRetry-After: 10\r\n" in reply
            refusals += 1
            if refusals == 1:
                refused.wait(PATIENCE)
            time.sleep(0.1)

    with connected(hurried, 2) as slow, ThreadPoolExecutor(LARGE_UPLOADS) as threads:
        for client in slow:
            client.sendall(message[: len(message) // 2])
        uploads = [threads.submit(upload, number) for number in range(LARGE_UPLOADS)]
        assert works(hurried)  # who sends little does not wait for them
        # Those two hold the room, slowly but without standing still, until each other was refused.
        sent = len(message) // 2
        while refused.n_waiting < LARGE_UPLOADS and sent < len(message) - 100_000:
            for client in slow:
                client.sendall(message[sent : sent + 50_000])
            sent += 50_000
            time.sleep(0.1)
        refused.wait(PATIENCE)
        for client in slow:
            client.sendall(message[sent:])
            assert client.recv(1000).startswith(b"HTTP/1.1 200 ")
        assert all(each.result() >= 1 for each in uploads)
    assert peak(hurried) < before.memory + 260 * 2**20
    before.wait()
    with hurried.client() as ada:
        listed = ada.get("submissions", "c", "a").json["submissions"]
        stored = [ada.collect("c", "a", "ada", one["timestamp"]) for one in listed]
    assert stored.count(files) == LARGE_UPLOADS + len(slow)
