"""The night of the deadline: a whole class at once, and workers that are killed meanwhile."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import random
import re
import signal
import time

import pytest

from tests.process.site import ADMIN, Client, Server, Site, Trees, together, wait_for
from tests.process.test_crash import (
    Acknowledged,
    assert_kept,
    assert_no_row_without_its_bytes,
    load,
)

STUDENTS = 500
KILLS = 20


def enrol(server: Server) -> None:
    roster = [
        {"username": f"s{number}", "first_name": "", "last_name": "", "email": ""}
        for number in range(STUDENTS)
    ]
    with server.client() as ada:
        assert ada.post("course", "c", instructors=json.dumps([ADMIN])).status == 200
        assert ada.post("students", "c", students=json.dumps(roster)).status == 200
        assert ada.release("c", "a", {"a.txt": b"a"}).status == 200


def work_of(number: int) -> Trees:
    """What this student hands in: some of it as everybody's, some of it nobody else's."""
    unique = hashlib.sha256(b"%d" % number).digest() * random.Random(number).randint(1, 400)
    return {"notebook.ipynb": unique, "data/same.csv": b"the same for all" * 100}


@pytest.mark.parametrize(
    "arguments", [["--workers=4"], ["--threads=8"]], ids=["workers", "threads"]
)
def test_a_whole_class_submits_at_once(migrated_site: Site, arguments: list[str]) -> None:
    server = migrated_site.start(*arguments)
    enrol(server)

    def submit(number: int) -> tuple[str, str]:
        reasons: list[object] = []
        for _ in range(2):  # each tries once more, as a student would
            with server.client(f"s{number}") as client:
                try:
                    reply = client.submit("c", "a", work_of(number))
                except (OSError, http.client.HTTPException) as error:
                    reasons.append(error)
                    continue
            if reply.status == 200:
                return f"s{number}", reply.json["timestamp"]
            reasons.append(reply)
        raise AssertionError(f"nobody took the work of s{number}: {reasons}")

    acknowledged = together(STUDENTS, submit)
    with server.client() as ada:
        listed = ada.get("submissions", "c", "a").json["submissions"]
        # As many rows as acknowledgements, and the same.
        assert sorted((one["student_id"], one["timestamp"]) for one in listed) == sorted(
            acknowledged
        )
        for student, moment in acknowledged:
            assert ada.collect("c", "a", student, moment) == work_of(int(student[1:]))
    assert server.stop() == 0
    assert_no_row_without_its_bytes(migrated_site)


def serving(server: Server, worker: int) -> Client:
    """A client whose connection this very worker has taken, and on which it has answered."""

    def one() -> Client | None:
        client = server.client()
        assert client.get("healthz").status == 200
        if server.worker_of(client.connection.sock) == worker:
            return client
        client.connection.close()
        return None

    return wait_for(f"worker {worker} to serve", one)


def wait_for_another(server: Server, known: set[int]) -> int:
    """The worker besides these, as soon as there is one."""
    [another] = wait_for("another worker", lambda: server.workers() - known)
    return another


def test_workers_are_killed_twenty_times_meanwhile(
    migrated_site: Site, chance: random.Random
) -> None:
    server = migrated_site.start("--workers=4")
    enrol(server)
    wait_for("all workers", lambda: len(server.workers()) == 4)
    acknowledged = Acknowledged(refusal=503, largest=5_000, rest=10)
    victims = []
    with load(server, acknowledged, [f"s{number}" for number in range(STUDENTS)]):
        wait_for("the storm", lambda: acknowledged.trees)
        # Only now: of four that have nothing to do, one may take every connection.
        clients = {pid: serving(server, pid) for pid in server.workers()}
        for _ in range(KILLS):
            time.sleep(chance.uniform(0, 0.3))
            victim = chance.choice(sorted(clients))
            os.kill(victim, signal.SIGKILL)
            victims.append(victim)
            clients.pop(victim).connection.close()
            for client in clients.values():  # the others go on
                assert client.get("healthz").status == 200
            another = wait_for_another(server, {*clients, victim})
            clients[another] = serving(server, another)
        assert server.workers() == clients.keys()
    for client in clients.values():
        assert client.get("courses").json["courses"] == ["c"]
        client.connection.close()
    assert_kept(server, acknowledged)
    assert server.stop() == 0
    assert_no_row_without_its_bytes(migrated_site)
    ended = re.findall(r"Worker (\d+) ended \((-?\d+)\)", server.output)
    assert ended == [(str(victim), "-9") for victim in victims]
    assert len(set(victims)) == KILLS
