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
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from tests.process.site import ADMIN, Client, Server, Site, Trees, wait_for

ROUNDS = 3
STUDENTS = [f"student {number}" for number in range(4)]
"""Each submits from two clients at once."""

SAME = b"the same for all"


@dataclass
class Acknowledged:
    """What the service said that it has: files, by student and time."""

    trees: dict[tuple[str, str], Trees] = field(default_factory=dict)
    refusal: int | None = None
    """A status besides 200 that a submission may be answered with."""
    largest: int = 100_000
    """How many bytes a notebook has at most."""
    rest: float = 0.0
    """For how many seconds at most a client rests when its work is acknowledged."""
    sent: set[tuple[str, bytes]] = field(default_factory=set)
    """The notebooks that were sent, acknowledged or not: by student and SHA-256."""
    unknown: list[object] = field(default_factory=list)
    """Why nobody knows of an attempt whether it is stored; one for each such attempt."""

    def submit_again_and_again(self, server: Server, student: str, stop: threading.Event) -> None:
        with server.client(student) as client:
            while not stop.is_set():
                notebook = os.urandom(random.randint(1, self.largest))
                self.sent.add((student, hashlib.sha256(notebook).digest()))
                files = {"notebook.ipynb": notebook, "data/same.csv": SAME}
                while not self._submit(client, files) and not stop.is_set():
                    pass  # the same again, as a student would
                stop.wait(random.uniform(0, self.rest))

    def _submit(self, client: Client, files: Trees) -> bool:
        try:
            reply = client.submit("c", "a", files)
        except (OSError, http.client.HTTPException) as error:
            self.unknown.append(error)
            client.connection.close()  # killed; the next attempt connects again
            return False
        if reply.status == self.refusal:
            if "Retry-After" not in reply.headers:  # else it is surely not stored
                self.unknown.append(reply)
            return False
        assert reply.status == 200, reply
        self.trees[client.user, reply.json["timestamp"]] = files
        return True


@contextlib.contextmanager
def load(
    server: Server, acknowledged: Acknowledged, clients: Sequence[str] = STUDENTS * 2
) -> Iterator[None]:
    """Many clients that submit as long as this lasts; each is named by its student."""
    stop = threading.Event()
    threads = [
        threading.Thread(target=acknowledged.submit_again_and_again, args=(server, student, stop))
        for student in clients
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


def wait_for_a_random_moment(acknowledged: Acknowledged, chance: random.Random) -> None:
    """Wait until work is stored again, and then for as long as chance says."""
    before = len(acknowledged.trees)
    wait_for("acknowledged submissions", lambda: len(acknowledged.trees) > before)
    time.sleep(chance.uniform(0, 0.5))


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
        assert len(reply) == len(listed)
        assert acknowledged.trees.keys() <= listed
        # What nobody was told of may be there or not, but not by half, and not twice.
        assert len(listed) <= len(acknowledged.trees) + len(acknowledged.unknown)
        for student, moment in listed:
            files = ada.collect("c", "a", student, moment)
            assert files == acknowledged.trees.get((student, moment), files)
            assert files.keys() == {"notebook.ipynb", "data/same.csv"}
            notebook = hashlib.sha256(files["notebook.ipynb"]).digest()
            assert (student, notebook) in acknowledged.sent
            assert files["data/same.csv"] == SAME


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
def test_killed_again_and_again(
    migrated_site: Site, arguments: list[str], chance: random.Random
) -> None:
    acknowledged = Acknowledged()
    server = migrated_site.start(*arguments)
    prepare(server)
    for _ in range(ROUNDS):
        with load(server, acknowledged):
            wait_for_a_random_moment(acknowledged, chance)
            server.kill()
        assert_no_row_without_its_bytes(migrated_site)
        server = migrated_site.start(*arguments)
        assert "up to date\n" in server.output
        assert_kept(server, acknowledged)
    assert server.stop() == 0
    assert_no_row_without_its_bytes(migrated_site)


def two_of(server: Server) -> set[int] | None:
    """The workers, if there are two."""
    workers = server.workers()
    return workers if len(workers) == 2 else None


def test_workers_killed_one_after_the_other(migrated_site: Site, chance: random.Random) -> None:
    acknowledged = Acknowledged()
    server = migrated_site.start("--workers=2")
    prepare(server)
    with load(server, acknowledged):
        for _ in range(ROUNDS):
            wait_for_a_random_moment(acknowledged, chance)
            workers = wait_for("both workers", lambda: two_of(server))
            os.kill(chance.choice(sorted(workers)), signal.SIGKILL)
            wait_for("another worker", lambda known=workers: server.workers() - known)
    assert_kept(server, acknowledged)
    assert server.stop() == 0
    assert_no_row_without_its_bytes(migrated_site)
