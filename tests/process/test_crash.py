"""Killed in the middle of many submissions: what was acknowledged is there, byte for byte."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import random
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.process.site import ADMIN, Server, Site, Trees, wait_for

CLIENTS = 8
ROUNDS = 3
STUDENTS = [f"student {number}" for number in range(CLIENTS // 2)]
"""Each submits from two clients at once."""


@dataclass
class Acknowledged:
    """What the service said that it has: files, by student and time."""

    trees: dict[tuple[str, str], Trees] = field(default_factory=dict)
    refusal: int | None = None
    """A status besides 200 that a submission may be answered with."""

    def submit_until_refused(self, server: Server, student: str, stop: threading.Event) -> None:
        with server.client(student) as client:
            while not stop.is_set():
                files = {
                    "notebook.ipynb": os.urandom(random.randint(1, 100_000)),
                    "data/same.csv": b"the same for all",
                }
                with contextlib.suppress(OSError, http.client.HTTPException):
                    reply = client.submit("c", "a", files)
                    if reply.status == self.refusal:
                        continue
                    assert reply.status == 200, reply
                    self.trees[student, reply.json["timestamp"]] = files
                    continue
                client.connection.close()  # killed; the next attempt connects again


@contextlib.contextmanager
def load(server: Server, acknowledged: Acknowledged) -> Iterator[None]:
    """Many clients that submit as long as this lasts."""
    stop = threading.Event()
    threads = [
        threading.Thread(
            target=acknowledged.submit_until_refused,
            args=(server, STUDENTS[number % len(STUDENTS)], stop),
        )
        for number in range(CLIENTS)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def wait_for_more(acknowledged: Acknowledged) -> None:
    """Wait for a number of acknowledgements that nobody can tell beforehand."""
    enough = len(acknowledged.trees) + random.randint(10, 30)
    wait_for("acknowledged submissions", lambda: len(acknowledged.trees) >= enough)


def prepare(server: Server) -> None:
    """A course with all the students, and an assignment."""
    with server.client() as ada:
        assert ada.post("course", "c", instructors=json.dumps([ADMIN])).status == 200
        roster = [
            {"username": name, "first_name": "", "last_name": "", "email": ""} for name in STUDENTS
        ]
        assert ada.post("students", "c", students=json.dumps(roster)).status == 200
        assert ada.release("c", "a", {"a.txt": b"a"}).status == 200


def assert_kept(server: Server, acknowledged: Acknowledged) -> None:
    """Everything that was acknowledged is listed and readable, and all that is listed is."""
    with server.client() as ada:
        reply = ada.get("submissions", "c", "a").json["submissions"]
        listed = {(one["student_id"], one["timestamp"]) for one in reply}
        assert acknowledged.trees.keys() <= listed
        for student, moment in listed:
            files = ada.collect("c", "a", student, moment)
            # What nobody was told of may be there or not, but not by half.
            assert files == acknowledged.trees.get((student, moment), files)
            assert files.keys() == {"notebook.ipynb", "data/same.csv"}


def assert_no_row_without_its_bytes(site: Site) -> None:
    """The rows of files against the blobs on the disk, without the service."""
    if site.database.startswith("sqlite"):
        assert site.rows("PRAGMA integrity_check") == [("ok",)]
        assert site.rows("PRAGMA foreign_key_check") == []
    rows = site.rows("SELECT sha256, md5, size FROM files")
    assert rows
    for sha256, md5, size in rows:
        content = (site.storage / "blobs" / sha256.hex()[:2] / sha256.hex()).read_bytes()
        assert len(content) == size
        assert hashlib.sha256(content).digest() == sha256
        assert hashlib.md5(content).digest() == md5
    trees = site.rows("SELECT id FROM trees WHERE id NOT IN (SELECT tree_id FROM files)")
    assert trees == []


@pytest.mark.parametrize(
    "arguments", [[], ["--workers=4", "--threads=4"]], ids=["default", "workers"]
)
def test_killed_again_and_again(migrated_site: Site, arguments: list[str]) -> None:
    acknowledged = Acknowledged()
    server = migrated_site.start(*arguments)
    prepare(server)
    for _ in range(ROUNDS):
        with load(server, acknowledged):
            wait_for_more(acknowledged)
            server.kill()
        assert_no_row_without_its_bytes(migrated_site)
        server = migrated_site.start(*arguments)
        assert "up to date\n" in server.output
        assert_kept(server, acknowledged)
    assert server.stop() == 0
    assert_no_row_without_its_bytes(migrated_site)


def test_workers_killed_one_after_the_other(migrated_site: Site) -> None:
    acknowledged = Acknowledged()
    server = migrated_site.start("--workers=2")
    prepare(server)
    with load(server, acknowledged):
        for _ in range(ROUNDS):
            wait_for_more(acknowledged)
            workers = server.workers()
            victim = random.choice(sorted(workers))
            os.kill(victim, signal.SIGKILL)
            wait_for("another worker", lambda known=workers: server.workers() - known)
    assert_kept(server, acknowledged)
    assert server.stop() == 0
    assert_no_row_without_its_bytes(migrated_site)
