"""Count the bytes of submissions that consist mostly of unchanged data of the assignment."""

from __future__ import annotations

import json
import os
from base64 import b64encode

from benchmarks import content, load
from benchmarks.content import ADMIN, TEACHER, Files
from benchmarks.load import Request
from benchmarks.memory import quote_form
from benchmarks.processes import disk_usage
from benchmarks.sites import Ours, Site

COURSE = "survey"
ASSIGNMENT = "ps1"
FILE_BYTES = 20_000_000
"""The size of a data file of the assignment; the last one may be smaller."""


def data_files(size: int) -> Files:
    """Return incompressible data files of ``size`` bytes in total."""
    starts = range(0, size, FILE_BYTES)
    return [
        (f"data/{at}.bin", os.urandom(min(FILE_BYTES, size - start)))
        for at, start in enumerate(starts)
    ]


def release(site: Site, files: Files) -> None:
    """Create a course with the site's students, and release an assignment with these files."""
    everyone = [content.person(name) for name in site.students]
    site.ask(site.post(f"course/{COURSE}", ADMIN, instructors=json.dumps([TEACHER])))
    site.ask(site.post(f"students/{COURSE}", TEACHER, students=json.dumps(everyone)))
    tree = [("work.ipynb", content.notebook("released")), *files]
    site.run([form(site, f"assignment/{COURSE}/{ASSIGNMENT}", TEACHER, tree)], connections=1)


def count_changed(site: Ours, files: Files) -> dict[str, int]:
    """Let every student submit their notebook and the data, by requests without the data.

    Return the bytes sent, with the heads of the requests, and the bytes stored.
    """
    path = f"{site.prefix}tree/submission/{COURSE}/{ASSIGNMENT}"
    requests: list[Request] = [
        load.post_tree(path, [("work.ipynb", content.notebook(name)), *files], user=name)
        for name in site.students
    ]
    return count(site, requests)


def count_whole(site: Site, files: Files) -> dict[str, int]:
    """Let one student submit all by the compatible protocol. Return the bytes sent and stored."""
    name = site.students[0]
    tree = [("work.ipynb", content.notebook(name)), *files]
    return count(site, [form(site, f"submission/{COURSE}/{ASSIGNMENT}", name, tree)])


def count(site: Site, requests: list[Request]) -> dict[str, int]:
    """Send these, and return the bytes sent and stored."""
    pieces = load.sending(load.Load(0, requests))
    sent = sum(len(piece) for parts in pieces for piece in parts)
    before = disk_usage(site.folder)
    site.run(requests, connections=8)
    return {"sent": sent, "stored": disk_usage(site.folder) - before}


def form(site: Site, path: str, user: str, files: Files) -> Request:
    """Return a request of the compatible protocol with these files."""
    tree = [{"path": name, "content": b64encode(data).decode()} for name, data in files]
    fields = f"user={user}&files=".encode()
    return load.post_body(site.prefix + path, fields, rest=quote_form(json.dumps(tree).encode()))
