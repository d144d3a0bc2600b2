"""Every permission rule, for every kind of caller."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Connection

from ngshare.actions import access, assignments, courses, roster, submissions
from ngshare.actions.access import (
    CAPABILITIES,
    NOT_ADMIN,
    NOT_INSTRUCTOR,
    NOT_RELATED,
    Access,
    Caller,
    Capability,
)
from ngshare.db import models
from ngshare.errors import Forbidden, NotFound
from tests.actions.conftest import ADMIN, COURSE, INSTRUCTOR, STRANGER, STUDENT, Act

OUTSIDER = Caller("carl")
FORMER = Caller("fred")
CLASSMATE = Caller("sue")
EVERYBODY = [ADMIN, INSTRUCTOR, STUDENT, CLASSMATE, STRANGER, OUTSIDER, FORMER]

OF_INSTRUCTORS = [each for each in Capability if each not in CAPABILITIES[models.STUDENT]]

Rule = Callable[[Connection, Caller, str], object]


@pytest.fixture
def act(act: Act) -> Act:
    act(courses.create_course, ADMIN, "Other", [OUTSIDER.name])
    act(roster.put_student, INSTRUCTOR, COURSE, CLASSMATE.name, "", "", "")
    act(roster.put_instructor, ADMIN, COURSE, FORMER.name, "", "", "")
    act(roster.remove_instructor, ADMIN, COURSE, FORMER.name)
    return act


@pytest.mark.parametrize("capability", Capability)
def test_capabilities_of_each_caller(act: Act, capability: Capability) -> None:
    for caller in EVERYBODY:
        if caller in (ADMIN, INSTRUCTOR) or (
            capability is Capability.PARTICIPATE and caller in (STUDENT, CLASSMATE)
        ):
            assert act(access.require_capability, caller, COURSE, capability).may(capability)
        else:
            with pytest.raises(Forbidden) as denied:
                act(access.require_capability, caller, COURSE, capability)
            assert denied.value.message == "Permission denied"
            assert denied.value.reason == NOT_INSTRUCTOR
            assert not act(access.get_access, caller, COURSE).may(capability)


def test_require_member(act: Act) -> None:
    for caller in EVERYBODY:
        if caller in (ADMIN, INSTRUCTOR, STUDENT, CLASSMATE):
            assert act(access.require_member, caller, COURSE)
        else:
            with pytest.raises(Forbidden) as denied:
                act(access.require_member, caller, COURSE)
            assert denied.value.reason == NOT_RELATED


@pytest.mark.parametrize("capability", OF_INSTRUCTORS)
def test_require_capability_or_self(act: Act, capability: Capability) -> None:
    for caller in EVERYBODY:
        if caller in (ADMIN, INSTRUCTOR, STUDENT):
            assert act(access.require_capability_or_self, caller, COURSE, capability, STUDENT.name)
        else:
            with pytest.raises(Forbidden) as denied:
                act(access.require_capability_or_self, caller, COURSE, capability, STUDENT.name)
            assert denied.value.reason == NOT_INSTRUCTOR
        # To be the one who is asked about is not enough: they must be in the course.
        if caller in (STRANGER, OUTSIDER, FORMER):
            with pytest.raises(Forbidden) as denied:
                act(access.require_capability_or_self, caller, COURSE, capability, caller.name)
            assert denied.value.reason == NOT_INSTRUCTOR


def test_an_unknown_role_grants_nothing() -> None:
    unknown = Access(1, COURSE, "role of a later release", False, 1, None)
    assert not any(unknown.may(capability) for capability in Capability)


def test_only_admins_are_admins() -> None:
    access.require_admin(ADMIN)
    for caller in EVERYBODY[1:]:
        with pytest.raises(Forbidden) as denied:
            access.require_admin(caller)
        assert denied.value.reason == NOT_ADMIN


def require_grading(connection: Connection, caller: Caller, course: str) -> object:
    return access.require_capability(connection, caller, course, Capability.GRADE)


def require_grading_or_self(connection: Connection, caller: Caller, course: str) -> object:
    return access.require_capability_or_self(
        connection, caller, course, Capability.GRADE, STUDENT.name
    )


@pytest.mark.parametrize(
    "rule", [access.get_access, access.require_member, require_grading, require_grading_or_self]
)
def test_the_existence_of_the_course_is_checked_first(act: Act, rule: Rule) -> None:
    act(courses.remove_course, ADMIN, "Other")
    for caller in EVERYBODY:
        for course in ("No such course", "Other", COURSE.lower(), ""):
            with pytest.raises(NotFound, match="Course not found"):
                act(rule, caller, course)


def test_role_in_a_course(act: Act) -> None:
    def role(caller: Caller) -> str | None:
        found: Access = act(access.get_access, caller, COURSE)
        return found.role

    assert role(INSTRUCTOR) == "instructor"
    assert role(STUDENT) == role(Caller(STUDENT.name, admin=True)) == "student"
    for caller in (ADMIN, STRANGER, OUTSIDER, FORMER):
        assert role(caller) is None


def test_an_admin_need_not_be_known_to_the_database(act: Act) -> None:
    assert act(require_grading, Caller("never seen", admin=True), COURSE)


def test_the_assignment_looked_up_with_a_course(act: Act) -> None:
    def named(course: str, assignment: str | None) -> access.AssignmentRef | None:
        released: access.AssignmentRef | None = act(
            access.get_access, INSTRUCTOR, course, assignment
        ).assignment
        return released

    for course, assignment in ((COURSE, "ps1"), (COURSE, "ps2"), (COURSE, "gone"), ("Other", "x")):
        act(assignments.release_assignment, ADMIN, course, assignment, [])
    act(assignments.remove_assignment, ADMIN, COURSE, "gone")
    found = [named(COURSE, "ps1"), named(COURSE, "ps2"), named("Other", "x")]
    assert None not in found
    assert len(set(found)) == 3
    for missing in ("PS1", "x", "gone", "", None):  # of another course, removed, not asked for
        assert named(COURSE, missing) is None


def test_a_stranger_cannot_find_out_whether_an_assignment_exists(act: Act) -> None:
    """Names of assignments may reveal the subject of an examination."""
    act(assignments.release_assignment, INSTRUCTOR, COURSE, "ps1", [])
    for assignment in ("ps1", "no such assignment"):
        with pytest.raises(Forbidden):
            act(assignments.fetch_assignment, STRANGER, COURSE, assignment)


def test_members_of_a_course_are_participants(act: Act) -> None:
    def participant(caller: Caller, student: str) -> bool:
        def require(connection: Connection) -> None:
            found = access.get_access(connection, caller, COURSE)
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
