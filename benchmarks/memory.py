"""How much memory the service takes while a hundred large submissions arrive at once."""

from __future__ import annotations

import json
import os
import time
from base64 import b64encode
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import load
from benchmarks.content import COURSE
from benchmarks.load import Load, Request
from benchmarks.processes import client_core
from benchmarks.scenarios import percentile
from benchmarks.sites import OPEN, Ours

UPLOAD_BYTES = 20_000_000
QUIET = 2.0
"""Seconds after the last reply when the memory that is left is taken."""


@dataclass(frozen=True)
class Uploads:
    """What came of it. Times in seconds, sizes in bytes."""

    room: int
    """The setting ``max_in_flight_mib``, in MiB."""
    count: int
    size: int
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


def measure(site: Ours, count: int, size: int = UPLOAD_BYTES) -> dict[str, Any]:
    """Send one file of ``size`` bytes of so many students at once, another file of each.

    The service is started anew, so that what it held before does not count.
    """
    requests = submissions(site, count, size)
    site.restart()
    site.process.forget_peak()
    idle = site.process.memory()
    whole = Load(site.port, requests, count, None, site.serial, retry=True, patience=300)
    outcome = load.run(whole, client_core(), site.health_request())
    site.serial += count
    peak = site.process.peak_memory()
    time.sleep(QUIET)
    uploads = Uploads(
        room=site.room,
        count=count,
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


def submissions(site: Ours, count: int, size: int) -> list[Request]:
    """One of each student, because what one student may send at once has a bound of its own.

    They share all but their first bytes, or the client would need gigabytes.
    """
    content = b"000000" + os.urandom(size - 6)
    files = json.dumps([{"path": "data.bin", "content": b64encode(content).decode()}])
    before, mark, rest = files.encode().partition(b64encode(b"000000"))
    start, end = b"&files=" + _quoted(before), _quoted(rest)
    return [
        load.post_body(
            f"{site.prefix}submission/{COURSE}/{OPEN}",
            b"user=%s" % student.encode() + start + mark,
            marks=[mark],
            rest=end,
        )
        for student in site.students[:count]
    ]


def too_much(last: dict[str, Any], count: int) -> bool:
    """Whether so many might fill this machine, if each took as much as in the last run."""
    each = (last["peak"] - last["idle"]) / last["count"]
    return bool(each * count > available() / 2)


def available() -> int:
    """Bytes that programs may still take, the kernel's caches included, which give way."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/meminfo does not name MemAvailable")


def _quoted(text: bytes) -> bytes:
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
