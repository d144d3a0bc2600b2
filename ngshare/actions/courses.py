"""Courses: list, create, remove."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, insert, select, update

from ngshare.actions import access, audit, roster
from ngshare.actions.access import Caller, CourseRef
from ngshare.actions.paging import ALL, Part
from ngshare.db.models import INSTRUCTOR, Course, Membership, User
from ngshare.errors import Conflict, NotFound

_EVERY_COURSE = select(Course.name).where(Course.removed_at.is_(None)).order_by(Course.name)
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


def list_courses(connection: Connection, caller: Caller, *, part: Part[str] = ALL) -> list[str]:
    """The sorted names of the caller's courses, or a part of them; an admin's are all."""
    after = part.after or ""  # which sorts before every name
    if caller.admin:
        every = _EVERY_COURSE.where(Course.name > after).limit(part.limit)
        return list(connection.scalars(every))
    own = [name for name, _ in list_roles(connection, caller) if name > after]
    return own[: part.limit]


def list_roles(connection: Connection, caller: Caller) -> list[tuple[str, str]]:
    """The courses that the caller is a member of, sorted, with the role in each."""
    rows = connection.execute(_ROLES, {"caller": caller.name}).all()
    return sorted((name, role) for name, role in rows)


def check_create(connection: Connection, caller: Caller, course: str) -> None:
    """Refuse whoever may not create this course, and a name that is taken."""
    access.require_admin(caller)
    taken = connection.scalar(
        select(Course.id).where(Course.name == course, Course.removed_at.is_(None))
    )
    if taken is not None:
        raise Conflict("Course already exists")


def create_course(
    connection: Connection, caller: Caller, course: str, instructors: Sequence[str]
) -> None:
    """Create a course, with these users as its instructors; for admins.

    A removed course of the same name is left alone: this one starts empty.
    """
    check_create(connection, caller, course)
    moment = audit.now()
    course_id: int = connection.execute(
        insert(Course).returning(Course.id), {"name": course, "created_at": moment}
    ).scalar_one()
    people = [roster.Person(name) for name in dict.fromkeys(instructors)]
    roster.set_members(connection, course_id, INSTRUCTOR, people)
    audit.record(
        connection,
        caller,
        "course created",
        course=CourseRef(course_id, course),
        at=moment,
        instructors=[person.username for person in people],
    )


def remove_course(connection: Connection, caller: Caller, course: str) -> None:
    """Hide a course and all that is in it; for admins. It can be restored until it is purged."""
    access.require_admin(caller)
    found = access.look_up(connection, caller, course)
    moment = audit.now()
    removed = connection.execute(
        update(Course)
        .where(Course.id == found.course_id, Course.removed_at.is_(None))
        .values(removed_at=moment, removed_by=caller.name)
    )
    if not removed.rowcount:  # somebody else did a moment ago
        raise NotFound("Course not found")
    audit.record(connection, caller, "course removed", course=found, at=moment)
