"""Courses: list, create, remove."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, insert, select, update

from ngshare.actions import audit, roster
from ngshare.actions.access import Caller, CourseRef, get_access, require_admin
from ngshare.actions.paging import UNPAGED, PageRequest
from ngshare.db.models import INSTRUCTOR, Course, Membership, User
from ngshare.errors import Conflict, NotFound

_ALL_NAMES = select(Course.name).where(Course.removed_at.is_(None)).order_by(Course.name)
_ROLES = (
    select(Course.name, Membership.role)
    .join(Membership, Membership.course_id == Course.id)
    .join(User, User.id == Membership.user_id)
    .where(
        User.name == bindparam("caller"),
        Membership.removed_at.is_(None),
        Course.removed_at.is_(None),
    )
)


def list_courses(
    connection: Connection, caller: Caller, *, page: PageRequest[str] = UNPAGED
) -> list[str]:
    """Return the sorted names of the caller's courses; for an admin, of all courses."""
    after = page.after or ""  # which sorts before every name
    if caller.admin:
        names = _ALL_NAMES.where(Course.name > after).limit(page.limit)
        return list(connection.scalars(names))
    own = [name for name, _ in list_roles(connection, caller) if name > after]
    return own[: page.limit]


def list_roles(connection: Connection, caller: Caller) -> list[tuple[str, str]]:
    """Return the sorted names of the caller's courses, each with the caller's role in it."""
    rows = connection.execute(_ROLES, {"caller": caller.name}).all()
    return sorted((name, role) for name, role in rows)


def authorize_creation(connection: Connection, caller: Caller, course: str) -> None:
    """Raise Forbidden unless the caller is an admin, and Conflict when the course exists."""
    require_admin(caller)
    existing = connection.scalar(
        select(Course.id).where(Course.name == course, Course.removed_at.is_(None))
    )
    if existing is not None:
        raise Conflict("Course already exists")


def create_course(
    connection: Connection, caller: Caller, course: str, instructors: Sequence[str]
) -> None:
    """Create an empty course with these instructors; for admins.

    A removed course of the same name is not restored. The audit log gets an entry for the course,
    with the number of instructors, and one for each instructor.
    """
    authorize_creation(connection, caller, course)
    now = audit.now()
    course_id: int = connection.execute(
        insert(Course).returning(Course.id), {"name": course, "created_at": now}
    ).scalar_one()
    course_ref = CourseRef(course_id, course)
    usernames = list(dict.fromkeys(instructors))
    people = [roster.Person(name) for name in usernames]
    roster.set_members(connection, course_id, INSTRUCTOR, people)
    audit.record(
        connection, caller, "course created", course=course_ref, at=now, count=len(usernames)
    )
    audit.record_members(
        connection, caller, "instructor added", INSTRUCTOR, usernames, course=course_ref, at=now
    )


def remove_course(connection: Connection, caller: Caller, course: str) -> None:
    """Hide a course with all its contents; for admins. It can be restored until it is purged."""
    require_admin(caller)
    access = get_access(connection, caller, course)
    now = audit.now()
    removed = connection.execute(
        update(Course)
        .where(Course.id == access.course_id, Course.removed_at.is_(None))
        .values(removed_at=now, removed_by=caller.name)
    )
    if not removed.rowcount:  # another request removed it a moment ago
        raise NotFound("Course not found")
    audit.record(connection, caller, "course removed", course=access, at=now)
