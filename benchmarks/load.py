"""The client: many connections, requests encoded beforehand, as little Python as will do.

It runs in a process of its own on the last core, which servers may use as well, and says how
long it ran there and how long it was ready to run but had to wait. What is left of the time it
slept, with a request on its way on every connection: then the server was what limited the run.
"""

from __future__ import annotations

import bisect
import contextlib
import gc
import hashlib
import json
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
from functools import lru_cache
from itertools import count, cycle
from pathlib import Path
from typing import Any

from benchmarks.content import SERIAL, Files, encode_form, encode_serial

BUFFER = 1 << 20
HEALTH_EVERY = 0.02
"""Seconds between two questions whether the service is healthy."""
RETRY_AFTER = 1.0
"""Seconds until what was refused is sent again, where the reply does not say when."""


Parts = list[memoryview]


@dataclass(frozen=True)
class Request:
    """A request ready to send. At each of ``spots`` a serial number is put in, new each time.

    ``rest`` follows ``data``: the part that many large requests have in common.
    """

    data: bytes
    spots: tuple[int, ...] = ()
    rest: bytes = b""

    def parts(self, serials: Iterator[int]) -> Parts:
        """Return what is sent, with the next serial number, in pieces. Copies nothing."""
        whole = memoryview(self.data)
        parts = []
        sent = 0
        if self.spots:
            serial = memoryview(encode_serial(next(serials)))
            for spot in self.spots:
                parts += [whole[sent:spot], serial]
                sent = spot + len(serial)
        return [*parts, whole[sent:], *([memoryview(self.rest)] if self.rest else [])]


@dataclass(frozen=True)
class TreeRequest(Request):
    """A ``POST tree/submission`` in which one file is sent, with a serial number of its own.

    The serial number is sent after ``data``, as the idempotency key, and after ``rest``, in the
    file. The file's digest is sent after ``middle``, and ``after`` is the end of the file.
    """

    middle: bytes = b""
    after: bytes = b""
    hashed: Any = None
    """The SHA-256 of the file up to the serial number, which is then near its end."""

    def parts(self, serials: Iterator[int]) -> Parts:
        serial = b"%0*d" % (SERIAL, next(serials) % 10**SERIAL)
        digest = self.hashed.copy()
        digest.update(serial + self.after)
        hexadecimal = digest.hexdigest().encode()
        pieces = (self.data, serial, self.middle, hexadecimal, self.rest, serial, self.after)
        return [memoryview(piece) for piece in pieces]


@dataclass(frozen=True)
class Load:
    """What to send where: for so many seconds, or each request once."""

    port: int
    requests: Sequence[Request]
    connections: int = 50
    seconds: float | None = None
    first_serial: int = 0
    retry: bool = False
    """Whether what is answered 503, or with a closed connection, is sent again."""
    patience: float = 600.0
    """Seconds without any event after which the run fails."""


@dataclass
class Outcome:
    """What came of a load. Times in seconds."""

    seconds: float = 0.0
    """From the first request to the last reply that counts."""
    completed: int = 0
    """All replies, also those that came after the time was up."""
    in_time: int = 0
    """The replies that came before."""
    latencies: array[float] = field(default_factory=lambda: array("d"))
    """Of all requests: those that were late are the slowest, and must not be left out."""
    health: array[float] = field(default_factory=lambda: array("d"))
    statuses: Counter[int] = field(default_factory=Counter)
    """How often each status came; 0: the connection was closed instead."""
    received: int = 0
    """Bytes of all replies."""
    client_used: float = 0.0
    """The part of the time that the client ran."""
    client_waited: float = 0.0
    """The part that it was ready to run, while its core was another's; nan where unknown."""
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
    path: str,
    body: bytes,
    *,
    token: str | None = None,
    marks: Sequence[bytes] = (),
    rest: bytes = b"",
) -> Request:
    """A POST of an encoded form, ``body`` and then ``rest``, in which no mark is looked for.

    ``marks`` are what serial numbers will take the place of.
    """
    head = _head("POST", path, token) + (
        b"Content-Type: application/x-www-form-urlencoded\r\n"
        b"Content-Length: %d\r\n\r\n" % (len(body) + len(rest))
    )
    data = head + body
    for mark in marks:
        assert data.count(mark) == 1, "the mark must be unique"
    return Request(data, tuple(data.index(mark) for mark in marks), rest)


