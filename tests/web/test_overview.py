"""One request that describes a caller's courses, and one that describes what to collect."""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone
from typing import Any
from unittest.mock import patch

import pytest

import ngshare
from ngshare.actions import assignments, courses, feedback, roster, submissions
from ngshare.actions.access import Caller
from ngshare.blobs import sha256
from ngshare.db.transactions import Database
from ngshare.protocol.trees import StoredFile, md5
from ngshare.web.api import lists
from tests.conftest import ADMIN, Api
from tests.web.world import (
    ASSIGNMENT,
    CLASSMATE,
    COLLEAGUE,
    COURSE,
    FIRST,
    INSTRUCTOR,
    OTHER_COURSE,
    OUTSIDE_STUDENT,
    OUTSIDER,
    SECOND,
    STRANGER,
    STUDENT,
    UNTOUCHED,
)

pytestmark = pytest.mark.gen_test

RELEASED = "2018-01-01 00:00:00.000000 UTC"


def digest_of(**contents: bytes) -> str:
    """Return the digest of a tree as a user computes it with sha256sum."""
    lines = [f"{hashlib.sha256(contents[path]).hexdigest()}  {path}\n" for path in sorted(contents)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def files(**contents: bytes) -> list[StoredFile]:
    return [
        StoredFile(path, sha256(content), md5(content), len(content))
        for path, content in contents.items()
    ]


RELEASE = {
    "released": RELEASED,
    "digest": digest_of(**{"problems.ipynb": b"{}"}),
    "files": 1,
    "bytes": 2,
    "notebooks": ["problems.ipynb"],
}
SUBMITTED_FIRST = {
    "timestamp": FIRST,
    "digest": digest_of(**{"first.txt": b"1"}),
    "files": 1,
    "bytes": 1,
    "notebooks": [],
    "feedback": {
        "digest": digest_of(**{"marks.html": b"<p>good</p>"}),
        "files": [{"path": "marks.html", "sha256": hashlib.sha256(b"<p>good</p>").hexdigest()}],
    },
}
SUBMITTED_SECOND = {
    "timestamp": SECOND,
    "digest": digest_of(**{"second.txt": b"2"}),
    "files": 1,
    "bytes": 1,
    "notebooks": [],
    "feedback": None,
}
COLLECTED_SECOND = {**SUBMITTED_SECOND, "student_id": STUDENT, "removed": False, "late": False}
COLLECTED_FIRST = {**SUBMITTED_FIRST, "student_id": STUDENT, "removed": False, "late": False}


async def ask(api: Api, user: str, **query: str) -> Any:
    reply = await api.get("overview", user=user, **query)
    return reply.success("user", "admin", "version", "time", "courses")


async def collect(api: Api, assignment: str = ASSIGNMENT, **query: str) -> Any:
    reply = await api.get("collection", COURSE, assignment, user=INSTRUCTOR, **query)
    return reply.success("submissions")["submissions"]


async def test_a_student_sees_assignments_and_their_own_submissions(api: Api) -> None:
    reply = await ask(api, STUDENT)
    assert reply["user"] == STUDENT
    assert reply["admin"] is False
    assert reply["version"] == ngshare.__version__
    assert reply["time"].endswith(" UTC")
    own = [SUBMITTED_FIRST, SUBMITTED_SECOND]
    assert reply["courses"] == [
        {
            "name": COURSE,
            "role": "student",
            "assignments": [
                {"name": ASSIGNMENT, **RELEASE, "submissions": own},
                {"name": UNTOUCHED, **RELEASE, "submissions": []},
            ],
        }
    ]


async def test_nobody_sees_submissions_of_others(api: Api) -> None:
    for user in (CLASSMATE, INSTRUCTOR):
        [course] = (await ask(api, user))["courses"]
        assert [each["submissions"] for each in course["assignments"]] == [[], []]
    assert (await ask(api, STRANGER))["courses"] == []
    [course] = (await ask(api, OUTSIDE_STUDENT))["courses"]
    assert course == {"name": OTHER_COURSE, "role": "student", "assignments": []}


async def test_an_instructor_sees_how_many_have_submitted(api: Api, database: Database) -> None:
    database.write(submissions.submit, Caller(CLASSMATE), COURSE, ASSIGNMENT, files(a=b"1"))
    [course] = (await ask(api, INSTRUCTOR, counts="true"))["courses"]
    assert course["role"] == "instructor"
    assert [each["students_submitted"] for each in course["assignments"]] == [2, 0]
    for user, query in ((STUDENT, {"counts": "true"}), (INSTRUCTOR, {})):
        [course] = (await ask(api, user, **query))["courses"]
        assert not any("students_submitted" in each for each in course["assignments"])


async def test_roles_differ_between_courses(api: Api, database: Database) -> None:
    """An instructor of one course who is a student in another sees numbers in the first only."""
    database.write(roster.put_student, Caller(OUTSIDER), OTHER_COURSE, INSTRUCTOR, "", "", "")
    database.write(
        assignments.release_assignment, Caller(OUTSIDER), OTHER_COURSE, "other", files(a=b"1")
    )
    taught, taken = (await ask(api, INSTRUCTOR, counts="true"))["courses"]
    assert [taught["name"], taken["name"]] == [COURSE, OTHER_COURSE]
    assert ["students_submitted" in each for each in taught["assignments"]] == [True, True]
    assert ["students_submitted" in each for each in taken["assignments"]] == [False]


async def test_an_admin_sees_courses_by_name_and_otherwise_their_own(api: Api) -> None:
    reply = await ask(api, ADMIN)
    assert (reply["admin"], reply["courses"]) == (True, [])
    [course] = (await ask(api, ADMIN, course=COURSE, counts="true"))["courses"]
    assert (course["name"], course["role"]) == (COURSE, None)
    assert [each["students_submitted"] for each in course["assignments"]] == [1, 0]


async def test_one_assignment(api: Api, database: Database) -> None:
    database.write(roster.put_student, Caller(OUTSIDER), OTHER_COURSE, STUDENT, "", "", "")
    [course] = (await ask(api, STUDENT, course=COURSE, assignment=UNTOUCHED))["courses"]
    assert [each["name"] for each in course["assignments"]] == [UNTOUCHED]
    taken = (await ask(api, STUDENT, assignment=ASSIGNMENT))["courses"]
    names = [[each["name"] for each in course["assignments"]] for course in taken]
    assert names == [[ASSIGNMENT], []]


@pytest.mark.parametrize("user", [STRANGER, OUTSIDER, OUTSIDE_STUDENT])
async def test_the_course_of_others(api: Api, user: str) -> None:
    reply = await api.get("overview", user=user, course=COURSE)
    assert reply.failure == (403, "Permission denied")
    reply = await api.get("overview", user=user, course=COURSE, assignment="none")
    assert reply.failure == (403, "Permission denied")


async def test_what_does_not_exist(api: Api) -> None:
    reply = await api.get("overview", user=STUDENT, course="none")
    assert reply.failure == (404, "Course not found")
    reply = await api.get("overview", user=STUDENT, course=COURSE, assignment="none")
    assert reply.failure == (404, "Assignment not found")


async def test_what_was_removed_is_in_no_overview(api: Api, database: Database) -> None:
    instructor = Caller(INSTRUCTOR)
    database.write(assignments.remove_assignment, instructor, COURSE, ASSIGNMENT)
    [course] = (await ask(api, STUDENT))["courses"]
    assert [each["name"] for each in course["assignments"]] == [UNTOUCHED]
    database.write(roster.remove_student, instructor, COURSE, STUDENT)
    assert (await ask(api, STUDENT))["courses"] == []
    reply = await api.get("overview", user=STUDENT, course=COURSE)
    assert reply.failure == (403, "Permission denied")
    database.write(courses.remove_course, Caller(ADMIN, admin=True), COURSE)
    assert (await ask(api, INSTRUCTOR))["courses"] == []


async def test_names_of_the_query_are_taken_literally(api: Api, database: Database) -> None:
    database.write(courses.create_course, Caller(ADMIN, admin=True), f" {COURSE}", [STRANGER])
    [course] = (await ask(api, STRANGER, course=f" {COURSE}"))["courses"]
    assert course["name"] == f" {COURSE}"
    reply = await api.get("overview", user=STRANGER, course=COURSE)
    assert reply.failure == (403, "Permission denied")
    reply = await api.get("overview", user=STRANGER, course="a\x00b")
    assert reply.status == 400


async def test_the_newest_submission_of_each_student(api: Api, database: Database) -> None:
    assert await collect(api) == [COLLECTED_SECOND]
    assert await collect(api, UNTOUCHED) == []
    with patch("ngshare.actions.audit.now", return_value=datetime(2020, 1, 3, tzinfo=timezone.utc)):
        tree = files(**{"b.ipynb": b"{}", "a/a.ipynb": b"", "x.IPYNB": b"", "y.ipynbx": b""})
        database.write(submissions.submit, Caller(CLASSMATE), COURSE, ASSIGNMENT, tree)
    own, other = await collect(api)
    assert own == COLLECTED_SECOND
    assert other["student_id"] == CLASSMATE
    assert other["notebooks"] == ["a/a.ipynb", "b.ipynb"]
    assert (other["files"], other["bytes"]) == (4, 2)


async def test_every_submission(api: Api) -> None:
    assert await collect(api, all="true") == [COLLECTED_FIRST, COLLECTED_SECOND]
    assert await collect(api, all="true", before=FIRST) == [COLLECTED_FIRST]


async def test_submissions_until_a_time(api: Api) -> None:
    assert await collect(api, before=FIRST) == [COLLECTED_FIRST]
    assert await collect(api, before=SECOND) == [COLLECTED_SECOND]
    assert await collect(api, before="2020-01-01 23:59:59") == [COLLECTED_FIRST]
    late = await collect(api, before="2019-12-31 23:59:59.999999 UTC")
    assert late == [{**COLLECTED_SECOND, "late": True}]


async def test_the_submissions_of_one_student(api: Api, database: Database) -> None:
    database.write(submissions.submit, Caller(COLLEAGUE), COURSE, ASSIGNMENT, files(a=b"1"))
    assert await collect(api, student=STUDENT) == [COLLECTED_SECOND]
    assert await collect(api, student=STUDENT, all="true") == [COLLECTED_FIRST, COLLECTED_SECOND]
    assert await collect(api, student=CLASSMATE) == []
    reply = await api.get("collection", COURSE, ASSIGNMENT, user=INSTRUCTOR, student=STRANGER)
    assert reply.failure == (404, "Student not found")


async def test_students_who_have_left_are_collected_too(api: Api, database: Database) -> None:
    database.write(roster.remove_student, Caller(INSTRUCTOR), COURSE, STUDENT)
    expected = [{**COLLECTED_SECOND, "removed": True}]
    assert await collect(api) == expected
    assert await collect(api, student=STUDENT) == expected


async def test_feedback_that_was_replaced(api: Api, database: Database) -> None:
    own = (COURSE, ASSIGNMENT, STUDENT, FIRST)
    database.write(feedback.give_feedback, Caller(INSTRUCTOR), *own, files(b=b"2", a=b"1"))
    [collected] = await collect(api, before=FIRST)
    assert collected["feedback"] == {
        "digest": digest_of(a=b"1", b=b"2"),
        "files": [
            {"path": "a", "sha256": hashlib.sha256(b"1").hexdigest()},
            {"path": "b", "sha256": hashlib.sha256(b"2").hexdigest()},
        ],
    }


async def test_a_lost_file_counts_with_zeros(api: Api, database: Database) -> None:
    lost = StoredFile("a", None, bytes(16), 5)
    database.write(submissions.submit, Caller(STUDENT), COURSE, UNTOUCHED, [lost])
    [collected] = await collect(api, UNTOUCHED)
    expected = hashlib.sha256(b"0" * 64 + b"  a\n").hexdigest()
    assert (collected["digest"], collected["bytes"]) == (expected, 5)


async def test_a_long_collection_is_encoded_in_steps(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = await collect(api, all="true")
    monkeypatch.setattr(lists, "ENCODE_STEP", 1)
    assert await collect(api, all="true") == expected


# Manifests


FILE = {"path": "second.txt", "sha256": hashlib.sha256(b"2").hexdigest(), "size": 1}


async def test_the_manifest_of_a_release(api: Api) -> None:
    reply = await api.get("manifest", "assignment", COURSE, ASSIGNMENT, user=STUDENT)
    sha = hashlib.sha256(b"{}").hexdigest()
    assert reply.success("digest", "files") == {
        "success": True,
        "digest": RELEASE["digest"],
        "files": [{"path": "problems.ipynb", "sha256": sha, "size": 2}],
    }


@pytest.mark.parametrize("user", [STUDENT, INSTRUCTOR, ADMIN])
async def test_the_manifest_of_a_submission(api: Api, user: str) -> None:
    path = ("manifest", "submission", COURSE, ASSIGNMENT, STUDENT)
    latest = (await api.get(*path, user=user)).success("digest", "files", "timestamp")
    assert (latest["timestamp"], latest["files"]) == (SECOND, [FILE])
    first = (await api.get(*path, user=user, timestamp=FIRST)).success(
        "digest", "files", "timestamp"
    )
    assert (first["timestamp"], first["digest"]) == (FIRST, SUBMITTED_FIRST["digest"])


async def test_the_manifest_of_feedback(api: Api) -> None:
    path = ("manifest", "feedback", COURSE, ASSIGNMENT, STUDENT)
    reply = await api.get(*path, user=STUDENT, timestamp=FIRST)
    assert reply.success("digest", "files", "timestamp")["files"] == [
        {"path": "marks.html", "sha256": hashlib.sha256(b"<p>good</p>").hexdigest(), "size": 11}
    ]
    reply = await api.get(*path, user=STUDENT)
    assert reply.failure == (404, "Feedback not found")


async def test_a_student_who_has_left(api: Api, database: Database) -> None:
    """An instructor reads their work on; the student themself does not."""
    database.write(roster.remove_student, Caller(INSTRUCTOR), COURSE, STUDENT)
    path = ("manifest", "submission", COURSE, ASSIGNMENT, STUDENT)
    assert (await api.get(*path, user=INSTRUCTOR)).status == 200
    assert (await api.get(*path, user=STUDENT)).failure == (403, "Permission denied")
