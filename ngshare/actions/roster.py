"""The roster of a course: its instructors and students."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from ngshare.actions import audit, users
from ngshare.actions.access import (
    Access,
    Caller,
    Capability,
    require_admin,
    require_capability,
    require_capability_or_self,
    require_member,
)
from ngshare.actions.chunks import chunks
from ngshare.actions.locks import lock_row
from ngshare.actions.paging import UNPAGED, PageRequest
from ngshare.db.models import INSTRUCTOR, STUDENT, Course, Membership, User
from ngshare.errors import BadRequest, Conflict, NotFound

STUDENT_IS_INSTRUCTOR = "Cannot add instructor as student"


@dataclass(frozen=True, slots=True)
class Person:
    """A member's entry in a roster. Names and address are None if they were never given."""

    username: str
    first_name: str | None = None
    last_name: str | None = None
    email: str | None = None


# In quotes: SQLAlchemy 2.0 takes the types of the columns as one tuple.
_MemberRow: TypeAlias = "Row[str, str | None, str | None, str | None, str, int]"

_MEMBERS = (
    select(
        User.name,
        Membership.first_name,
        Membership.last_name,
        Membership.email,
        Membership.role,
        Membership.id,
    )
    .join(User, User.id == Membership.user_id)
    .where(Membership.course_id == bindparam("course_id"), Membership.removed_at.is_(None))
)
_MEMBER = _MEMBERS.where(User.name == bindparam("username"))
_MEMBERS_WITH_ROLE = _MEMBERS.where(Membership.role == bindparam("role")).order_by(User.name)
_UPDATE_MEMBER = (
    update(Membership)
    .where(Membership.id == bindparam("membership_id"))
    .values(
        {
            name: bindparam(name)
            for name in ("role", "first_name", "last_name", "email", "removed_at", "removed_by")
        }
    )
)


def set_members(
    connection: Connection, course_id: int, role: str, people: Sequence[Person]
) -> None:
    """Give these people this role in the course; it replaces any role they have."""
    ids = users.ensure_users(connection, (person.username for person in people))
    existing: dict[int, int] = {}
    for chunk in chunks(list(ids.values())):
        existing.update(
            (user_id, membership_id)
            for membership_id, user_id in connection.execute(
                select(Membership.id, Membership.user_id).where(
                    Membership.course_id == course_id, Membership.user_id.in_(chunk)
                )
            )
        )
    new, changed = [], []
    for person in people:
        user_id = ids[person.username]
        values: dict[str, str | None] = {
            "role": role,
            "first_name": person.first_name,
            "last_name": person.last_name,
            "email": person.email,
            "removed_at": None,
            "removed_by": None,
        }
        if user_id in existing:
            changed.append({"membership_id": existing[user_id], **values})
        else:
            new.append({"course_id": course_id, "user_id": user_id, **values})
    if new:
        connection.execute(insert(Membership), new)
    if changed:
        connection.execute(_UPDATE_MEMBER, changed)


def get_role(connection: Connection, course_id: int, username: str) -> str | None:
    """Return the role of a user in the course; None for a user who is not in it."""
    row = _find_member(connection, course_id, username)
    return row.role if row else None


def list_members_with_role(
    connection: Connection, course_id: int, role: str, page: PageRequest[str] = UNPAGED
) -> list[Person]:
    """Return the members of a course who have this role, sorted by username."""
    members = _MEMBERS_WITH_ROLE
    if page is not UNPAGED:
        members = members.where(User.name > (page.after or "")).limit(page.limit)
    rows = connection.execute(members, {"course_id": course_id, "role": role}).all()
    return [Person(*row[:4]) for row in rows]


def lock_roster(connection: Connection, caller: Caller, course: str) -> Access:
    """Lock the roster of a course for a change, and return the caller's access.

    Raises NotFound when there is no such course, and Forbidden unless the caller may change it.
    """
    access = require_capability(connection, caller, course, Capability.CHANGE_ROSTER)
    if lock_row(connection, Course, access.course_id):
        # Meanwhile the course may have been removed, or the caller from it.
        access = require_capability(connection, caller, course, Capability.CHANGE_ROSTER)
    return access


