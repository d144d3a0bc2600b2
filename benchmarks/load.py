"""The client: many connections, requests encoded beforehand, as little Python as will do.

It runs in a process of its own, pinned to a core of its own, and says how much of that
core it used: below the whole core, the server was what limited the run.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import resource
import select
import socket
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, cycle
from typing import Any

from benchmarks.content import encode_form, encode_serial

BUFFER = 1 << 20
HEALTH_EVERY = 0.02
"""Seconds between two questions whether the service is healthy."""


@dataclass(frozen=True)
class Request:
    """A request ready to send. At each of ``spots`` a serial number is put in, new each time."""

    data: bytes
    spots: tuple[int, ...] = ()


@dataclass(frozen=True)
class Load:
    """What to send where: for so many seconds, or each request once."""

    port: int
    requests: Sequence[Request]
    connections: int = 50
    seconds: float | None = None
    first_serial: int = 0
    patience: float = 120.0
    """Seconds without any event after which the run fails."""


@dataclass
class Outcome:
    """What came of a load. Times in seconds."""

    seconds: float = 0.0
    """From the first request to the last reply that counts."""
    completed: int = 0
    """All replies, also those that came after the time was up."""
    latencies: array[float] = field(default_factory=lambda: array("d"))
    """Of the replies that came in time."""
    health: array[float] = field(default_factory=lambda: array("d"))
    statuses: Counter[int] = field(default_factory=Counter)
    received: int = 0
    """Bytes of all replies."""
    client_share: float = 0.0
    """How much of one core the client used."""
    failure: str = ""
    """The start of the first reply that was not a success."""


def get(path: str, *, token: str | None = None, **query: str) -> Request:
    """A GET as today's plugin sends it."""
    form = encode_form(query).decode()
    return Request(_head("GET", f"{path}?{form}" if form else path, token) + b"\r\n")


def post(path: str, *, token: str | None = None, **fields: str) -> Request:
    """A POST of a form."""
    return post_body(path, encode_form(fields), token=token)


