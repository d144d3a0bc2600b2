"""Rosters of large courses, imports, and changes of roles."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection, func, select

from ngshare.actions import courses, roster, roster_import, users
from ngshare.actions.roster import Person
from ngshare.actions.roster_import import ImportStatus
from ngshare.db.models import Membership, User
from ngshare.errors import BadRequest, Forbidden
from tests.actions.conftest import ADMIN, COURSE, INSTRUCTOR, STRANGER, STUDENT, Act


def person(name: str, email: str = "") -> Person:
    return Person(name, name.title(), "Müller", email)


def students(act: Act) -> dict[str, Person]:
    return {one.username: one for one in act(roster.list_students, INSTRUCTOR, COURSE)}


def count(connection: Connection, model: Any) -> int:
    return connection.scalar(select(func.count()).select_from(model)) or 0


def test_an_import_of_two_thousand_lines_with_every_kind_of_error(act: Act) -> None:
    names = [f"student{number:04}" for number in range(2000)]
    people = [person(name) for name in names]
    people[100] = person(INSTRUCTOR.name)
    people[200] = person("a/b")
    people[300] = person("")
    people[400] = person(STUDENT.name, "new@x.edu")
    people[1900] = person(names[50], "last@x.edu")  # stands twice

    statuses = act(roster_import.import_students, INSTRUCTOR, COURSE, people)

    assert [status.username for status in statuses] == [one.username for one in people]
    refused = {status.username: status.message for status in statuses if status.message}
    assert refused == {
        INSTRUCTOR.name: "Cannot add instructor as student",
        "a/b": "Illegal user name",
        "": "Illegal user name",
    }
    enrolled = students(act)
    assert enrolled == {one.username: one for one in people if one.username not in refused}
    assert enrolled[names[50]].email == "last@x.edu"
    assert enrolled[STUDENT.name].email == "new@x.edu"
    assert act(roster.get_instructor, INSTRUCTOR, COURSE, INSTRUCTOR.name)


def test_importing_again_changes_names_and_adds_no_rows(act: Act) -> None:
    names = [f"student{number}" for number in range(1200)]
    act(roster_import.import_students, INSTRUCTOR, COURSE, [person(name) for name in names])
    before = act(count, User), act(count, Membership)
    act(roster_import.import_students, INSTRUCTOR, COURSE, [person(name, "@") for name in names])
    assert (act(count, User), act(count, Membership)) == before
    enrolled = students(act)
    assert all(enrolled[name].email == "@" for name in names)


def test_an_import_removes_no_students(act: Act) -> None:
    act(roster_import.import_students, INSTRUCTOR, COURSE, [person("new")])
    assert students(act).keys() == {STUDENT.name, "new"}


def test_an_import_restores_a_removed_student(act: Act) -> None:
    act(roster.remove_student, INSTRUCTOR, COURSE, STUDENT.name)
    assert students(act) == {}
    act(roster_import.import_students, INSTRUCTOR, COURSE, [person(STUDENT.name)])
    assert students(act) == {STUDENT.name: person(STUDENT.name)}


def test_an_import_without_acceptable_lines_changes_nothing(act: Act) -> None:
    assert act(roster_import.import_students, INSTRUCTOR, COURSE, []) == []
    people = [person("a/b"), person(INSTRUCTOR.name)]
    statuses = act(roster_import.import_students, INSTRUCTOR, COURSE, people)
    assert all(status.message for status in statuses)
    assert students(act).keys() == {STUDENT.name}


def test_names_are_stored_exactly(act: Act) -> None:
    names = ["A", "a", "ä", "a\u0308", "%", "_", "'; DROP TABLE users --", "a b", " a", "NULL"]
    statuses = act(
        roster_import.import_students, INSTRUCTOR, COURSE, [person(name) for name in names]
    )
    assert statuses == [ImportStatus(name) for name in names]
    assert students(act).keys() == {*names, STUDENT.name}


def test_only_instructors_may_import(act: Act) -> None:
    for caller in (STUDENT, STRANGER):
        with pytest.raises(Forbidden):
            act(roster_import.import_students, caller, COURSE, [person("new")])
    assert students(act).keys() == {STUDENT.name}


def test_an_error_rolls_the_import_back(act: Act) -> None:
    def import_and_fail(connection: Connection) -> None:
        roster_import.import_students(connection, INSTRUCTOR, COURSE, [person("new")])
        raise BadRequest("after all")

    before = act(count, User)
    with pytest.raises(BadRequest):
        act(import_and_fail)
    assert act(count, User) == before
    assert students(act).keys() == {STUDENT.name}


def test_ensure_users_inserts_each_user_once(act: Act) -> None:
    names = [f"user{number}" for number in range(2500)]
    ids = act(users.ensure_users, [*names, *names])
    assert len(ids) == len(set(ids.values())) == 2500
    assert act(users.ensure_users, reversed(names)) == ids
    act(users.mark_seen, names[0])
    assert act(users.ensure_users, names[:1]) == {names[0]: ids[names[0]]}


def test_a_user_has_one_role_in_a_course(act: Act) -> None:
    act(roster.put_instructor, ADMIN, COURSE, STUDENT.name, "", "", "")
    assert students(act) == {}
    assert len(act(roster.list_instructors, STUDENT, COURSE)) == 2
    act(roster.remove_instructor, ADMIN, COURSE, STUDENT.name)
    act(roster.put_student, INSTRUCTOR, COURSE, STUDENT.name, "", "", "")
    assert students(act).keys() == {STUDENT.name}
    assert len(act(roster.list_instructors, STUDENT, COURSE)) == 1


def test_a_user_may_have_different_roles_in_two_courses(act: Act) -> None:
    act(courses.create_course, ADMIN, "Other", [STUDENT.name])
    assert act(courses.list_roles, STUDENT) == [("Other", "instructor"), (COURSE, "student")]
    assert act(courses.list_courses, STUDENT) == ["Other", COURSE]


LINE = {"username": "a", "first_name": "b", "last_name": "c", "email": "d"}


def test_a_roster_is_parsed() -> None:
    assert roster_import.parse_roster([LINE, {**LINE, "x": 1}]) == [Person("a", "b", "c", "d")] * 2


@pytest.mark.parametrize("students", [None, [], "", {}, 0])
def test_a_roster_must_be_supplied(students: Any) -> None:
    with pytest.raises(BadRequest, match="Please supply students"):
        roster_import.parse_roster(students)


@pytest.mark.parametrize(
    "students",
    [
        "a",
        7,
        LINE,
        ["a"],
        [None],
        [{}],
        *([{**LINE, key: value}] for key in LINE for value in (None, 7, ["a"], "\0", "\ud800")),
        *([{k: v for k, v in LINE.items() if k != key}] for key in LINE),
    ],
)
def test_a_roster_has_four_strings_a_line(students: Any) -> None:
    with pytest.raises(BadRequest, match="Incorrect request format"):
        roster_import.parse_roster(students)
