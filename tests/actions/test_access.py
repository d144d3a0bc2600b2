"""The permission rules, each for everybody it could be asked about."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Connection

from ngshare.actions import access, assignments, courses, roster, submissions
from ngshare.actions.access import NOT_ADMIN, NOT_INSTRUCTOR, NOT_RELATED, Caller
from ngshare.errors import Forbidden, NotFound
from tests.actions.conftest import ADMIN, COURSE, INSTRUCTOR, STRANGER, STUDENT, Act

OUTSIDER = Caller("carl")
FORMER = Caller("fred")
CLASSMATE = Caller("sue")
EVERYBODY = [ADMIN, INSTRUCTOR, STUDENT, CLASSMATE, STRANGER, OUTSIDER, FORMER]

Rule = Callable[[Connection, Caller, str], object]


@pytest.fixture
def act(act: Act) -> Act:
    act(courses.create_course, ADMIN, "Other", [OUTSIDER.name])
    act(roster.put_student, INSTRUCTOR, COURSE, CLASSMATE.name, "", "", "")
    act(roster.put_instructor, ADMIN, COURSE, FORMER.name, "", "", "")
    act(roster.remove_instructor, ADMIN, COURSE, FORMER.name)
    return act


def about_the_student(connection: Connection, caller: Caller, course: str) -> object:
    return access.require_instructor_or_self(connection, caller, course, STUDENT.name)


@pytest.mark.parametrize(
    ("rule", "allowed", "reason"),
    [
        (access.require_instructor, [ADMIN, INSTRUCTOR], {NOT_INSTRUCTOR}),
        (access.require_member, [ADMIN, INSTRUCTOR, STUDENT, CLASSMATE], {NOT_RELATED}),
        (about_the_student, [ADMIN, INSTRUCTOR, STUDENT], {NOT_INSTRUCTOR, NOT_RELATED}),
    ],
)
def test_who_may(act: Act, rule: Rule, allowed: list[Caller], reason: set[str]) -> None:
    for caller in EVERYBODY:
        if caller in allowed:
            assert act(rule, caller, COURSE)
        else:
            with pytest.raises(Forbidden) as denied:
                act(rule, caller, COURSE)
            assert denied.value.message == "Permission denied"
            assert denied.value.reason in reason


def test_only_admins_are_admins() -> None:
    access.require_admin(ADMIN)
    for caller in EVERYBODY[1:]:
        with pytest.raises(Forbidden) as denied:
            access.require_admin(caller)
        assert denied.value.reason == NOT_ADMIN


@pytest.mark.parametrize(
    "rule",
    [access.standing, access.require_instructor, access.require_member, about_the_student],
)
def test_whether_the_course_exists_comes_first(act: Act, rule: Rule) -> None:
    act(courses.remove_course, ADMIN, "Other")
    for caller in EVERYBODY:
        for course in ("No such course", "Other", COURSE.lower(), ""):
            with pytest.raises(NotFound, match="Course not found"):
                act(rule, caller, course)


def test_what_somebody_is_in_a_course(act: Act) -> None:
    def standing(caller: Caller) -> tuple[str | None, bool, bool]:
        found = act(access.standing, caller, COURSE)
        return found.role, found.teaches, found.related

    assert standing(INSTRUCTOR) == ("instructor", True, True)
    assert standing(STUDENT) == ("student", False, True)
    assert standing(ADMIN) == (None, True, True)
    for caller in (STRANGER, OUTSIDER, FORMER):
        assert standing(caller) == (None, False, False)
    assert standing(Caller(STUDENT.name, admin=True)) == ("student", True, True)


def test_an_admin_need_not_be_known_to_the_database(act: Act) -> None:
    assert act(access.require_instructor, Caller("never seen", admin=True), COURSE).teaches


def test_the_assignment_that_a_standing_is_asked_with(act: Act) -> None:
    def named(course: str, assignment: str | None) -> access.Released | None:
        released: access.Released | None = act(
            access.standing, INSTRUCTOR, course, assignment
        ).assignment
        return released

    for course, assignment in ((COURSE, "ps1"), (COURSE, "ps2"), (COURSE, "gone"), ("Other", "x")):
        act(assignments.release, ADMIN, course, assignment, [])
    act(assignments.remove, ADMIN, COURSE, "gone")
    found = [named(COURSE, "ps1"), named(COURSE, "ps2"), named("Other", "x")]
    assert None not in found
    assert len(set(found)) == 3
    for missing in ("PS1", "x", "gone", "", None):  # of another course, removed, not asked for
        assert named(COURSE, missing) is None


def test_a_stranger_hears_nothing_of_an_assignment(act: Act) -> None:
    """Else anybody could find out what will be in an examination of another course."""
    act(assignments.release, INSTRUCTOR, COURSE, "ps1", [])
    for assignment in ("ps1", "no such assignment"):
        with pytest.raises(Forbidden):
            act(assignments.fetch, STRANGER, COURSE, assignment)


def test_whoever_is_in_the_course_is_a_participant(act: Act) -> None:
    def participant(caller: Caller, student: str) -> bool:
        def require(connection: Connection) -> None:
            found = access.standing(connection, caller, COURSE)
            submissions.require_participant(connection, caller, found, student)

        try:
            act(require)
        except NotFound as error:
            assert error.message == "Student not found"
            return False
        return True

    for caller in (STUDENT, INSTRUCTOR, ADMIN):
        assert participant(caller, STUDENT.name)
        assert participant(caller, INSTRUCTOR.name)
        assert not participant(caller, FORMER.name)
        assert not participant(caller, STRANGER.name)
    # An admin may ask about themselves, but takes part only where they are in the course.
    assert not participant(ADMIN, ADMIN.name)
    assert not participant(Caller(FORMER.name, admin=True), FORMER.name)