def post_tree(path: str, files: Files, *, user: str) -> TreeRequest:
    """A submission by a stand-alone service's user, in which only the first file is sent.

    A serial number takes the place of six bytes near the end of that file, in the text of a figure.
    """
    (name, content), *others = files
    start = content.rindex(b'"image/png": "')
    place = content.index(b'"', start + 14) - 16
    before, after = content[:place], content[place + SERIAL :]
    manifest = [{"path": name, "size": len(content), "sent": True, "sha256": ""}]
    manifest += [
        {"path": path, "size": len(data), "sha256": _digest(data)} for path, data in others
    ]
    line = json.dumps({"files": manifest}).encode()
    mark = line.index(b'"sha256": "') + 11
    length = len(line) + 64 + 1 + len(content)
    head = _head("POST", f"{path}?{encode_form({'user': user}).decode()}", None)
    head += b"Content-Type: application/vnd.ngshare.tree\r\nContent-Length: %d\r\n" % length
    return TreeRequest(
        data=head + b"Idempotency-Key: ",
        middle=b"\r\n\r\n" + line[:mark],
        rest=line[mark:] + b"\n" + before,
        after=after,
        hashed=hashlib.sha256(before),
    )


@lru_cache(maxsize=100)
def _digest(data: bytes) -> str:
    """Return the SHA-256 of a file, which may be in the trees of many students."""
    return hashlib.sha256(data).hexdigest()


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
        self.unsent: Parts = []
        self.started = 0.0
        self.filled = 0
        self.missing = -1  # bytes of the body still to come; -1 while in the head
        self.status = 0
        self.closing = False
        self.length = 0
        self.retry_after = RETRY_AFTER

    def begin(self, parts: Parts, started: float) -> None:
        self.started = started
        self.filled = 0
        self.missing = -1
        self.request = parts
        self.unsent = list(parts)
        self.send()

    def send(self) -> bool:
        """Send what the socket takes now. Whether all is sent."""
        while self.unsent:
            try:
                sent = self.socket.sendmsg(self.unsent)
            except BlockingIOError:
                return False
            except (BrokenPipeError, ConnectionResetError):
                self.unsent = []  # the reply may say why
                self.closing = True
                return True
            while self.unsent and sent >= len(self.unsent[0]):
                sent -= len(self.unsent.pop(0))
            if sent:
                self.unsent[0] = self.unsent[0][sent:]
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
        self.closing = self.closing or b"\r\nconnection: close" in head
        if self.status == 503 and (at := head.find(b"\r\nretry-after:")) > 0:
            self.retry_after = float(head[at + 14 :].partition(b"\r\n")[0])
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
        pipe.send(_Drive(load, health).run())
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")


def sending(load: Load) -> Iterator[Parts]:
    """The requests, one after the other, each with a serial number of its own."""
    serials = count(load.first_serial)
    requests = load.requests if load.seconds is None else cycle(load.requests)
    for request in requests:
        yield request.parts(serials)


