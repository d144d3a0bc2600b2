"""Many clients at the same moment: the database decides, and nothing is lost or doubled."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from ngshare.database import make_engine, parse_url
from tests.process.site import ADMIN, Server, Site, together

CLIENTS = 8
STUDENTS = 300
ROUNDS = 5


class Crowd:
    """A server, its database, and a course of this test's own with an assignment ``a``."""

    def __init__(self, server: Server, database: str) -> None:
        self.server = server
        self.database = database
        self.course = f"course {uuid4()}"

    def open(self) -> Crowd:
        with self.server.client() as ada:
            assert ada.post("course", self.course, instructors=json.dumps([ADMIN])).status == 200
            assert ada.release(self.course, "a", {"a.txt": b"a"}).status == 200
        return self

    def rows(self, query: str) -> list[Any]:
        """What the database itself answers; ``:course`` in it is the course's name."""
        engine = make_engine(parse_url(self.database))
        try:
            with engine.connect() as connection:
                values = {"course": self.course} if ":course" in query else {}
                return [tuple(row) for row in connection.execute(text(query), values)]
        finally:
            engine.dispose()

    def assert_all_kept(self, acknowledged: dict[str, bytes]) -> None:
        """What was acknowledged, by its time, is exactly what is listed, stored and readable."""
        with self.server.client() as ada:
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


@pytest.fixture(scope="module", params=["--threads=8", "--workers=2", "postgres"])
def crowded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, str]]:
    """A server that all races of one kind share, and its database. Each works in its own course."""
    site = Site(tmp_path_factory.mktemp("races"))
    database = f"sqlite:///{site.database_file}"
    arguments = [request.param]
    if request.param == "postgres":
        database = request.getfixturevalue("new_postgres_database")()
        arguments = ["--threads=4", "--workers=2"]
    try:
        yield site.start(*arguments, "--database", database), database
    finally:
        site.close()


@pytest.fixture
def crowd(crowded: tuple[Server, str]) -> Iterator[Crowd]:
    server, database = crowded
    before = len(server.output)
    yield Crowd(server, database)
    new = server.output[before:]
    assert "Traceback" not in new
    assert "Gave up" not in new


def test_one_assignment_is_released_once(crowd: Crowd) -> None:
    crowd.open()

    def release(number: int) -> int:
        with crowd.server.client() as ada:
            return ada.release(crowd.course, "race", {"a.txt": b"from %d" % number}).status

    statuses = together(CLIENTS, release)
    assert sorted(statuses) == [200] + [409] * (CLIENTS - 1)
    with crowd.server.client() as ada:
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
        with crowd.server.client() as ada:
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
        with crowd.server.client() as ada:
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
    with crowd.server.client() as ada:
        students = ada.get("students", crowd.course).json["students"]
        assert [student["username"] for student in students] == names


def test_one_student_submits_from_everywhere(crowd: Crowd) -> None:
    crowd.open()

    def submit(number: int) -> list[tuple[str, bytes]]:
        acknowledged = []
        with crowd.server.client() as ada:
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
        with crowd.server.client() as ada:
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
            with crowd.server.client() as ada:
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
    with crowd.server.client() as ada:
        newest = b"version %d" % (ROUNDS - 1)
        assert ada.get("assignment", crowd.course, "a").files == {"a.txt": newest}
