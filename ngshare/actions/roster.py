"""Who teaches and who takes a course."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from ngshare.actions import access, audit, users
from ngshare.actions.access import Access, Caller, Capability
from ngshare.actions.locks import lock
from ngshare.actions.paging import ALL, Part
from ngshare.db.models import INSTRUCTOR, STUDENT, Course, Membership, User
from ngshare.errors import BadRequest, Conflict, NotFound
from ngshare.protocol.names import is_name, is_text

STUDENT_IS_INSTRUCTOR = "Cannot add instructor as student"

_CHANGE_MEMBER = (
    update(Membership)
    .where(Membership.id == bindparam("membership_id"))
    .values(
        {
            name: bindparam(name)
            for name in ("role", "first_name", "last_name", "email", "removed_at", "removed_by")
        }
    )
)


@dataclass(frozen=True, slots=True)
class Person:
    """How a roster names somebody. The last three are None when never given."""

    username: str
    first_name: str | None = None
    last_name: str | None = None
    email: str | None = None


@dataclass(frozen=True, slots=True)
class ImportStatus:
    """What became of one line of an imported roster; ``message`` is None on success."""

    username: str
    message: str | None = None


def set_members(
    connection: Connection, course_id: int, role: str, people: Sequence[Person]
) -> None:
    """Give all these people this role in the course, whatever they were in it before."""
    ids = users.user_ids(connection, (person.username for person in people))
    existing: dict[int, int] = {}
    for chunk in users.chunks(list(ids.values())):
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
        values: dict[str, Any] = {
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
        connection.execute(_CHANGE_MEMBER, changed)


def role_of(connection: Connection, course_id: int, username: str) -> str | None:
    """What this user is in the course, or None."""
    row = _member(connection, course_id, username)
    return row.role if row else None


def put_instructor(
    connection: Connection,
    caller: Caller,
    course: str,
    username: str,
    first_name: str | None,
    last_name: str | None,
    email: str | None,
) -> None:
    """Make somebody an instructor, or change how the roster names an instructor.

    Admins may do it to anybody, and turn a student into an instructor by it;
    instructors may do it to themselves only.
    """
    found = _in_turn(connection, caller, course)
    if not caller.admin and username != caller.name:
        if role_of(connection, found.course_id, username) == INSTRUCTOR:
            raise BadRequest("Permission denied (cannot modify other instructors)")
        raise BadRequest("Permission denied (cannot modify instructors)")
    person = _supplied(username, first_name, last_name, email)
    set_members(connection, found.course_id, INSTRUCTOR, [person])
    audit.record(connection, caller, "instructor added", course=found, instructor=username)


def get_instructor(connection: Connection, caller: Caller, course: str, username: str) -> Person:
    """How the roster names one instructor; for every member of the course."""
    found = access.require_member(connection, caller, course)
    return _get(connection, found, INSTRUCTOR, username, "Instructor not found")


def list_instructors(
    connection: Connection, caller: Caller, course: str, *, part: Part[str] = ALL
) -> list[Person]:
    """Who teaches the course, by user name; for every member of it."""
    found = access.require_member(connection, caller, course)
    return _list(connection, found, INSTRUCTOR, part)


def remove_instructor(connection: Connection, caller: Caller, course: str, username: str) -> None:
    """Take an instructor out of the course; for admins."""
    access.require_admin(caller)
    found = _in_turn(connection, caller, course)
    moment = audit.now()
    _remove(connection, caller, found, INSTRUCTOR, username, "Instructor not found", moment)
    audit.record(
        connection, caller, "instructor removed", course=found, at=moment, instructor=username
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
    """Enrol a student, or change how the roster names a student; for instructors."""
    found = _in_turn(connection, caller, course)
    person = _supplied(username, first_name, last_name, email)
    if role_of(connection, found.course_id, username) == INSTRUCTOR:
        raise Conflict(STUDENT_IS_INSTRUCTOR)
    set_members(connection, found.course_id, STUDENT, [person])
    audit.record(connection, caller, "student added", course=found, student=username)


def get_student(connection: Connection, caller: Caller, course: str, username: str) -> Person:
    """How the roster names one student; for instructors and for that student."""
    found = access.require_or_self(connection, caller, course, Capability.SEE_ROSTER, username)
    return _get(connection, found, STUDENT, username, "Student not found")


def list_students(
    connection: Connection, caller: Caller, course: str, *, part: Part[str] = ALL
) -> list[Person]:
    """Who takes the course, by user name; for instructors."""
    found = access.require(connection, caller, course, Capability.SEE_ROSTER)
    return _list(connection, found, STUDENT, part)


def remove_student(connection: Connection, caller: Caller, course: str, username: str) -> None:
    """Take a student out of the course; for instructors. What was handed in stays."""
    found = _in_turn(connection, caller, course)
    moment = audit.now()
    _remove(connection, caller, found, STUDENT, username, "Student not found", moment)
    audit.record(connection, caller, "student removed", course=found, at=moment, student=username)


def check_import(connection: Connection, caller: Caller, course: str) -> None:
    """Refuse whoever may not import a roster, before the roster itself is looked at."""
    access.require(connection, caller, course, Capability.CHANGE_ROSTER)


def import_students(
    connection: Connection, caller: Caller, course: str, people: Sequence[Person]
) -> list[ImportStatus]:
    """Enrol many students at once; for instructors.

    Return the outcome of each line; lines that cannot be followed are skipped. The last
    line of a username counts. The audit log gets an entry for each student who is new or
    whose names or address changed, and one with their number for the import.
    """
    found = _in_turn(connection, caller, course)
    instructors = {person.username for person in _list(connection, found, INSTRUCTOR)}
    statuses: list[ImportStatus] = []
    enrolled: dict[str, Person] = {}
    for person in people:
        if not is_name(person.username):
            statuses.append(ImportStatus(person.username, "Illegal user name"))
        elif person.username in instructors:
            statuses.append(ImportStatus(person.username, STUDENT_IS_INSTRUCTOR))
        else:
            statuses.append(ImportStatus(person.username))
            enrolled[person.username] = person
    before = {person.username: person for person in _list(connection, found, STUDENT)}
    set_members(connection, found.course_id, STUDENT, list(enrolled.values()))
    changed = sorted(name for name in enrolled if before.get(name) != enrolled[name])
    moment = audit.now()
    audit.record_students(
        connection, caller, "student added", course=found, students=changed, at=moment
    )
    audit.record(
        connection,
        caller,
        "students imported",
        course=found,
        at=moment,
        count=len(enrolled),
        changed=len(changed),
    )
    return statuses


def parse_roster(students: object) -> list[Person]:
    """The lines of an imported roster, as decoded from JSON. Raises BadRequest."""
    if not students:
        raise BadRequest("Please supply students")
    if not isinstance(students, list):
        raise BadRequest("Incorrect request format")
    people = []
    for line in students:
        if not isinstance(line, dict):
            raise BadRequest("Incorrect request format")
        values: list[Any] = [
            line.get(key) for key in ("username", "first_name", "last_name", "email")
        ]
        if not all(isinstance(value, str) and is_text(value) for value in values):
            raise BadRequest("Incorrect request format")
        people.append(Person(*values))
    return people


def _in_turn(connection: Connection, caller: Caller, course: str) -> Access:
    """The course, for an instructor who changes its roster: one at a time."""
    found = access.require(connection, caller, course, Capability.CHANGE_ROSTER)
    if lock(connection, Course, found.course_id):
        # Somebody may have removed the course meanwhile, or the caller from it.
        found = access.require(connection, caller, course, Capability.CHANGE_ROSTER)
    return found


def _supplied(
    username: str, first_name: str | None, last_name: str | None, email: str | None
) -> Person:
    if first_name is None:
        raise BadRequest("Please supply first name")
    if last_name is None:
        raise BadRequest("Please supply last name")
    if email is None:
        raise BadRequest("Please supply email")
    return Person(username, first_name, last_name, email)


_MEMBERS: Any = (
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
_WITH_ROLE = _MEMBERS.where(Membership.role == bindparam("role")).order_by(User.name)


def _member(connection: Connection, course_id: int, username: str) -> Row[Any] | None:
    return connection.execute(_MEMBER, {"course_id": course_id, "username": username}).one_or_none()


def _get(connection: Connection, found: Access, role: str, username: str, absent: str) -> Person:
    row = _member(connection, found.course_id, username)
    if row is None or row.role != role:
        raise NotFound(absent)
    return Person(*row[:4])


def _list(connection: Connection, found: Access, role: str, part: Part[str] = ALL) -> list[Person]:
    wanted = _WITH_ROLE
    if part is not ALL:
        wanted = wanted.where(User.name > (part.after or "")).limit(part.limit)
    rows = connection.execute(wanted, {"course_id": found.course_id, "role": role}).all()
    return [Person(*row[:4]) for row in rows]


def _remove(
    connection: Connection,
    caller: Caller,
    found: Access,
    role: str,
    username: str,
    absent: str,
    moment: datetime,
) -> None:
    row = _member(connection, found.course_id, username)
    if row is None or row.role != role:
        raise NotFound(absent)
    connection.execute(
        update(Membership)
        .where(Membership.id == row.id)
        .values(removed_at=moment, removed_by=caller.name)
    )