class _Drive:
    """One run of a load."""

    def __init__(self, load: Load, health: Request | None) -> None:
        self.load = load
        self.outcome = Outcome()
        self.poll = select.epoll()
        self.connections: dict[int, Connection] = {}
        self.waiting_to_send: set[int] = set()
        self.sending = sending(load)
        self.later: list[tuple[float, Connection]] = []
        for _ in range(load.connections):
            self.add(Connection(load.port))
        self.probe = Connection(load.port) if health else None
        self.probe_parts = [memoryview(health.data)] if health else []
        if self.probe:
            self.poll.register(self.probe.fd, select.EPOLLIN)

    def add(self, connection: Connection) -> None:
        self.connections[connection.fd] = connection
        self.poll.register(connection.fd, select.EPOLLIN)

    def reconnect(self, connection: Connection) -> None:
        self.waiting_to_send.discard(connection.fd)
        with contextlib.suppress(FileNotFoundError):
            self.poll.unregister(connection.fd)
        del self.connections[connection.fd]
        connection.socket.close()
        connection.connect()
        self.add(connection)

    def begin(self, connection: Connection, parts: Parts | None) -> bool:
        if parts is None:
            return False
        connection.begin(parts, time.perf_counter())
        if connection.unsent:
            self.poll.modify(connection.fd, select.EPOLLIN | select.EPOLLOUT)
            self.waiting_to_send.add(connection.fd)
        return True

    def run(self) -> Outcome:
        used, waited = client_time()
        started = time.perf_counter()
        self.deadline = started + self.load.seconds if self.load.seconds else float("inf")
        self.busy = sum(
            self.begin(connection, next(self.sending, None))
            for connection in list(self.connections.values())
        )
        self.last_reply = self.last_event = self.next_probe = started
        self.probing = False
        while self.busy:
            self.step()
        finished = time.perf_counter()
        if self.probe and self.probing:
            self.outcome.health.extend(waits(finished - self.probe.started))
        end = min(finished, self.deadline) if self.load.seconds else self.last_reply
        self.outcome.seconds = end - started
        if not self.outcome.in_time:  # it was slower than the time allowed for even one
            self.outcome.in_time = len(self.outcome.latencies)
            self.outcome.seconds = finished - started
        used_then, waited_then = client_time()
        self.outcome.client_used = (used_then - used) / (finished - started)
        self.outcome.client_waited = (waited_then - waited) / (finished - started)
        return self.outcome

    def step(self) -> None:
        now = time.perf_counter()
        timeout = 0.5
        if self.probe and not self.probing:
            timeout = max(0.0, self.next_probe - now)
        events = self.poll.poll(timeout)
        now = time.perf_counter()
        if events or self.later:
            self.last_event = now
        elif now - self.last_event > self.load.patience:
            raise TimeoutError(f"no reply for {self.load.patience} s; {self.outcome.statuses}")
        if self.probe:
            self.ask_health(self.probe, events, now)
        while self.later and self.later[0][0] <= now:
            refused = self.later.pop(0)[1]
            self.begin(refused, refused.request)
        for fd, event in events:
            connection = self.connections.get(fd)
            if connection is None:  # it is the probe, or was closed meanwhile
                continue
            if fd in self.waiting_to_send and event & select.EPOLLOUT and connection.send():
                self.waiting_to_send.discard(fd)
                self.poll.modify(fd, select.EPOLLIN)
            if event & ~select.EPOLLOUT:
                self.take(connection)

    def ask_health(self, probe: Connection, events: list[tuple[int, int]], now: float) -> None:
        if self.probing:
            if any(fd == probe.fd for fd, _ in events) and probe.receive() is not None:
                self.outcome.health.extend(waits(now - probe.started))
                self.probing = False
        elif now >= self.next_probe:
            probe.begin(self.probe_parts, now)
            self.probing = True
            self.next_probe = now + HEALTH_EVERY

    def take(self, connection: Connection) -> None:
        """Read what came, and go on with the next request when the reply is whole."""
        try:
            length = connection.receive()
        except ConnectionError:
            if not self.load.retry:
                raise
            length, connection.status, connection.closing = 0, 0, True
        if length is None:
            return
        now = time.perf_counter()
        self.outcome.completed += 1
        self.outcome.received += length
        self.outcome.statuses[connection.status] += 1
        again = self.load.retry and connection.status in (0, 503)
        if not again:
            self.outcome.latencies.append(now - connection.started)
            self.outcome.in_time += now <= self.deadline
            self.last_reply = now
        if connection.status != 200 and not self.outcome.failure:
            self.outcome.failure = bytes(connection.view[:1000]).decode("latin1")
        if connection.closing or connection.unsent:
            self.reconnect(connection)
        if again:
            bisect.insort(
                self.later, (now + connection.retry_after, connection), key=lambda each: each[0]
            )
        elif now >= self.deadline or not self.begin(connection, next(self.sending, None)):
            self.busy -= 1


def client_time() -> tuple[float, float]:
    """Seconds that this process ran so far, and that it stood in line for its core.

    It has one thread. The second is nan where the kernel does not count it.
    """
    usage = resource.getrusage(resource.RUSAGE_SELF)
    try:
        waited = int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        waited = float("nan")
    return usage.ru_utime + usage.ru_stime, waited


def waits(seconds: float) -> list[float]:
    """How long this question waited, and those that would have been asked meanwhile.

    Else one long stall would count as a single slow reply.
    """
    waits = [seconds]
    while (seconds := seconds - HEALTH_EVERY) > 0:
        waits.append(seconds)
    return waits
