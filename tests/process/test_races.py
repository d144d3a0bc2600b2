"""Many clients at the same moment: the database decides, and nothing is lost or doubled."""

from __future__ import annotations

import itertools
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from tests.process.site import ADMIN, Client, Site, files_field, together

CLIENTS = 8
STUDENTS = 300
ROUNDS = 5


class Crowd:
    """Services on one database, and a course of this test's own with an assignment ``a``."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.course = f"course {uuid4()}"
        self._turns = itertools.cycle(site.servers)

    def client(self) -> Client:
        """A client of one of the services; they take turns."""
        return next(self._turns).client()

    def open(self) -> Crowd:
        with self.client() as ada:
            assert ada.post("course", self.course, instructors=json.dumps([ADMIN])).status == 200
            assert ada.release(self.course, "a", {"a.txt": b"a"}).status == 200
        return self

    def rows(self, query: str) -> list[Any]:
        """What the database itself answers; ``:course`` in it is the course's name."""
        return self.site.rows(query, **({"course": self.course} if ":course" in query else {}))

    def assert_all_kept(self, acknowledged: dict[str, bytes]) -> None:
        """What was acknowledged, by its time, is exactly what is listed, stored and readable."""
        with self.client() as ada:
            listed = ada.get("submissions", self.course, "a", ADMIN).json["submissions"]
            times = [one["timestamp"] for one in listed]
            assert times == sorted(acknowledged)
            for moment, content in acknowledged.items():
                assert ada.collect(self.course, "a", ADMIN, moment) == {"work.bin": content}
        [(count,)] = self.rows(
            "SELECT count(*) FROM submissions JOIN assignments ON assignments.id = assignment_id "
            "JOIN courses ON courses.id = course_id WHERE courses.name = :course"
        )
        assert count == len(acknowledged)


@dataclass(frozen=True)
class Setting:
    """How many services of what size work on what kind of database."""

    kind: str
    arguments: tuple[str, ...]
    services: int = 1


SETTINGS = {
    "sqlite, 8 threads": Setting("sqlite", ("--threads=8",)),
    "sqlite, 4 workers": Setting("sqlite", ("--workers=4", "--threads=4")),
    "postgresql, 4 workers": Setting("postgresql", ("--workers=4", "--threads=4")),
    "postgresql, two services": Setting("postgresql", ("--workers=4", "--threads=4"), services=2),
}
"""What the start-up says is tested."""


@pytest.fixture(scope="module", params=SETTINGS.values(), ids=SETTINGS)
def crowded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """Services that all races of one kind share. Each race works in its own course."""
    setting: Setting = request.param
    url = None
    if setting.kind == "postgresql":
        url = request.getfixturevalue("new_postgres_database")()
    site = Site(tmp_path_factory.mktemp("races"), url)
    try:
        for _ in range(setting.services):
            site.start(*setting.arguments)
        yield site
    finally:
        site.close()


@pytest.fixture
def crowd(crowded: Site) -> Iterator[Crowd]:
    before = [len(server.output) for server in crowded.servers]
    yield Crowd(crowded)
    for server, length in zip(crowded.servers, before, strict=True):
        new = server.output[length:]
        assert "Traceback" not in new
        assert "Gave up" not in new


def test_one_assignment_is_released_once(crowd: Crowd) -> None:
    crowd.open()

    def release(number: int) -> int:
        with crowd.client() as ada:
            return ada.release(crowd.course, "race", {"a.txt": b"from %d" % number}).status

    statuses = together(CLIENTS, release)
    assert sorted(statuses) == [200] + [409] * (CLIENTS - 1)
    with crowd.client() as ada:
        assert ada.get("assignments", crowd.course).json["assignments"] == ["a", "race"]
        won = b"from %d" % statuses.index(200)
        assert ada.get("assignment", crowd.course, "race").files == {"a.txt": won}
    trees = crowd.rows(
        "SELECT trees.id FROM trees JOIN courses ON courses.id = course_id "
        "WHERE courses.name = :course"
    )
    assert len(trees) == 2


def test_one_course_is_created_once(crowd: Crowd) -> None:
    def create(number: int) -> int:
        with crowd.client() as ada:
            instructors = json.dumps([f"teacher {number} of {crowd.course}"])
            return ada.post("course", crowd.course, instructors=instructors).status

    statuses = together(CLIENTS, create)
    assert sorted(statuses) == [200] + [409] * (CLIENTS - 1)
    assert crowd.rows("SELECT count(*) FROM courses WHERE name = :course") == [(1,)]
    members = crowd.rows(
        "SELECT users.name FROM memberships JOIN users ON users.id = user_id "
        "JOIN courses ON courses.id = course_id WHERE courses.name = :course"
    )
    assert members == [(f"teacher {statuses.index(200)} of {crowd.course}",)]


def test_one_roster_is_written_by_all(crowd: Crowd) -> None:
    crowd.open()
    names = [f"student {number:03} of {crowd.course}" for number in range(STUDENTS)]

    def write(number: int) -> dict[str, Any]:
        students = [
            {"username": name, "first_name": str(number), "last_name": "l", "email": "e"}
            for name in names
        ]
        with crowd.client() as ada:
            reply = ada.post("students", crowd.course, students=json.dumps(students))
            assert reply.status == 200, reply
            return reply.json

    expected = {"success": True, "status": [{"username": name, "success": True} for name in names]}
    assert together(CLIENTS, write) == [expected] * CLIENTS
    rows = crowd.rows(
        "SELECT users.name, first_name, role FROM memberships JOIN users ON users.id = user_id "
        "JOIN courses ON courses.id = course_id "
        "WHERE courses.name = :course AND role = 'student' ORDER BY users.name"
    )
    assert [name for name, _, _ in rows] == names
    assert len({first_name for _, first_name, _ in rows}) == 1  # one of them wrote last, whole
    with crowd.client() as ada:
        students = ada.get("students", crowd.course).json["students"]
        assert [student["username"] for student in students] == names


