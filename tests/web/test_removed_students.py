"""What a student who left the course handed in: instructors read it when they ask for it."""

from __future__ import annotations

import pytest

from tests.conftest import ADMIN, Api
from tests.web.test_assignments import full
from tests.web.world import (
    ASSIGNMENT,
    CLASSMATE,
    COURSE,
    FIRST,
    INSTRUCTOR,
    OUTSIDER,
    SECOND,
    STRANGER,
    STUDENT,
)

pytestmark = pytest.mark.gen_test

PATHS = ["submissions", "submission", "feedback"]


async def leave(api: Api) -> None:
    (await api.delete("student", COURSE, STUDENT, user=INSTRUCTOR)).success()


async def ask(api: Api, path: str, student: str, user: str) -> tuple[int, str]:
    reply = await api.get(
        path, COURSE, ASSIGNMENT, student, user=user, timestamp=FIRST, removed="true"
    )
    return (200, "") if reply.status == 200 else reply.failure


@pytest.mark.parametrize("user", [INSTRUCTOR, ADMIN])
async def test_whoever_teaches_reads_it_when_asking_for_it(api: Api, user: str) -> None:
    await leave(api)
    work = (COURSE, ASSIGNMENT, STUDENT)
    listed = await api.get("submissions", *work, user=user, removed="true")
    assert listed.success("submissions")["submissions"] == [
        {"student_id": STUDENT, "timestamp": FIRST},
        {"student_id": STUDENT, "timestamp": SECOND},
    ]
    latest = await api.get("submission", *work, user=user, removed="true")
    assert latest.success("files", "timestamp")["files"] == full(second__txt=b"2")
    first = await api.get("submission", *work, user=user, timestamp=FIRST, removed="true")
    assert first.success("files", "timestamp")["files"] == full(first__txt=b"1")
    marks = await api.get("feedback", *work, user=user, timestamp=FIRST, removed="true")
    assert marks.success("files", "timestamp")["files"] == full(marks__html=b"<p>good</p>")


@pytest.mark.parametrize("path", PATHS)
async def test_without_the_parameter_it_is_as_in_0_6(api: Api, path: str) -> None:
    await leave(api)
    for extra in ({}, {"removed": "false"}):
        reply = await api.get(
            path, COURSE, ASSIGNMENT, STUDENT, user=INSTRUCTOR, timestamp=FIRST, **extra
        )
        assert reply.failure == (404, "Student not found")


@pytest.mark.parametrize("path", PATHS)
async def test_nobody_else_does(api: Api, path: str) -> None:
    await leave(api)
    for user in (STUDENT, CLASSMATE, OUTSIDER, STRANGER):
        assert await ask(api, path, STUDENT, user) == (403, "Permission denied")


@pytest.mark.parametrize("path", PATHS)
async def test_who_never_handed_in_to_the_course_is_not_found(api: Api, path: str) -> None:
    assert await ask(api, path, STRANGER, INSTRUCTOR) == (404, "Student not found")


@pytest.mark.parametrize("path", PATHS)
async def test_whoever_is_in_the_course_is_found_as_ever(api: Api, path: str) -> None:
    assert await ask(api, path, STUDENT, INSTRUCTOR) == (200, "")
