"""How much memory the service takes while a hundred large submissions arrive at once."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks import load
from benchmarks.content import COURSE
from benchmarks.load import Load
from benchmarks.processes import client_core
from benchmarks.scenarios import percentile
from benchmarks.sites import OPEN, Site

UPLOAD_BYTES = 20_000_000


@dataclass(frozen=True)
class Uploads:
    """What came of it. Times in seconds, sizes in bytes."""

    count: int
    size: int
    stored: int
    refused: int
    """Replies 503, each of which was sent again."""
    cut: int
    """Connections that were closed instead."""
    seconds: float
    before: float
    peak: float
    after: float
    health: float


def measure(site: Site, count: int, size: int = UPLOAD_BYTES) -> dict[str, Any]:
    """Send so many submissions of one file of ``size`` bytes at once, another file in each."""
    content = b"000000" + os.urandom(size - 6)
    files = json.dumps([{"path": "data.bin", "content": b64encode(content).decode()}])
    mark = b'"content": "MDAwMDAw'
    before, found, rest = files.encode().partition(mark)
    start = len(_quoted(before + found)) - 8
    body = b"user=%s&files=" % site.students[0].encode() + _quoted(before + found + rest)
    start += len(b"user=%s&files=" % site.students[0].encode())
    path = f"{site.prefix}submission/{COURSE}/{OPEN}"
    request = load.post_body(path, body)
    spot = len(request.data) - len(body) + start
    requests = [load.Request(request.data, (spot,))] * count
    site.process.forget_peak()
    at_rest = site.process.memory()
    whole = Load(site.port, requests, count, None, site.serial, retry=True, patience=300)
    outcome = load.run(whole, client_core(), site.health_request())
    site.serial += count
    uploads = Uploads(
        count=count,
        size=size,
        stored=outcome.statuses[200],
        refused=outcome.statuses[503],
        cut=outcome.statuses[0],
        seconds=outcome.seconds,
        before=at_rest,
        peak=site.process.peak_memory(),
        after=site.process.memory(),
        health=percentile(list(outcome.health), 0.99),
    )
    if uploads.stored != count:
        raise RuntimeError(f"{site.name}: {dict(outcome.statuses)}, first {outcome.failure}")
    return asdict(uploads)


def too_much(first: dict[str, Any], count: int) -> bool:
    """Whether so many might fill this machine, going by what a first number of them took."""
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    each = (first["peak"] - first["before"]) / first["count"]
    return bool(each * count > free / 2)


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