def post_body(
    path: str, body: bytes, *, token: str | None = None, marks: Sequence[bytes] = ()
) -> Request:
    """A POST of an encoded form. ``marks`` are what serial numbers will take the place of."""
    head = _head("POST", path, token) + (
        b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    data = head + body
    for mark in marks:
        assert data.count(mark) == 1, "the mark must be unique"
    return Request(data, tuple(data.index(mark) for mark in marks))


def _head(method: str, path: str, token: str | None) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Accept: */*"]
    if token:
        lines.append(f"Authorization: token {token}")
    return "\r\n".join([*lines, ""]).encode()


class Connection:
    """One kept-alive connection with at most one request on its way."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.buffer = bytearray(BUFFER)
        self.view = memoryview(self.buffer)
        self.connect()

    def connect(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.fd = self.socket.fileno()
        self.unsent = memoryview(b"")
        self.started = 0.0
        self.filled = 0
        self.missing = -1  # bytes of the body still to come; -1 while in the head
        self.status = 0
        self.closing = False

    def begin(self, data: bytes | bytearray, started: float) -> None:
        self.started = started
        self.filled = 0
        self.missing = -1
        self.unsent = memoryview(data)
        self.send()

    def send(self) -> bool:
        """Send what the socket takes now. Whether all is sent."""
        while self.unsent:
            try:
                sent = self.socket.send(self.unsent)
            except BlockingIOError:
                return False
            except (BrokenPipeError, ConnectionResetError):
                self.unsent = memoryview(b"")  # the reply may say why
                return True
            self.unsent = self.unsent[sent:]
        return True

    def receive(self) -> int | None:
        """Take what came. The reply's length when it is whole."""
        if self.missing >= 0:
            # Large bodies are counted, not kept; the head stays for who looks at it.
            try:
                got = self.socket.recv_into(self.view[self.filled :])
            except BlockingIOError:
                return None
            if not got:
                raise ConnectionError("the server closed in the middle of a reply")
            self.missing -= got
            return self.length if self.missing <= 0 else None
        try:
            got = self.socket.recv_into(self.view[self.filled :])
        except BlockingIOError:
            return None
        if not got:
            raise ConnectionError("the server closed without a reply")
        self.filled += got
        end = self.buffer.find(b"\r\n\r\n", 0, self.filled)
        if end < 0:
            return None
        head = bytes(self.view[:end]).lower()
        self.status = int(head[9:12])
        at = head.find(b"\r\ncontent-length:")
        if at < 0:
            raise ConnectionError(f"a reply without its length: {head[:200]!r}")
        stop = head.find(b"\r\n", at + 2)
        body = int(head[at + 17 : stop if stop > 0 else None])
        self.closing = b"\r\nconnection: close" in head
        self.length = end + 4 + body
        self.missing = self.length - self.filled
        self.filled = min(self.filled, BUFFER // 2)
        return self.length if self.missing <= 0 else None


def run(load: Load, core: int | None, health: Request | None = None) -> Outcome:
    """Run a load in a process of its own, pinned to ``core``. Raises RuntimeError."""
    context = multiprocessing.get_context("fork")  # the requests are there already
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(load, core, health, theirs))
    process.start()
    theirs.close()
    try:
        outcome = ours.recv()
    except EOFError:
        raise RuntimeError("the client ended without a result") from None
    finally:
        process.join()
    if isinstance(outcome, str):
        raise RuntimeError(outcome)
    assert isinstance(outcome, Outcome)
    return outcome


def _child(load: Load, core: int | None, health: Request | None, pipe: Any) -> None:
    if core is not None:
        os.sched_setaffinity(0, {core})
    gc.disable()
    try:
        pipe.send(_drive(load, health))
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")


def _sending(load: Load) -> Iterator[bytes | bytearray]:
    """The bytes of the requests, one after the other, each with a serial number of its own."""
    serials = count(load.first_serial)
    requests = load.requests if load.seconds is None else cycle(load.requests)
    for request in requests:
        if not request.spots:
            yield request.data
            continue
        data = bytearray(request.data)
        serial = encode_serial(next(serials))
        for spot in request.spots:
            data[spot : spot + len(serial)] = serial
        yield data


def _drive(load: Load, health: Request | None) -> Outcome:
    outcome = Outcome()
    clock = time.perf_counter
    poll = select.epoll()
    connections = {}
    waiting_to_send = set()
    for _ in range(load.connections):
        connection = Connection(load.port)
        connections[connection.fd] = connection
        poll.register(connection.fd, select.EPOLLIN)
    probe = Connection(load.port) if health else None
    if probe:
        poll.register(probe.fd, select.EPOLLIN)
    probing = False
    sending = _sending(load)

    def begin(connection: Connection) -> bool:
        data = next(sending, None)
        if data is None:
            return False
        connection.begin(data, clock())
        if connection.unsent:
            poll.modify(connection.fd, select.EPOLLIN | select.EPOLLOUT)
            waiting_to_send.add(connection.fd)
        return True

    used = resource.getrusage(resource.RUSAGE_SELF)
    started = clock()
    deadline = started + load.seconds if load.seconds else float("inf")
    busy = sum(begin(connection) for connection in connections.values())
    next_probe = started
    last_event = last_reply = started
    while busy:
        timeout = max(0.0, next_probe - clock()) if probe and not probing else 0.5
        events = poll.poll(timeout)
        now = clock()
        if events:
            last_event = now
        elif now - last_event > load.patience:
            raise TimeoutError(f"no reply for {load.patience} s; {outcome.statuses}")
        if probe and health:
            if probing and any(fd == probe.fd for fd, _ in events) and probe.receive() is not None:
                outcome.health.extend(_waits(now - probe.started))
                probing = False
            elif not probing and now >= next_probe:
                probe.begin(health.data, now)
                probing = True
                next_probe = now + HEALTH_EVERY
        for fd, event in events:
            connection = connections.get(fd)
            if connection is None:
                continue
            if event & select.EPOLLOUT and fd in waiting_to_send and connection.send():
                waiting_to_send.discard(fd)
                poll.modify(fd, select.EPOLLIN)
            if not event & ~select.EPOLLOUT:
                continue
            length = connection.receive()
            if length is None:
                continue
            now = clock()
            outcome.completed += 1
            outcome.received += length
            outcome.statuses[connection.status] += 1
            if now <= deadline:
                outcome.latencies.append(now - connection.started)
                last_reply = now
            if connection.status != 200 and not outcome.failure:
                outcome.failure = bytes(connection.view[:1000]).decode("latin1")
            if connection.closing:
                waiting_to_send.discard(fd)
                _reconnect(connection, poll, connections)
            if now >= deadline or not begin(connection):
                busy -= 1
    finished = clock()
    outcome.seconds = min(finished, deadline) - started if load.seconds else last_reply - started
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu = usage.ru_utime + usage.ru_stime - used.ru_utime - used.ru_stime
    outcome.client_share = cpu / (finished - started)
    return outcome


def _waits(seconds: float) -> list[float]:
    """How long this question waited, and those that would have been asked meanwhile.

    Else one long stall would count as a single slow reply.
    """
    waits = [seconds]
    while (seconds := seconds - HEALTH_EVERY) > 0:
        waits.append(seconds)
    return waits


def _reconnect(
    connection: Connection, poll: select.epoll, connections: dict[int, Connection]
) -> None:
    with contextlib.suppress(FileNotFoundError):
        poll.unregister(connection.fd)
    del connections[connection.fd]
    connection.socket.close()
    connection.connect()
    connections[connection.fd] = connection
    poll.register(connection.fd, select.EPOLLIN)
