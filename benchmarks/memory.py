"""How much memory the service takes: large submissions at once, many files, stuck clients."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from base64 import b64encode
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks import load
from benchmarks.content import COURSE, TEACHER
from benchmarks.load import Load, Request
from benchmarks.processes import client_core
from benchmarks.scenarios import percentile
from benchmarks.sites import OPEN, Ours

UPLOAD_BYTES = 20_000_000
MANY_FILES_BYTES = 3_500_000
SMALL_CONNECTIONS = 10
"""How many students submit a small tree at once, while large ones arrive."""
QUIET = 2.0
"""Seconds after the last reply when the memory that is left is taken."""


@dataclass(frozen=True)
class Uploads:
    """What came of it. Times in seconds, sizes in bytes."""

    count: int
    files: int
    """How many files each submission has."""
    size: int
    """Of each file."""
    stored: int
    refused: int
    """Replies 503, each of which was sent again."""
    cut: int
    """Connections that were closed instead."""
    seconds: float
    idle: float
    peak: float
    after: float
    health: float


def measure(site: Ours, count: int, size: int = UPLOAD_BYTES, files: int = 1) -> dict[str, Any]:
    """Send files of ``size`` bytes of so many students at once, another first file of each.

    The service is started anew, so that what it held before does not count.
    """
    requests = submissions(site, count, size, files)
    site.restart()
    site.process.forget_peak()
    idle = site.process.memory()
    whole = Load(site.port, requests, count, None, site.serial, retry=True, patience=300)
    outcome = load.run(whole, client_core(), site.health_request())
    site.serial += count
    peak = site.process.peak_memory()
    time.sleep(QUIET)
    uploads = Uploads(
        count=count,
        files=files,
        size=size,
        stored=outcome.statuses[200],
        refused=outcome.statuses[503],
        cut=outcome.statuses[0],
        seconds=outcome.seconds,
        idle=idle,
        peak=peak,
        after=site.process.memory(),
        health=percentile(list(outcome.health), 0.99),
    )
    if uploads.stored != count:
        raise RuntimeError(f"{site.name}: {dict(outcome.statuses)}, first {outcome.failure}")
    return asdict(uploads)


def stuck_clients(site: Ours, count: int, seconds: float = 10.0) -> dict[str, float]:
    """Return what is taken above idle while clients read no reply, and others send a byte a second.

    There are ``count`` of each.
    """
    large = json.dumps(
        [{"path": "large.bin", "content": b64encode(os.urandom(UPLOAD_BYTES)).decode()}]
    )
    released = Load(
        site.port,
        [
            load.post_body(
                f"{site.prefix}assignment/{COURSE}/large",
                b"user=%s&files=%s" % (TEACHER.encode(), quote_form(large.encode())),
            )
        ],
        1,
    )
    outcome = load.run(released, client_core(), site.health_request())
    if outcome.statuses[200] != 1:
        raise RuntimeError(f"{site.name}: {outcome.failure}")
    site.restart()
    idle = site.process.memory()
    site.process.forget_peak()
    asked = load.get(f"{site.prefix}assignment/{COURSE}/large", user=site.students[0]).data
    sent = load.post_body(f"{site.prefix}submission/{COURSE}/{OPEN}", b"x" * 500_000).data
    head = sent.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    with contextlib.ExitStack() as opened:
        sockets = [
            opened.enter_context(socket.create_connection(("127.0.0.1", site.port)))
            for _ in range(2 * count)
        ]
        for at, each in enumerate(sockets):
            each.sendall(asked if at < count else head)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for each in sockets[count:]:
                each.sendall(b"x")
            time.sleep(1)
        return {"clients": 2 * count, "idle": idle, "peak": site.process.peak_memory()}


def small_beside_large(site: Ours, seconds: float, large: int = 8) -> dict[str, float]:
    """Return the 99th percentile of small submissions, alone and beside large ones, in seconds.

    The large ones are of ``large`` students, each of 20 MB, sent again and again meanwhile.
    """
    requests = site.submits()
    small = Load(site.port, requests, SMALL_CONNECTIONS, seconds, site.serial)
    latencies = {}
    for name in ("alone", "beside"):
        uploads = submissions(site, large, UPLOAD_BYTES) if name == "beside" else []
        whole = Load(site.port, uploads, large, seconds + 4, site.serial, retry=True, patience=300)
        sending = threading.Thread(target=load.run, args=(whole, None), daemon=True)
        if uploads:
            sending.start()
            time.sleep(2)
        outcome = load.run(small, client_core(), site.health_request())
        if uploads:
            sending.join()
        if set(outcome.statuses) != {200}:
            raise RuntimeError(f"{site.name}: {dict(outcome.statuses)}, first {outcome.failure}")
        site.serial += outcome.completed
        latencies[name] = percentile(list(outcome.latencies), 0.99)
    return latencies


def submissions(site: Ours, count: int, size: int, files: int = 1) -> list[Request]:
    """One of each student, because what one student may send at once has a bound of its own.

    They share all but their first bytes, or the client would need gigabytes.
    """
    content = b"000000" + os.urandom(size - 6)
    encoded = [b64encode(each).decode() for each in (content, content[6:])]
    tree = json.dumps(
        [{"path": f"{at}.bin", "content": encoded[min(at, 1)]} for at in range(files)]
    )
    before, mark, rest = tree.encode().partition(b64encode(b"000000"))
    start, end = b"&files=" + quote_form(before), quote_form(rest)
    return [
        load.post_body(
            f"{site.prefix}submission/{COURSE}/{OPEN}",
            b"user=%s" % student.encode() + start + mark,
            marks=[mark],
            rest=end,
        )
        for student in site.students[:count]
    ]


def quote_form(text: bytes) -> bytes:
    """The text as in a form. For this much of it, ``quote_plus`` would take half a minute."""
    for plain, quoted in (
        (b"%", b"%25"),
        (b"+", b"%2B"),
        (b"/", b"%2F"),
        (b"=", b"%3D"),
        (b"&", b"%26"),
        (b" ", b"+"),
        (b'"', b"%22"),
        (b"[", b"%5B"),
        (b"]", b"%5D"),
        (b"{", b"%7B"),
        (b"}", b"%7D"),
        (b":", b"%3A"),
        (b",", b"%2C"),
    ):
        text = text.replace(plain, quoted)
    return text