def test_one_student_submits_from_everywhere(crowd: Crowd) -> None:
    crowd.open()

    def submit(number: int) -> list[tuple[str, bytes]]:
        acknowledged = []
        with crowd.client() as ada:
            for turn in range(ROUNDS):
                content = b"%d %d " % (number, turn) + os.urandom(3000)
                reply = ada.submit(crowd.course, "a", {"work.bin": content})
                assert reply.status == 200, reply
                acknowledged.append((reply.json["timestamp"], content))
        return acknowledged

    by_client = together(CLIENTS, submit)
    for acknowledged in by_client:
        assert acknowledged == sorted(acknowledged)
    times = {moment: content for acknowledged in by_client for moment, content in acknowledged}
    assert len(times) == CLIENTS * ROUNDS
    crowd.assert_all_kept(times)


def test_release_by_force_beside_submissions_loses_nothing(crowd: Crowd) -> None:
    crowd.open()
    forced = threading.Event()

    def submit(number: int) -> list[tuple[str, bytes]]:
        acknowledged: list[tuple[str, bytes]] = []
        with crowd.client() as ada:
            while len(acknowledged) < 2 or not forced.is_set():
                content = b"%d %d " % (number, len(acknowledged)) + os.urandom(3000)
                reply = ada.submit(crowd.course, "a", {"work.bin": content})
                if reply.status == 200:
                    acknowledged.append((reply.json["timestamp"], content))
                else:  # it came between the removal and the release
                    assert (reply.status, reply.json["message"]) == (404, "Assignment not found")
        return acknowledged

    def force(number: int) -> list[tuple[str, bytes]]:
        try:
            with crowd.client() as ada:
                for turn in range(ROUNDS):
                    assert ada.delete("assignment", crowd.course, "a").status == 200
                    files = {"a.txt": b"version %d" % turn}
                    assert ada.release(crowd.course, "a", files).status == 200
        finally:
            forced.set()
        return []

    by_client = together(CLIENTS, lambda number: (submit if number else force)(number))
    times = {moment: content for acknowledged in by_client for moment, content in acknowledged}
    assert len(times) == sum(map(len, by_client))
    crowd.assert_all_kept(times)
    with crowd.client() as ada:
        newest = b"version %d" % (ROUNDS - 1)
        assert ada.get("assignment", crowd.course, "a").files == {"a.txt": newest}


def test_feedback_from_everywhere_on_one_submission(crowd: Crowd) -> None:
    crowd.open()
    with crowd.client() as ada:
        moment = ada.submit(crowd.course, "a", {"work.bin": b"work"}).json["timestamp"]

    def give(number: int) -> None:
        with crowd.client() as ada:
            for turn in range(ROUNDS):
                files = files_field({"feedback.html": b"%d %d" % (number, turn)})
                place = ("feedback", crowd.course, "a", ADMIN)
                assert ada.post(*place, timestamp=moment, files=files).status == 200

    together(CLIENTS, give)
    # Every tree but the newest of each kind is marked: purge frees it, and nothing else.
    [(trees, kept)] = crowd.rows(
        "SELECT count(*), count(*) - count(tree_id) "
        "FROM trees JOIN courses ON courses.id = course_id "
        "LEFT JOIN replaced_trees ON tree_id = trees.id WHERE courses.name = :course"
    )
    assert (trees, kept) == (2 + CLIENTS * ROUNDS, 3)


def test_everybody_releases_by_force(crowd: Crowd) -> None:
    crowd.open()

    def force(number: int) -> None:
        with crowd.client() as ada:
            for turn in range(ROUNDS):
                assert ada.delete("assignment", crowd.course, "a").status in (200, 404)
                released = ada.release(crowd.course, "a", {"a.txt": b"%d %d" % (number, turn)})
                assert released.status in (200, 409)

    together(CLIENTS, force)
    with crowd.client() as ada:
        assert ada.get("assignments", crowd.course).json["assignments"] == ["a"]
        assert ada.get("assignment", crowd.course, "a").status == 200
    [(shown,)] = crowd.rows(
        "SELECT count(*) FROM trees JOIN courses ON courses.id = course_id "
        "WHERE courses.name = :course "
        "AND trees.id NOT IN (SELECT tree_id FROM replaced_trees)"
    )
    assert shown == 1


def test_rosters_of_several_courses_name_the_same_new_people(crowd: Crowd) -> None:
    names = [f"new {number:03} of {crowd.course}" for number in range(STUDENTS)]

    def write(number: int) -> None:
        course = f"{number} {crowd.course}"
        ordered = names if number % 2 else names[::-1]
        students = [
            {"username": name, "first_name": "f", "last_name": "l", "email": "e"}
            for name in ordered
        ]
        with crowd.client() as ada:
            assert ada.post("course", course, instructors=json.dumps([ADMIN])).status == 200
            assert ada.post("students", course, students=json.dumps(students)).status == 200
            listed = ada.get("students", course).json["students"]
            assert [student["username"] for student in listed] == names

    together(CLIENTS, write)
    [(users,)] = crowd.rows("SELECT count(*) FROM users WHERE name LIKE 'new % of ' || :course")
    assert users == STUDENTS
