"""The contract of ``courses`` and ``course/C``."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from ngshare.web.api import courses
from tests.conftest import ADMIN, Api, tree
from tests.web.world import (
    ASSIGNMENT,
    COLLEAGUE,
    COURSE,
    INSTRUCTOR,
    OTHER_COURSE,
    OUTSIDER,
    STRANGER,
    STUDENT,
)

pytestmark = pytest.mark.gen_test


@pytest.mark.parametrize(
    ("user", "courses"),
    [
        (ADMIN, [COURSE, OTHER_COURSE]),
        (INSTRUCTOR, [COURSE]),
        (STUDENT, [COURSE]),
        (OUTSIDER, [OTHER_COURSE]),
        (STRANGER, []),
        ("seen for the first time", []),
    ],
)
async def test_an_admin_sees_all_courses_and_others_their_own(
    api: Api, user: str, courses: list[str]
) -> None:
    reply = await api.get("courses", user=user)
    assert reply.success("courses")["courses"] == courses


async def test_courses_are_sorted(api: Api) -> None:
    for name in ("b", "a", "C"):
        (await api.post("course", name, user=ADMIN)).success()
    reply = await api.get("courses", user=ADMIN)
    assert reply.json["courses"] == sorted(["a", "b", "C", COURSE, OTHER_COURSE])


async def test_an_admin_creates_a_course(api: Api) -> None:
    (await api.post("course", "New", user=ADMIN)).success()
    assert "New" in (await api.get("courses", user=ADMIN)).json["courses"]
    for kind in ("instructors", "students", "assignments"):
        assert (await api.get(kind, "New", user=ADMIN)).success(kind)[kind] == []


@pytest.mark.parametrize("instructors", [["nora", "Jürgen"], ["nora", "nora"], []])
async def test_a_course_is_created_with_its_instructors(api: Api, instructors: list[str]) -> None:
    names = json.dumps(instructors)
    (await api.post("course", "New", user=ADMIN, instructors=names)).success()
    reply = await api.get("instructors", "New", user=ADMIN)
    assert reply.json["instructors"] == [
        {"username": name, "first_name": None, "last_name": None, "email": None}
        for name in sorted(set(instructors))
    ]


async def test_a_course_exists_once(api: Api) -> None:
    reply = await api.post("course", COURSE, user=ADMIN)
    assert reply.failure == (409, "Course already exists")


async def test_instructors_must_be_json(api: Api) -> None:
    reply = await api.post("course", "New", user=ADMIN, instructors="[nora")
    assert reply.failure == (400, "Instructors cannot be JSON decoded")
    assert "New" not in (await api.get("courses", user=ADMIN)).json["courses"]


@pytest.mark.parametrize("instructors", ['"nora"', "{}", "[1]", '[""]', '["a/b"]', "null", "7"])
async def test_instructors_must_be_a_list_of_names(api: Api, instructors: str) -> None:
    reply = await api.post("course", "New", user=ADMIN, instructors=instructors)
    assert reply.status == 400
    assert reply.message
    assert "New" not in (await api.get("courses", user=ADMIN)).json["courses"]


async def test_many_instructors_are_decoded_off_the_event_loop(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []
    decode = courses.decode_json

    def record(text: Any, message: str) -> Any:
        threads.append(threading.current_thread())
        return decode(text, message)

    monkeypatch.setattr(courses, "decode_json", record)
    (await api.post("course", "New", user=ADMIN, instructors='["nora"]')).success()
    assert threads
    assert threading.main_thread() not in threads


async def test_a_removed_course_is_gone(api: Api) -> None:
    (await api.delete("course", COURSE, user=ADMIN)).success()
    assert (await api.get("courses", user=ADMIN)).json["courses"] == [OTHER_COURSE]
    assert (await api.get("courses", user=STUDENT)).json["courses"] == []
    for reply in (
        await api.delete("course", COURSE, user=ADMIN),
        await api.get("assignments", COURSE, user=STUDENT),
        await api.get("assignment", COURSE, ASSIGNMENT, user=STUDENT),
    ):
        assert reply.failure == (404, "Course not found")


async def test_only_a_course_that_exists_can_be_removed(api: Api) -> None:
    reply = await api.delete("course", "No such course", user=ADMIN)
    assert reply.failure == (404, "Course not found")


async def test_a_course_created_again_starts_empty(api: Api) -> None:
    await api.delete("course", COURSE, user=ADMIN)
    (await api.post("course", COURSE, user=ADMIN, instructors=f'["{COLLEAGUE}"]')).success()
    for kind, there in (("students", []), ("assignments", [])):
        assert (await api.get(kind, COURSE, user=COLLEAGUE)).json[kind] == there
    for former in (INSTRUCTOR, STUDENT):
        reply = await api.get("assignments", COURSE, user=former)
        assert reply.failure == (403, "Permission denied")
    (await api.post("assignment", COURSE, ASSIGNMENT, user=COLLEAGUE, files=tree(a="1"))).success()
    reply = await api.get("submissions", COURSE, ASSIGNMENT, user=COLLEAGUE)
    assert reply.json["submissions"] == []
