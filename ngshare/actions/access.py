"""Every permission rule, once.

The order matters to clients: first whether the course exists, then whether the
caller may. So anybody with an identity can find out whether a course of some
name exists, and a stranger to it nothing more.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, select

from ngshare.errors import Forbidden, NotFound
from ngshare.models import INSTRUCTOR, Course, Membership, User

NOT_ADMIN = "not admin"
NOT_INSTRUCTOR = "not course instructor"
NOT_RELATED = "not related to course"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request. An admin may do whatever an instructor of any course may."""

    name: str
    admin: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """What a caller is in a course: ``role`` is None for somebody who is not in it.

    ``caller_id`` is the caller's row among the users; None for one never seen.
    """

    course_id: int
    course: str
    role: str | None
    admin: bool
    caller_id: int | None = None

    @property
    def teaches(self) -> bool:
        """Whether the caller may do what instructors may."""
        return self.admin or self.role == INSTRUCTOR

    @property
    def related(self) -> bool:
        """Whether the caller may do what every member of the course may."""
        return self.admin or self.role is not None


_STANDING = (
    select(Course.id, Membership.role, User.id)
    .select_from(Course)
    .outerjoin(User, User.name == bindparam("caller"))
    .outerjoin(
        Membership,
        (Membership.course_id == Course.id)
        & (Membership.user_id == User.id)
        & Membership.removed_at.is_(None),
    )
    .where(Course.name == bindparam("course"), Course.removed_at.is_(None))
)


def standing(connection: Connection, caller: Caller, course: str) -> Standing:
    """What the caller is in the course. Raises NotFound when there is no such course."""
    row = connection.execute(_STANDING, {"caller": caller.name, "course": course}).one_or_none()
    if row is None:
        raise NotFound("Course not found")
    return Standing(row[0], course, row[1], caller.admin, row[2])


def require_admin(caller: Caller) -> None:
    """Refuse everybody who is not an admin, before anything is looked up."""
    if not caller.admin:
        raise Forbidden(reason=NOT_ADMIN)


def require_instructor(connection: Connection, caller: Caller, course: str) -> Standing:
    """Refuse everybody who is neither an instructor of the course nor an admin."""
    found = standing(connection, caller, course)
    if not found.teaches:
        raise Forbidden(reason=NOT_INSTRUCTOR)
    return found


def require_member(connection: Connection, caller: Caller, course: str) -> Standing:
    """Refuse everybody who neither teaches nor takes the course and is no admin."""
    found = standing(connection, caller, course)
    if not found.related:
        raise Forbidden(reason=NOT_RELATED)
    return found


def require_instructor_or_self(
    connection: Connection, caller: Caller, course: str, user: str
) -> Standing:
    """Refuse everybody but instructors, admins, and the member whom it is about."""
    found = require_member(connection, caller, course)
    if not found.teaches and caller.name != user:
        raise Forbidden(reason=NOT_INSTRUCTOR)
    return found
