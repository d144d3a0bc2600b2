"""Clients that do harm, knowing or not: slow ones, liars, and those that leave in the middle."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import sys
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


UPLOADS = 40

GRACE = 3.0
IDLE = 5.0
IN_A_HURRY = f"""
from ngshare.web import server
from ngshare.web.bodies import client_limits as limits
limits.GRACE_SECONDS, limits.CHECK_SECONDS, server.IDLE_SECONDS = {(GRACE, 0.2, IDLE)}
from ngshare.app import main
main()
"""
"""A service that cuts slow clients off in seconds, not in minutes."""


@pytest.fixture
def server(site: Site) -> Server:
    return started(site)


@pytest.fixture
def hurried(site: Site) -> Server:
    return started(site, (sys.executable, "-c", IN_A_HURRY))


def started(site: Site, command: Sequence[str] = COMMAND) -> Server:
    """A server with an assignment."""
    server = site.start(
        *("--Ngshare.max_request_mib=64", f"--Ngshare.idle_seconds={GRACE}"), command=command
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
    """They hold a connection each, for a few seconds and no longer, and nobody else waits."""
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


def test_a_slow_upload_arrives_whatever_others_do(server: Server) -> None:
    files = {"a.bin": os.urandom(3 * 2**20)}
    body = form("ada", files=files_field(files))
    with connected(server) as [client], ThreadPoolExecutor(2) as thread:
        client.sendall(HEAD % (FORM, len(body)))
        sent = 0
        others = thread.submit(
            together, 4, lambda number: submit(server, {"a.bin": os.urandom(5 * 2**20)})
        )
        while sent < len(body):  # at 4 Mbit/s
            client.sendall(body[sent : sent + 100_000])
            sent += 100_000
            time.sleep(0.2)
        assert client.recv(1000).startswith(b"HTTP/1.1 200 ")
        others.result()
    assert "Cut off" not in server.output


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
    large = {"a.bin": os.urandom(20 * 2**20), "b.bin": os.urandom(100_000)}
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
        assert memory(server) < before + 60 * 2**20
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


def test_many_large_uploads_at_once_take_little_memory(server: Server) -> None:
    """Each of another user, so that none waits for another of the same one."""
    before = Settled(server)
    forget_peak(server)
    content = os.urandom(10 * 2**20)
    users = [f"student{number}" for number in range(UPLOADS)]
    with server.client() as ada:
        people = [
            {"username": user, "first_name": "", "last_name": "", "email": ""} for user in users
        ]
        assert ada.post("students", "c", students=json.dumps(people)).status == 200
    files = form("ada", files=files_field({"a.bin": content})).partition(b"&")[2]

    def upload(number: int) -> None:
        user = f"user={users[number]}&".encode()
        with connected(server) as [client]:
            client.sendall(HEAD % (FORM, len(user) + len(files)) + user)
            client.sendall(files)
            assert client.recv(1000).startswith(b"HTTP/1.1 200 ")

    together(UPLOADS, upload)
    assert peak(server) < before.memory + 80 * 2**20
    with server.client() as ada:
        listed = ada.get("submissions", "c", "a").json["submissions"]
        times = {one["student_id"]: one["timestamp"] for one in listed}
        for user in (users[0], users[-1]):
            assert ada.collect("c", "a", user, times[user]) == {"a.bin": content}
    before.wait()


def test_a_body_of_many_files_takes_the_memory_of_one(server: Server) -> None:
    before = Settled(server)
    forget_peak(server)
    files = {f"{number}.bin": os.urandom(2**20) for number in range(40)}
    assert submit(server, files)
    assert peak(server) < before.memory + 30 * 2**20
    before.wait()
