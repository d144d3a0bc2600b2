"""The order in which a request is checked, which existing clients depend on.

Each request below is wrong in several ways at once: it is answered for the first
of them. Then that is put right, and it is answered for the next, to the end.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.conftest import ADMIN, Api, Reply, tree
from tests.web.world import (
    ASSIGNMENT,
    COURSE,
    FIRST,
    INSTRUCTOR,
    NEVER,
    STRANGER,
    STUDENT,
)

LINE = '[{"username": "new", "first_name": "", "last_name": "", "email": ""}]'


class Check(NamedTuple):
    """What one check looks at: a value that fails it, a right one, and the failure."""

    part: str
    wrong: str | None
    right: str | None
    failure: tuple[int, str]


NOBODY = (401, "Please say who you are with the parameter 'user'")

COURSE_EXISTS = Check("course", "No such course", COURSE, (404, "Course not found"))
COURSE_IS_NEW = Check("course", COURSE, "New", (409, "Course already exists"))
ADMIN_ONLY = Check("user", INSTRUCTOR, ADMIN, (403, "Permission denied"))
INSTRUCTOR_ONLY = Check("user", STUDENT, INSTRUCTOR, (403, "Permission denied"))
MEMBER_ONLY = Check("user", STRANGER, STUDENT, (403, "Permission denied"))
ASSIGNMENT_EXISTS = Check("assignment", "none", ASSIGNMENT, (404, "Assignment not found"))
ASSIGNMENT_IS_NEW = Check("assignment", ASSIGNMENT, "new", (409, "Assignment already exists"))
PARTICIPANT = Check("student", STRANGER, STUDENT, (404, "Student not found"))
STUDENT_EXISTS = Check("student", INSTRUCTOR, STUDENT, (404, "Student not found"))
INSTRUCTOR_EXISTS = Check("student", STUDENT, INSTRUCTOR, (404, "Instructor not found"))
ONLY_THEMSELVES = Check(
    "student", STRANGER, INSTRUCTOR, (400, "Permission denied (cannot modify instructors)")
)
TIME_GIVEN = Check("timestamp", None, "soon", (400, "Please supply timestamp"))
TIME_PARSED = Check("timestamp", "soon", NEVER, (400, "Time format incorrect"))
SUBMITTED = Check("timestamp", NEVER, FIRST, (404, "Submission not found"))
INSTRUCTORS = Check("instructors", "[", "[]", (400, "Instructors cannot be JSON decoded"))
ROSTER_GIVEN = Check("students", None, "[", (400, "Please supply students"))
ROSTER_DECODED = Check("students", "[", "[{}]", (400, "Students cannot be JSON decoded"))
ROSTER_SHAPED = Check("students", "[{}]", LINE, (400, "Incorrect request format"))
NAMES = [
    Check("first_name", None, "", (400, "Please supply first name")),
    Check("last_name", None, "", (400, "Please supply last name")),
    Check("email", None, "", (400, "Please supply email")),
]
FILES = [
    Check("files", None, "[", (400, "Please supply files")),
    Check("files", "[", '[{"path": "/", "content": ""}]', (400, "Files cannot be JSON decoded")),
    Check("files", '[{"path": "/", "content": ""}]', tree(a="1"), (400, "Illegal path")),
]

COLLECT = [
    COURSE_EXISTS,
    INSTRUCTOR_ONLY,
    ASSIGNMENT_EXISTS,
    PARTICIPANT,
    Check("before", "soon", NEVER, (400, "Time format incorrect")),
]
READ_WORK = [
    COURSE_EXISTS,
    INSTRUCTOR_ONLY,
    ASSIGNMENT_EXISTS,
    PARTICIPANT,
    TIME_PARSED,
    SUBMITTED,
]

ORDER: dict[str, list[Check]] = {
    "GET courses": [],
    "POST course/{course}": [ADMIN_ONLY, COURSE_IS_NEW, INSTRUCTORS],
    "DELETE course/{course}": [ADMIN_ONLY, COURSE_EXISTS],
    "POST instructor/{course}/{student}": [
        COURSE_EXISTS,
        INSTRUCTOR_ONLY,
        ONLY_THEMSELVES,
        *NAMES,
    ],
    "GET instructor/{course}/{student}": [COURSE_EXISTS, MEMBER_ONLY, INSTRUCTOR_EXISTS],
    "DELETE instructor/{course}/{student}": [ADMIN_ONLY, COURSE_EXISTS, INSTRUCTOR_EXISTS],
    "GET instructors/{course}": [COURSE_EXISTS, MEMBER_ONLY],
    "POST student/{course}/{student}": [COURSE_EXISTS, INSTRUCTOR_ONLY, *NAMES],
    "GET student/{course}/{student}": [COURSE_EXISTS, INSTRUCTOR_ONLY, STUDENT_EXISTS],
    "DELETE student/{course}/{student}": [COURSE_EXISTS, INSTRUCTOR_ONLY, STUDENT_EXISTS],
    "POST students/{course}": [
        COURSE_EXISTS,
        INSTRUCTOR_ONLY,
        ROSTER_GIVEN,
        ROSTER_DECODED,
        ROSTER_SHAPED,
    ],
    "GET students/{course}": [COURSE_EXISTS, INSTRUCTOR_ONLY],
    "GET assignments/{course}": [COURSE_EXISTS, MEMBER_ONLY],
    "GET assignment/{course}/{assignment}": [COURSE_EXISTS, MEMBER_ONLY, ASSIGNMENT_EXISTS],
    "POST assignment/{course}/{assignment}": [
        COURSE_EXISTS,
        INSTRUCTOR_ONLY,
        ASSIGNMENT_IS_NEW,
        *FILES,
    ],
    "DELETE assignment/{course}/{assignment}": [
        COURSE_EXISTS,
        INSTRUCTOR_ONLY,
        ASSIGNMENT_EXISTS,
    ],
    "GET submissions/{course}/{assignment}": [COURSE_EXISTS, INSTRUCTOR_ONLY, ASSIGNMENT_EXISTS],
    "GET submissions/{course}/{assignment}/{student}": [
        COURSE_EXISTS,
        INSTRUCTOR_ONLY,
        ASSIGNMENT_EXISTS,
        PARTICIPANT,
    ],
    "POST submission/{course}/{assignment}": [
        COURSE_EXISTS,
        MEMBER_ONLY,
        ASSIGNMENT_EXISTS,
        *FILES,
    ],
    "GET submission/{course}/{assignment}/{student}": [
        COURSE_EXISTS,
        INSTRUCTOR_ONLY,
        ASSIGNMENT_EXISTS,
        PARTICIPANT,
        TIME_PARSED,
        SUBMITTED,
    ],
    "POST feedback/{course}/{assignment}/{student}": [
        COURSE_EXISTS,
        INSTRUCTOR_ONLY,
        ASSIGNMENT_EXISTS,
        PARTICIPANT,
        TIME_GIVEN,
        TIME_PARSED,
        SUBMITTED,
        *FILES,
    ],
    "GET feedback/{course}/{assignment}/{student}": [
        COURSE_EXISTS,
        INSTRUCTOR_ONLY,
        ASSIGNMENT_EXISTS,
        PARTICIPANT,
        TIME_GIVEN,
        TIME_PARSED,
        SUBMITTED,
    ],
    "GET collection/{course}/{assignment}": COLLECT,
    "GET manifest/assignment/{course}/{assignment}": [
        COURSE_EXISTS,
        MEMBER_ONLY,
        ASSIGNMENT_EXISTS,
    ],
    "GET manifest/submission/{course}/{assignment}/{student}": READ_WORK,
    "GET manifest/feedback/{course}/{assignment}/{student}": READ_WORK,
    "GET content/submission/{course}/{assignment}/{student}": [
        *READ_WORK,
        Check("path", None, "/", (400, "Please supply path")),
        Check("path", "/", "none", (400, "Illegal path")),
        Check("path", "none", "first.txt", (404, "File not found")),
    ],
    "GET archive/submission/{course}/{assignment}/{student}": READ_WORK,
    "GET archive/submissions/{course}/{assignment}": COLLECT,
}


async def send(api: Api, request: str, parts: dict[str, str]) -> Reply:
    method, _, template = request.partition(" ")
    path = [part.format(**parts) for part in template.split("/")]
    named = {part for part in parts if "{" + part + "}" in template}
    fields = {part: value for part, value in parts.items() if part not in named}
    send = {"GET": api.get, "POST": api.post, "DELETE": api.delete}[method]
    return await send(*path, **fields)


@pytest.mark.gen_test
@pytest.mark.parametrize("request_", ORDER)
async def test_checks_come_in_the_order_of_the_contract(api: Api, request_: str) -> None:
    checks = ORDER[request_]
    # Every part as the first check of it finds it, before anything was put right.
    parts = {"student": STRANGER}
    for check in reversed(checks):
        parts.pop(check.part, None)
        if check.wrong is not None:
            parts[check.part] = check.wrong

    caller = parts.pop("user", ADMIN)
    assert (await send(api, request_, parts)).failure == NOBODY
    parts["user"] = caller

    for check in checks:
        assert (await send(api, request_, parts)).failure == check.failure
        if check.right is not None:
            parts[check.part] = check.right
    assert (await send(api, request_, parts)).status == 200


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Type": "text/plain"}, b"x"),
        ({"Content-Encoding": "gzip"}, b"x"),
        ({}, b"files=%ff"),
        ({}, b"&".join(b"f%d=" % number for number in range(1001))),
        ({"Content-Type": "application/json"}, b"{"),
        ({"Content-Type": "application/json"}, b'{"n": %s}' % (b"1" * 21)),
        ({"Content-Type": "application/json"}, b'{"n": [%s]}' % b",".join([b"1"] * 500_000)),
    ],
    ids=["type", "encoding", "not UTF-8", "fields", "no JSON", "a long integer", "many values"],
)
async def test_what_cannot_be_read_is_refused_before_the_course_is_looked_up(
    api: Api, headers: dict[str, str], body: bytes
) -> None:
    path, query = ("submission", "No such course", "none"), {"user": STUDENT}
    reply = await api.send("POST", *path, query=query, headers=headers, body=body)
    assert reply.status == 400
    reply = await api.send("POST", *path, query=query, body=b"")
    assert reply.failure == (404, "Course not found")


@pytest.mark.gen_test
async def test_a_name_that_cannot_be_one_is_refused_before_the_course_is_looked_up(
    api: Api,
) -> None:
    reply = await api.get("assignment", "No such course", "a\tb", user=STUDENT)
    assert reply.status == 400
