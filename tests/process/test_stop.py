"""SIGTERM finishes what is in flight; what is killed is replaced, or takes its workers along."""

from __future__ import annotations

import errno
import http.client
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from tests.process.site import (
    ADMIN,
    PATIENCE,
    Client,
    Server,
    Site,
    files_field,
    form,
    runs,
    wait_for,
)

FILES = {"problem.ipynb": os.urandom(300_000)}
WORKERS = ["--workers", "2"]

several = pytest.mark.parametrize("arguments", [WORKERS], ids=["two workers"])


@pytest.fixture(params=[[], WORKERS], ids=["one process", "two workers"])
def arguments(request: pytest.FixtureRequest) -> list[str]:
    return request.param


@pytest.fixture
def server(migrated_site: Site, arguments: list[str]) -> Server:
    """A server with an assignment to submit to."""
    server = migrated_site.start(*arguments)
    prepare(server)
    return server


def prepare(server: Server) -> None:
    """Release an assignment."""
    with server.client() as ada:
        assert ada.post("course", "c", instructors=f'["{ADMIN}"]').status == 200
        assert ada.release("c", "a", {"a.txt": b"a"}).status == 200


class SlowSubmission:
    """A submission whose body has been sent by half."""

    def __init__(self, port: int) -> None:
        body = form(ADMIN, files=files_field(FILES))
        self.rest = body[len(body) // 2 :]
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self.connection.putrequest("POST", "/api/submission/c/a")
        self.connection.putheader("Content-Type", "application/x-www-form-urlencoded")
        self.connection.putheader("Content-Length", str(len(body)))
        self.connection.putheader("Expect", "100-continue")
        self.connection.endheaders()
        # Now it is known that the request is in flight: the service asks for its body.
        assert b"100 (Continue)" in self.connection.sock.recv(100)
        self.connection.send(body[: len(body) // 2])

    def finish(self) -> int:
        self.connection.send(self.rest)
        response = self.connection.getresponse()
        response.read()
        self.connection.close()
        return response.status

    def abandon(self) -> None:
        self.connection.close()


def wait_for_refusal(server: Server) -> None:
    """Wait until nobody can connect any more."""
    wait_for("the end of listening", lambda: not listens(server.port))


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
    except ConnectionError:
        return False
    return True


def submissions(server: Server) -> list[str]:
    with server.client() as ada:
        listed = ada.get("submissions", "c", "a", ADMIN).json["submissions"]
    return [one["timestamp"] for one in listed]


def test_a_submission_in_flight_is_finished(
    migrated_site: Site, server: Server, arguments: list[str]
) -> None:
    slow = SlowSubmission(server.port)
    server.terminate()
    wait_for_refusal(server)
    assert slow.finish() == 200
    assert server.ended() == 0
    assert "cut off" not in server.output

    again = migrated_site.start(*arguments)
    [moment] = submissions(again)
    with again.client() as ada:
        assert ada.collect("c", "a", ADMIN, moment) == FILES


def test_a_reply_in_flight_is_sent_to_its_end(server: Server) -> None:
    big = {"big.bin": os.urandom(8 * 2**20)}
    with server.client() as ada:
        assert ada.submit("c", "a", big).status == 200
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    connection.connect()
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
    connection.request("GET", f"/api/submission/c/a/{ADMIN}?user={ADMIN}")
    response = connection.getresponse()
    # The rest is larger than what the kernel takes, so the service still holds it.
    length = int(response.headers["Content-Length"])
    server.terminate()
    wait_for_refusal(server)
    assert len(response.read()) == length
    connection.close()
    assert server.ended() == 0
    assert "cut off" not in server.output


def test_who_went_away_is_not_waited_for(server: Server) -> None:
    for _ in range(3):
        SlowSubmission(server.port).abandon()
    idle = server.client()
    assert idle.get("courses").status == 200  # and stays connected, with nothing to say
    assert server.stop() == 0
    assert "cut off" not in server.output
    idle.connection.close()


def test_interrupt_from_the_keyboard_stops_it_too(server: Server) -> None:
    os.killpg(server.pid, signal.SIGINT)  # as a terminal does, to all of them
    assert server.ended() == 0


@several
def test_workers_end_with_their_parent(server: Server) -> None:
    workers = server.workers()
    assert len(workers) == 2
    slow = SlowSubmission(server.port)
    os.kill(server.pid, signal.SIGKILL)
    server.ended()
    assert slow.finish() == 200
    wait_for("the end of the workers", lambda: not any(map(runs, workers)))
    assert not listens(server.port)


@several
def test_a_worker_that_is_killed_is_replaced(migrated_site: Site, server: Server) -> None:
    with server.client() as ada:
        assert ada.submit("c", "a", FILES).status == 200
    victim, other = sorted(server.workers())
    os.kill(victim, signal.SIGKILL)
    wait_for("another worker", lambda: len(server.workers() - {victim, other}) == 1)
    assert other in server.workers()
    assert f"Worker {victim} ended (-9); starting another" in server.output
    # New connections reach both, so some of these reach the new one.
    for _ in range(10):
        with server.client() as ada:
            assert ada.submit("c", "a", FILES).status == 200
    assert len(submissions(server)) == 11
    assert server.stop() == 0


@several
def test_others_go_on_when_a_worker_is_killed(server: Server) -> None:
    served = {pid: _client_of(server, pid) for pid in server.workers()}
    victim, other = served
    os.kill(victim, signal.SIGKILL)
    wait_for("the end of the victim", lambda: not runs(victim))
    assert served[other].submit("c", "a", FILES).status == 200
    for client in served.values():
        client.connection.close()


def _client_of(server: Server, worker: int) -> Client:
    """A client that this very worker serves: the others stand still while it connects."""
    others = server.workers() - {worker}
    for pid in others:
        os.kill(pid, signal.SIGSTOP)
    client = server.client()
    assert client.get("courses").status == 200
    for pid in others:
        os.kill(pid, signal.SIGCONT)
    return client


IN_A_HURRY = """
from ngshare.runtime import serving, workers
serving.DRAIN_SECONDS, serving.EXIT_SECONDS, workers.KILL_SECONDS = {seconds}
from ngshare.blobs import LocalBlobs
LocalBlobs.size = lambda blobs, digest: open(blobs.folder.parent / "stuck").read()
from ngshare.app import main
main()
"""


def in_a_hurry(site: Site, arguments: list[str], *seconds: float) -> Server:
    """Start a service that gives up after so many seconds: requests, threads, workers.

    Whoever asks for a file reads from a FIFO ``stuck`` beside the storage.
    """
    return site.start(
        *arguments, command=(sys.executable, "-c", IN_A_HURRY.format(seconds=seconds))
    )


def test_a_thread_that_waits_for_a_disk_for_ever_does_not_keep_it_from_ending(
    site: Site, arguments: list[str]
) -> None:
    server = in_a_hurry(site, arguments, 1, 1, PATIENCE)
    prepare(server)
    fifo = site.folder / "stuck"
    os.mkfifo(fifo)
    fetch = server.client()
    fetch.connection.request("GET", f"/api/assignment/c/a?user={ADMIN}")
    # Now a thread has opened it, and waits for what nobody will write.
    writing_end = wait_for("the fetch", lambda: _open_for_writing(fifo))
    server.terminate()
    assert server.ended() == 0
    assert "Some requests took over 1 s to finish and were cut off\n" in server.output
    assert "Stopped without these threads, which still waited for a disk" in server.output
    assert "after 1 s: files_0\n" in server.output
    fetch.connection.close()
    os.close(writing_end)


def _open_for_writing(fifo: Path) -> int | None:
    """Open a FIFO that somebody reads; return None as long as nobody does."""
    try:
        return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        assert error.errno == errno.ENXIO
        return None


@several
def test_a_worker_that_does_not_end_is_killed(site: Site, arguments: list[str]) -> None:
    server = in_a_hurry(site, arguments, 1, 1, 3)
    workers = server.workers()
    stuck = min(workers)
    os.kill(stuck, signal.SIGSTOP)
    server.terminate()
    assert server.ended() == 0
    assert (
        f"Stopped without these workers, which did not end within 3 s: {stuck}\n" in server.output
    )
    wait_for("the end of the workers", lambda: not any(map(runs, workers)))
