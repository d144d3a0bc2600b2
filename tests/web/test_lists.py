"""Long lists, whole and part by part."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any
from unittest.mock import patch

import pytest

from ngshare.actions import courses, roster, roster_import, submissions
from ngshare.actions.access import Caller
from ngshare.db.transactions import Database
from ngshare.web.api import lists
from tests.conftest import ADMIN, Api
from tests.web.world import ASSIGNMENT, COURSE, INSTRUCTOR, STUDENT, UNTOUCHED, stored

pytestmark = pytest.mark.gen_test

LISTS = {
    "courses": (("courses",), ADMIN),
    "one's own courses": (("courses",), INSTRUCTOR),
    "instructors": (("instructors", COURSE), INSTRUCTOR),
    "students": (("students", COURSE), INSTRUCTOR),
    "everybody's submissions": (("submissions", COURSE, UNTOUCHED), INSTRUCTOR),
    "who is missing": (("missing", COURSE, ASSIGNMENT), INSTRUCTOR),
    "one student's submissions": (("submissions", COURSE, UNTOUCHED, STUDENT), STUDENT),
}

every_list = pytest.mark.parametrize("name", LISTS)


@pytest.fixture(autouse=True)
def long(database: Database) -> None:
    """Seven more of everything, among them submissions of one moment."""
    instructor = Caller(INSTRUCTOR)
    for at in range(7):
        database.write(courses.create_course, Caller(ADMIN, admin=True), f"c {at} ", [INSTRUCTOR])
    people = [roster.Person(f"s{at} ü", "", "", "") for at in range(7)]
    database.write(roster_import.import_students, instructor, COURSE, people)
    for at in range(7):
        moment = datetime(2021, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=at // 3)
        with patch("ngshare.actions.audit.now", return_value=moment):
            for student in (people[at].username, STUDENT):
                arguments = (COURSE, UNTOUCHED, [stored("first.txt")])
                database.write(submissions.submit, Caller(student), *arguments)


async def ask(api: Api, name: str, **query: str) -> dict[str, Any]:
    """The list, under its own key, and ``next``, which is there only if a part was asked for."""
    path, caller = LISTS[name]
    reply = await api.send("GET", *path, query={"user": caller, **query})
    return reply.success(path[0], *(["next"] if query else []))


async def whole(api: Api, name: str) -> list[Any]:
    entries: list[Any] = (await ask(api, name))[LISTS[name][0][0]]
    return entries


@every_list
@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_the_parts_are_the_whole_in_its_order(api: Api, name: str, limit: int) -> None:
    expected = await whole(api, name)
    found: list[Any] = []
    part = await ask(api, name, limit=str(limit))
    for _ in expected:
        entries = part[LISTS[name][0][0]]
        assert len(entries) == min(limit, len(expected) - len(found))
        found += entries
        if part["next"] is None:
            break
        part = await ask(api, name, limit=str(limit), after=part["next"])
    assert part["next"] is None
    assert found == expected


@every_list
async def test_from_some_entry_to_the_end(api: Api, name: str) -> None:
    first = await ask(api, name, limit="1")
    rest = await ask(api, name, after=first["next"])
    assert rest["next"] is None
    assert rest[LISTS[name][0][0]] == (await whole(api, name))[1:]


@every_list
async def test_no_field_no_key(api: Api, name: str) -> None:
    path, caller = LISTS[name]
    (await api.send("GET", *path, query={"user": caller})).success(path[0])


async def test_what_is_added_meanwhile_repeats_nothing(api: Api, database: Database) -> None:
    part = await ask(api, "students", limit="2")
    people = [roster.Person("a new one", "", "", ""), roster.Person("zz", "", "", "")]
    database.write(roster_import.import_students, Caller(INSTRUCTOR), COURSE, people)
    rest = await ask(api, "students", after=part["next"])
    names = [one["username"] for one in part["students"] + rest["students"]]
    assert len(names) == len(set(names))
    assert "a new one" not in names
    assert "zz" in names


async def test_a_list_that_is_encoded_piece_by_piece(
    api: Api, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in LISTS:
        expected = await ask(api, name), await ask(api, name, limit="6")
        with monkeypatch.context() as patched:
            patched.setattr(lists, "ENCODE_STEP", 2)
            assert (await ask(api, name), await ask(api, name, limit="6")) == expected


@pytest.mark.parametrize("limit", ["0", "-1", "x", "1.5", "9" * 30])
async def test_a_limit_that_is_none(api: Api, limit: str) -> None:
    reply = await api.get("courses", user=INSTRUCTOR, limit=limit)
    assert reply.failure == (400, "limit should be a whole number, above 0")


@pytest.mark.parametrize(
    "after", ["x", "2021-01-01", "2021-01-01 00:00:00 UTC", "2021-01-01 00:00:00 UTC " + "9" * 30]
)
async def test_a_place_that_is_none(api: Api, after: str) -> None:
    reply = await api.get("submissions", COURSE, ASSIGNMENT, user=INSTRUCTOR, after=after)
    assert reply.failure == (400, "after should be what the part before said in next")


async def test_a_place_that_is_no_text(api: Api) -> None:
    reply = await api.get("students", COURSE, user=INSTRUCTOR, after="\x00")
    assert reply.failure == (400, "after should be what the part before said in next")
