"""Every permission rule, once.

The order matters to clients: first whether the course exists, then whether the
caller may. So anybody with an identity can find out whether a course of some
name exists, and a stranger to it nothing more: an assignment that is looked up
along with it is spoken of only to those who may.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, select

from ngshare.errors import Forbidden, NotFound
from ngshare.models import INSTRUCTOR, Assignment, Course, Membership, User

NOT_ADMIN = "not admin"
NOT_INSTRUCTOR = "not course instructor"
NOT_RELATED = "not related to course"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request. An admin may do whatever an instructor of any course may."""

    name: str
    admin: bool = False


@dataclass(frozen=True, slots=True)
class Released:
    """A released assignment: its row's id and its tree's."""

    id: int
    tree_id: int


@dataclass(frozen=True, slots=True)
class Standing:
    """What a caller is in a course: ``role`` is None for somebody who is not in it.

    ``caller_id`` is the caller's row among the users; None for one never seen.
    ``assignment`` is the one that was asked for along with it; None when there is none.
    """

    course_id: int
    course: str
    role: str | None
    admin: bool
    caller_id: int | None = None
    assignment: Released | None = None

    @property
    def teaches(self) -> bool:
        """Whether the caller may do what instructors may."""
        return self.admin or self.role == INSTRUCTOR

    @property
    def related(self) -> bool:
        """Whether the caller may do what every member of the course may."""
        return self.admin or self.role is not None


# The assignment in the same question: most requests name one, and each question takes a while.
_STANDING = (
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


def standing(
    connection: Connection, caller: Caller, course: str, assignment: str | None = None
) -> Standing:
    """What the caller is in the course, and the assignment of this name in it, if there is one.

    Raises NotFound when there is no such course.
    """
    names = {"caller": caller.name, "course": course, "assignment": assignment}
    row = connection.execute(_STANDING, names).one_or_none()
    if row is None:
        raise NotFound("Course not found")
    course_id, role, caller_id, assignment_id, tree_id = row
    released = None if assignment_id is None else Released(assignment_id, tree_id)
    return Standing(course_id, course, role, caller.admin, caller_id, released)


def require_admin(caller: Caller) -> None:
    """Refuse everybody who is not an admin, before anything is looked up."""
    if not caller.admin:
        raise Forbidden(reason=NOT_ADMIN)


def require_instructor(
    connection: Connection, caller: Caller, course: str, assignment: str | None = None
) -> Standing:
    """Refuse everybody who is neither an instructor of the course nor an admin.

    As all that follow: ``assignment`` is looked up along with it, and may be missing. Raises
    NotFound when there is no such course, and Forbidden.
    """
    found = standing(connection, caller, course, assignment)
    if not found.teaches:
        raise Forbidden(reason=NOT_INSTRUCTOR)
    return found


def require_member(
    connection: Connection, caller: Caller, course: str, assignment: str | None = None
) -> Standing:
    """Refuse everybody who neither teaches nor takes the course and is no admin."""
    found = standing(connection, caller, course, assignment)
    if not found.related:
        raise Forbidden(reason=NOT_RELATED)
    return found


def require_instructor_or_self(
    connection: Connection, caller: Caller, course: str, user: str, assignment: str | None = None
) -> Standing:
    """Refuse everybody but instructors, admins, and the member whom it is about."""
    found = require_member(connection, caller, course, assignment)
    if not found.teaches and caller.name != user:
        raise Forbidden(reason=NOT_INSTRUCTOR)
    return found