def put_instructor(
    connection: Connection,
    caller: Caller,
    course: str,
    username: str,
    first_name: str | None,
    last_name: str | None,
    email: str | None,
) -> None:
    """Add an instructor, or change an instructor's names and address.

    Admins may do this for every user, which makes a student an instructor. Instructors may
    only change their own entry.
    """
    access = lock_roster(connection, caller, course)
    if not caller.admin and username != caller.name:
        if get_role(connection, access.course_id, username) == INSTRUCTOR:
            raise BadRequest("Permission denied (cannot modify other instructors)")
        raise BadRequest("Permission denied (cannot modify instructors)")
    person = _make_person(username, first_name, last_name, email)
    set_members(connection, access.course_id, INSTRUCTOR, [person])
    audit.record_members(
        connection, caller, "instructor added", INSTRUCTOR, [username], course=access
    )


def get_instructor(connection: Connection, caller: Caller, course: str, username: str) -> Person:
    """Return an instructor's entry in the roster; for every member of the course."""
    access = require_member(connection, caller, course)
    row = _require_member_with_role(connection, access.course_id, username, INSTRUCTOR)
    return Person(*row[:4])


def list_instructors(
    connection: Connection, caller: Caller, course: str, *, page: PageRequest[str] = UNPAGED
) -> list[Person]:
    """Return the instructors of a course, sorted by username; for every member of it."""
    access = require_member(connection, caller, course)
    return list_members_with_role(connection, access.course_id, INSTRUCTOR, page)


def remove_instructor(connection: Connection, caller: Caller, course: str, username: str) -> None:
    """Remove an instructor from the course; for admins."""
    require_admin(caller)
    access = lock_roster(connection, caller, course)
    now = audit.now()
    _remove_member(connection, caller, access, username, INSTRUCTOR, now)
    audit.record_members(
        connection, caller, "instructor removed", INSTRUCTOR, [username], course=access, at=now
    )


def put_student(
    connection: Connection,
    caller: Caller,
    course: str,
    username: str,
    first_name: str | None,
    last_name: str | None,
    email: str | None,
) -> None:
    """Add a student, or change a student's names and address; for instructors."""
    access = lock_roster(connection, caller, course)
    person = _make_person(username, first_name, last_name, email)
    if get_role(connection, access.course_id, username) == INSTRUCTOR:
        raise Conflict(STUDENT_IS_INSTRUCTOR)
    set_members(connection, access.course_id, STUDENT, [person])
    audit.record_members(connection, caller, "student added", STUDENT, [username], course=access)


def get_student(connection: Connection, caller: Caller, course: str, username: str) -> Person:
    """Return a student's entry in the roster; for instructors and that student."""
    access = require_capability_or_self(connection, caller, course, Capability.SEE_ROSTER, username)
    row = _require_member_with_role(connection, access.course_id, username, STUDENT)
    return Person(*row[:4])


def list_students(
    connection: Connection, caller: Caller, course: str, *, page: PageRequest[str] = UNPAGED
) -> list[Person]:
    """Return the students of a course, sorted by username; for instructors."""
    access = require_capability(connection, caller, course, Capability.SEE_ROSTER)
    return list_members_with_role(connection, access.course_id, STUDENT, page)


def remove_student(connection: Connection, caller: Caller, course: str, username: str) -> None:
    """Remove a student from the course, but not their submissions; for instructors."""
    access = lock_roster(connection, caller, course)
    now = audit.now()
    _remove_member(connection, caller, access, username, STUDENT, now)
    audit.record_members(
        connection, caller, "student removed", STUDENT, [username], course=access, at=now
    )


def _make_person(
    username: str, first_name: str | None, last_name: str | None, email: str | None
) -> Person:
    """Return the entry that a request supplies. Raise BadRequest if a field is missing."""
    if first_name is None:
        raise BadRequest("Please supply first name")
    if last_name is None:
        raise BadRequest("Please supply last name")
    if email is None:
        raise BadRequest("Please supply email")
    return Person(username, first_name, last_name, email)


def _find_member(connection: Connection, course_id: int, username: str) -> _MemberRow | None:
    return connection.execute(_MEMBER, {"course_id": course_id, "username": username}).one_or_none()


def _require_member_with_role(
    connection: Connection, course_id: int, username: str, role: str
) -> _MemberRow:
    """Return the row of a member with this role. Raise NotFound."""
    row = _find_member(connection, course_id, username)
    if row is None or row.role != role:
        raise NotFound(f"{role.capitalize()} not found")
    return row


def _remove_member(
    connection: Connection, caller: Caller, access: Access, username: str, role: str, now: datetime
) -> None:
    """Mark a member with this role as removed, at a time in UTC. Raise NotFound."""
    row = _require_member_with_role(connection, access.course_id, username, role)
    connection.execute(
        update(Membership)
        .where(Membership.id == row.id)
        .values(removed_at=now, removed_by=caller.name)
    )
