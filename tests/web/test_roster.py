"""The contract of ``instructor``, ``instructors``, ``student`` and ``students``."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ngshare.actions import users
from ngshare.db.transactions import Database
from tests.conftest import ADMIN, Api
from tests.web.world import (
    ASSIGNMENT,
    CLASSMATE,
    COLLEAGUE,
    COURSE,
    FIRST,
    INSTRUCTOR,
    OUTSIDER,
    SECOND,
    STRANGER,
    STUDENT,
)

pytestmark = pytest.mark.gen_test

ADA = {"first_name": "Ada", "last_name": "Łęcka", "email": "ada@x.edu"}
EMPTY = {"first_name": "", "last_name": "", "email": ""}
FOUR = ("username", "first_name", "last_name", "email")

IVY = {"username": "ivy", "first_name": "Ivy", "last_name": "Ito", "email": "ivy@x.edu"}
IAN = {"username": "ian", "first_name": None, "last_name": None, "email": None}
SAM = {"username": "sam", "first_name": "Sam", "last_name": "Sun", "email": "sam@x.edu"}
SUE = {"username": "sue", "first_name": "Sue", "last_name": "Sea", "email": "sue@x.edu"}


def by_name(people: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(people, key=lambda person: str(person["username"]))


async def role(api: Api, user: str) -> str | None:
    """What somebody is in the course, as an admin sees it."""
    for found in ("instructor", "student"):
        if (await api.get(found, COURSE, user, user=ADMIN)).status == 200:
            return found
    return None


# Instructors


@pytest.mark.parametrize("user", [ADMIN, INSTRUCTOR, STUDENT])
async def test_members_see_who_teaches(api: Api, user: str) -> None:
    reply = await api.get("instructors", COURSE, user=user)
    assert by_name(reply.success("instructors")["instructors"]) == [IAN, IVY]


@pytest.mark.parametrize("user", [ADMIN, INSTRUCTOR, STUDENT])
async def test_members_see_one_instructor(api: Api, user: str) -> None:
    reply = await api.get("instructor", COURSE, INSTRUCTOR, user=user)
    assert reply.success(*FOUR) == {"success": True, **IVY}


async def test_fields_that_were_never_set_are_null(api: Api) -> None:
    reply = await api.get("instructor", COURSE, COLLEAGUE, user=STUDENT)
    assert reply.success(*FOUR) == {"success": True, **IAN}


@pytest.mark.parametrize("username", [STUDENT, STRANGER, "nobody"])
async def test_who_does_not_teach_is_no_instructor(api: Api, username: str) -> None:
    for reply in (
        await api.get("instructor", COURSE, username, user=INSTRUCTOR),
        await api.delete("instructor", COURSE, username, user=ADMIN),
    ):
        assert reply.failure == (404, "Instructor not found")


@pytest.mark.parametrize("username", [COLLEAGUE, STUDENT, STRANGER, "never seen"])
async def test_an_admin_makes_anybody_an_instructor(api: Api, username: str) -> None:
    (await api.post("instructor", COURSE, username, user=ADMIN, **ADA)).success()
    reply = await api.get("instructor", COURSE, username, user=ADMIN)
    assert reply.success(*FOUR) == {"success": True, "username": username, **ADA}


async def test_a_student_whom_an_admin_makes_an_instructor_is_no_student_any_more(
    api: Api,
) -> None:
    await api.post("instructor", COURSE, STUDENT, user=ADMIN, **ADA)
    assert await role(api, STUDENT) == "instructor"
    reply = await api.get("students", COURSE, user=INSTRUCTOR)
    assert reply.json["students"] == [SUE]


async def test_an_instructor_changes_their_own_names(api: Api) -> None:
    (await api.post("instructor", COURSE, INSTRUCTOR, user=INSTRUCTOR, **ADA)).success()
    reply = await api.get("instructor", COURSE, INSTRUCTOR, user=STUDENT)
    assert reply.json == {"success": True, "username": INSTRUCTOR, **ADA}


async def test_names_may_be_empty(api: Api) -> None:
    for kind, username in (("instructor", INSTRUCTOR), ("student", STUDENT)):
        (await api.post(kind, COURSE, username, user=INSTRUCTOR, **EMPTY)).success()
        reply = await api.get(kind, COURSE, username, user=INSTRUCTOR)
        assert reply.json == {"success": True, "username": username, **EMPTY}


@pytest.mark.parametrize(
    ("field", "what"),
    [("first_name", "first name"), ("last_name", "last name"), ("email", "email")],
)
async def test_names_may_not_be_absent(api: Api, field: str, what: str) -> None:
    fields = {key: value for key, value in ADA.items() if key != field}
    for kind, username in (("instructor", INSTRUCTOR), ("student", STUDENT)):
        reply = await api.post(kind, COURSE, username, user=INSTRUCTOR, **fields)
        assert reply.failure == (400, f"Please supply {what}")
    assert (await api.get("instructor", COURSE, INSTRUCTOR, user=ADMIN)).json["first_name"] == "Ivy"


@pytest.mark.parametrize(
    ("username", "reason"),
    [
        (COLLEAGUE, "cannot modify other instructors"),
        (STUDENT, "cannot modify instructors"),
        (STRANGER, "cannot modify instructors"),
        (OUTSIDER, "cannot modify instructors"),
        ("never seen", "cannot modify instructors"),
    ],
)
async def test_an_instructor_makes_nobody_else_an_instructor(
    api: Api, username: str, reason: str
) -> None:
    before = await role(api, username)
    reply = await api.post("instructor", COURSE, username, user=INSTRUCTOR, **ADA)
    assert reply.failure == (400, f"Permission denied ({reason})")
    assert await role(api, username) == before


async def test_an_admin_removes_an_instructor(api: Api) -> None:
    (await api.delete("instructor", COURSE, INSTRUCTOR, user=ADMIN)).success()
    assert await role(api, INSTRUCTOR) is None
    reply = await api.get("students", COURSE, user=INSTRUCTOR)
    assert reply.failure == (403, "Permission denied")


async def test_an_instructor_who_was_removed_can_come_back(api: Api) -> None:
    await api.delete("instructor", COURSE, INSTRUCTOR, user=ADMIN)
    (await api.post("student", COURSE, INSTRUCTOR, user=COLLEAGUE, **ADA)).success()
    assert await role(api, INSTRUCTOR) == "student"
    (await api.post("instructor", COURSE, INSTRUCTOR, user=ADMIN, **ADA)).success()
    assert await role(api, INSTRUCTOR) == "instructor"


# Students


@pytest.mark.parametrize("user", [ADMIN, INSTRUCTOR])
async def test_instructors_see_who_takes_the_course(api: Api, user: str) -> None:
    reply = await api.get("students", COURSE, user=user)
    assert by_name(reply.success("students")["students"]) == [SAM, SUE]


@pytest.mark.parametrize("user", [ADMIN, INSTRUCTOR, STUDENT])
async def test_instructors_and_the_student_see_one_student(api: Api, user: str) -> None:
    reply = await api.get("student", COURSE, STUDENT, user=user)
    assert reply.success(*FOUR) == {"success": True, **SAM}


@pytest.mark.parametrize("username", [INSTRUCTOR, STRANGER, "nobody"])
async def test_who_does_not_take_the_course_is_no_student(api: Api, username: str) -> None:
    for reply in (
        await api.get("student", COURSE, username, user=INSTRUCTOR),
        await api.delete("student", COURSE, username, user=INSTRUCTOR),
    ):
        assert reply.failure == (404, "Student not found")


@pytest.mark.parametrize("username", [STUDENT, STRANGER, "never seen"])
async def test_an_instructor_enrols_a_student(api: Api, username: str) -> None:
    (await api.post("student", COURSE, username, user=INSTRUCTOR, **ADA)).success()
    reply = await api.get("student", COURSE, username, user=username)
    assert reply.success(*FOUR) == {"success": True, "username": username, **ADA}


@pytest.mark.parametrize("username", [INSTRUCTOR, COLLEAGUE])
async def test_an_instructor_cannot_be_enrolled(api: Api, username: str) -> None:
    for user in (ADMIN, INSTRUCTOR):
        reply = await api.post("student", COURSE, username, user=user, **ADA)
        assert reply.failure == (409, "Cannot add instructor as student")
    assert await role(api, username) == "instructor"


async def test_a_student_who_was_removed_is_out_and_their_submissions_stay(api: Api) -> None:
    (await api.delete("student", COURSE, STUDENT, user=INSTRUCTOR)).success()
    assert await role(api, STUDENT) is None
    assert (await api.get("students", COURSE, user=INSTRUCTOR)).json["students"] == [SUE]
    reply = await api.get("assignments", COURSE, user=STUDENT)
    assert reply.failure == (403, "Permission denied")
    handed_in = [
        {"student_id": STUDENT, "timestamp": FIRST},
        {"student_id": STUDENT, "timestamp": SECOND},
    ]
    reply = await api.get("submissions", COURSE, ASSIGNMENT, user=INSTRUCTOR)
    assert reply.json["submissions"] == handed_in
    (await api.post("student", COURSE, STUDENT, user=INSTRUCTOR, **ADA)).success()
    reply = await api.get("submissions", COURSE, ASSIGNMENT, STUDENT, user=STUDENT)
    assert reply.json["submissions"] == handed_in


# Importing a roster


def line(username: str, **names: Any) -> dict[str, Any]:
    return {"username": username, **ADA, **names}


async def test_a_roster_is_imported_line_by_line(api: Api) -> None:
    roster = [line("zoe"), line(INSTRUCTOR), line(STUDENT, email=""), line("Jürgen")]
    reply = await api.post("students", COURSE, user=INSTRUCTOR, students=json.dumps(roster))
    assert reply.success("status")["status"] == [
        {"username": "zoe", "success": True},
        {
            "username": INSTRUCTOR,
            "success": False,
            "message": "Cannot add instructor as student",
        },
        {"username": STUDENT, "success": True},
        {"username": "Jürgen", "success": True},
    ]
    reply = await api.get("students", COURSE, user=INSTRUCTOR)
    assert by_name(reply.json["students"]) == by_name(
        [line("Jürgen"), line(STUDENT, email=""), SUE, line("zoe")]
    )
    assert await role(api, INSTRUCTOR) == "instructor"


async def test_other_keys_of_a_line_are_ignored(api: Api) -> None:
    roster = json.dumps([line("zoe", password="x", id=5)])
    reply = await api.post("students", COURSE, user=INSTRUCTOR, students=roster)
    assert reply.success("status")["status"] == [{"username": "zoe", "success": True}]


@pytest.mark.parametrize("students", [None, "", "[]"])
async def test_a_roster_must_be_supplied(api: Api, students: str | None) -> None:
    fields = {} if students is None else {"students": students}
    reply = await api.post("students", COURSE, user=INSTRUCTOR, **fields)
    assert reply.failure == (400, "Please supply students")


@pytest.mark.parametrize("students", ["[", "zoe", "[{]", "{'username': 'zoe'}"])
async def test_a_roster_must_be_json(api: Api, students: str) -> None:
    reply = await api.post("students", COURSE, user=INSTRUCTOR, students=students)
    assert reply.failure == (400, "Students cannot be JSON decoded")


@pytest.mark.parametrize(
    "students",
    [
        '"zoe"',
        "7",
        "true",
        '["zoe"]',
        "[[]]",
        "[null]",
        "[{}]",
        json.dumps(line("zoe")),
        *(json.dumps([line("zoe", **{key: None})]) for key in FOUR[1:]),
        *(json.dumps([line("zoe", **{key: 7})]) for key in FOUR[1:]),
        json.dumps([{**ADA}]),
        json.dumps([{**ADA, "username": ["zoe"]}]),
        json.dumps([line("zoe"), {"username": "sue"}]),
        json.dumps([line("zoe", first_name="\0")]),
        '[{"username": "zoe", "first_name": "\\ud800", "last_name": "", "email": ""}]',
    ],
)
async def test_a_roster_is_a_list_of_objects_with_four_strings(api: Api, students: str) -> None:
    reply = await api.post("students", COURSE, user=INSTRUCTOR, students=students)
    assert reply.failure == (400, "Incorrect request format")
    assert (await api.get("students", COURSE, user=INSTRUCTOR)).json["students"] == [SAM, SUE]


async def test_names_that_are_none_are_reported_and_the_other_lines_count(api: Api) -> None:
    roster = json.dumps([line(name) for name in ("", "a/b", "a\nb", "n" * 256, CLASSMATE)])
    reply = await api.post("students", COURSE, user=INSTRUCTOR, students=roster)
    *illegal, legal = reply.success("status")["status"]
    for status in illegal:
        assert status.keys() == {"username", "success", "message"}
        assert status["success"] is False
    assert legal == {"username": CLASSMATE, "success": True}


# Names that may be those of no user of the Hub

ODD = {
    "username": "ZoE",
    "message": "has capitals, and JupyterHub makes names lower-case by default",
}
ADDING: list[tuple[str, tuple[str, ...], dict[str, str], tuple[str, ...]]] = [
    (INSTRUCTOR, ("student", COURSE, "ZoE"), ADA, ()),
    (ADMIN, ("instructor", COURSE, "ZoE"), ADA, ()),
    (ADMIN, ("course", "New"), {"instructors": '["fine", "ZoE"]'}, ()),
    (
        INSTRUCTOR,
        ("students", COURSE),
        {"students": json.dumps([line("fine"), line("ZoE"), line("A/B")])},
        ("status",),
    ),
]


@pytest.mark.parametrize(("user", "path", "fields", "keys"), ADDING)
async def test_who_adds_a_name_that_may_be_no_users_is_warned(
    api: Api,
    database: Database,
    caplog: pytest.LogCaptureFixture,
    user: str,
    path: tuple[str, ...],
    fields: dict[str, str],
    keys: tuple[str, ...],
) -> None:
    reply = await api.post(*path, user=user, warnings="true", **fields)
    assert reply.success("warnings", *keys)["warnings"] == [ODD]
    said = (
        f'{user} added to the course {path[1]} who may be no users of the Hub: "ZoE" has capitals'
    )
    [warning] = [text for text in caplog.messages if said in text]
    assert "fine" not in warning
    if path[0] != "course":
        caplog.clear()
        (await api.post(*path, user=user, **fields)).success(*keys)
        assert said in caplog.text
        database.write(users.mark_seen, "ZoE")
        reply = await api.post(*path, user=user, warnings="true", **fields)
        assert reply.success("warnings", *keys)["warnings"] == []


async def test_many_odd_names_are_one_line_of_the_log(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    roster = json.dumps([line(f"X{number}") for number in range(1000)])
    reply = await api.post("students", COURSE, user=INSTRUCTOR, students=roster, warnings="true")
    assert len(reply.success("status", "warnings")["warnings"]) == 1000
    [warning] = [text for text in caplog.messages if "may be no users" in text]
    assert warning.endswith("; and 995 more")
    assert len(warning) < 1000


async def test_nobody_is_warned_of_what_was_not_done(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    for _, path, fields, _ in ADDING:
        other = STUDENT if path[0] != "instructor" else INSTRUCTOR
        reply = await api.post(*path, user=other, warnings="true", **fields)
        assert reply.status in (400, 403)
    assert "may be no users" not in caplog.text
