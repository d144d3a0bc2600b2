"""Decide what a caller may do: every permission rule of the service.

A role in a course grants capabilities (:data:`CAPABILITIES`); an action names the capability
that it needs. No other module compares names of roles to decide about permission.

The order of the checks is part of the HTTP contract: first the existence of the course, then the
caller's permission, then everything else. Anyone with an identity can therefore find out that a
course of some name exists, but nothing inside it: an assignment is looked up in the same query
for speed, and reported as missing only after the caller's permission is established.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, select

from ngshare.db.models import INSTRUCTOR, STUDENT, Assignment, Course, Membership, User
from ngshare.errors import Forbidden, NotFound

NOT_ADMIN = "not admin"
NOT_INSTRUCTOR = "not course instructor"
NOT_RELATED = "not related to course"


class Capability(enum.Enum):
    """A permission in one course."""

    PARTICIPATE = "list and fetch assignments, submit, see the instructors"
    RELEASE = "release and remove assignments"
    GRADE = "list and collect everybody's submissions, give and see feedback"
    SEE_ROSTER = "see all students"
    CHANGE_ROSTER = "add, change and remove students"
    AUDIT = "see the course's audit log and quota usage, export the course"


CAPABILITIES: Mapping[str, frozenset[Capability]] = {
    INSTRUCTOR: frozenset(Capability),
    STUDENT: frozenset({Capability.PARTICIPATE}),
}
"""The capabilities of each role. Admins have all of them in every course."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The authenticated sender of a request. An admin has every capability in every course."""

    name: str
    admin: bool = False


@dataclass(frozen=True, slots=True)
class AssignmentRef:
    """A released assignment: the ids of its row and of its tree."""

    id: int
    tree_id: int


@dataclass(frozen=True, slots=True)
class CourseRef:
    """A course: the id of its row, and its name. It grants nothing."""

    course_id: int
    course: str


@dataclass(frozen=True, slots=True)
class Access(CourseRef):
    """A caller's access to a course.

    ``role`` is None for a caller who is not in the course. ``caller_id``, the id of the caller's
    row in the table of users, is None for a caller without one. ``assignment`` is the released
    assignment that was looked up along with the course; None if none was asked for or none of
    that name exists.
    """

    role: str | None
    admin: bool
    caller_id: int | None
    assignment: AssignmentRef | None

    def may(self, capability: Capability) -> bool:
        """Return whether the caller has this capability in the course."""
        return self.admin or capability in CAPABILITIES.get(self.role or "", ())

    def require_assignment(self) -> AssignmentRef:
        """Return the assignment that was looked up. Raise NotFound if it is not released."""
        if self.assignment is None:
            raise NotFound("Assignment not found")
        return self.assignment


# One query for both: most requests name an assignment, and a query costs more than a join.
_ACCESS = (
    select(Course.id, Membership.role, User.id, Assignment.id, Assignment.tree_id)
    .select_from(Course)
    .outerjoin(User, User.name == bindparam("caller"))
    .outerjoin(
        Membership,
        (Membership.course_id == Course.id)
        & (Membership.user_id == User.id)
        & Membership.removed_at.is_(None),
    )
    .outerjoin(
        Assignment,
        (Assignment.course_id == Course.id)
        & (Assignment.name == bindparam("assignment"))
        & Assignment.removed_at.is_(None),
    )
    .where(Course.name == bindparam("course"), Course.removed_at.is_(None))
)


def get_access(
    connection: Connection, caller: Caller, course: str, assignment: str | None = None
) -> Access:
    """Return the caller's access to a course, with the assignment of this name if it is released.

    No permission is checked: call one of the ``require`` functions wherever permission matters.
    Raises NotFound when there is no such course.
    """
    names = {"caller": caller.name, "course": course, "assignment": assignment}
    row = connection.execute(_ACCESS, names).one_or_none()
    if row is None:
        raise NotFound("Course not found")
    course_id, role, caller_id, assignment_id, tree_id = row
    released = None if assignment_id is None else AssignmentRef(assignment_id, tree_id)
    return Access(course_id, course, role, caller.admin, caller_id, released)


def require_admin(caller: Caller) -> None:
    """Raise Forbidden unless the caller is an admin. Called before any lookup."""
    if not caller.admin:
        raise Forbidden(reason=NOT_ADMIN)


def require_capability(
    connection: Connection,
    caller: Caller,
    course: str,
    capability: Capability,
    assignment: str | None = None,
) -> Access:
    """Return the caller's access to a course. Raise Forbidden if it lacks the capability.

    As in the functions below, ``assignment`` is looked up too, and may be missing; and NotFound
    is raised when there is no such course.
    """
    access = get_access(connection, caller, course, assignment)
    if not access.may(capability):
        raise Forbidden(reason=NOT_INSTRUCTOR)
    return access


def require_member(
    connection: Connection, caller: Caller, course: str, assignment: str | None = None
) -> Access:
    """Return the access of a member of the course or an admin. Raise Forbidden for others."""
    access = get_access(connection, caller, course, assignment)
    if not access.may(Capability.PARTICIPATE):
        raise Forbidden(reason=NOT_RELATED)
    return access


def require_capability_or_self(
    connection: Connection,
    caller: Caller,
    course: str,
    capability: Capability,
    user: str,
    assignment: str | None = None,
) -> Access:
    """Return the access of a caller with this capability, or of the member ``user`` themselves.

    Raises Forbidden for others.
    """
    access = get_access(connection, caller, course, assignment)
    is_self = caller.name == user and access.may(Capability.PARTICIPATE)
    if not is_self and not access.may(capability):
        raise Forbidden(reason=NOT_INSTRUCTOR)
    return access
