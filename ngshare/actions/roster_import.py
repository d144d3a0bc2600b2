"""Import the students of a course from a list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from ngshare.actions import audit, roster
from ngshare.actions.access import Caller, Capability, require_capability
from ngshare.actions.roster import STUDENT_IS_INSTRUCTOR, Person
from ngshare.db.models import INSTRUCTOR, STUDENT
from ngshare.errors import BadRequest
from ngshare.protocol.names import is_legal_name, is_storable_text


@dataclass(frozen=True, slots=True)
class ImportStatus:
    """The result of one line of an import; ``message`` says why it was skipped, None if not."""

    username: str
    message: str | None = None


def authorize_import(connection: Connection, caller: Caller, course: str) -> None:
    """Raise Forbidden unless the caller may import students; NotFound without such a course.

    Requests call it before they decode the list.
    """
    require_capability(connection, caller, course, Capability.CHANGE_ROSTER)


def parse_roster(students: object) -> list[Person]:
    """Return the lines of an import, decoded from JSON, as entries of a roster.

    Raises BadRequest, with the messages of the contract.
    """
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
        if not all(isinstance(value, str) and is_storable_text(value) for value in values):
            raise BadRequest("Incorrect request format")
        people.append(Person(*values))
    return people


def import_students(
    connection: Connection, caller: Caller, course: str, people: Sequence[Person]
) -> list[ImportStatus]:
    """Add many students at once, or change their names and addresses; for instructors.

    Return the result of each line. Lines with an illegal name and lines of instructors are
    skipped. If a username occurs in several lines, the last counts. The audit log gets an entry
    for each student who is new or whose names or address changed, and one with their number for
    the import.
    """
    access = roster.lock_roster(connection, caller, course)
    instructors = {
        person.username
        for person in roster.list_members_with_role(connection, access.course_id, INSTRUCTOR)
    }
    statuses: list[ImportStatus] = []
    accepted: dict[str, Person] = {}
    for person in people:
        if not is_legal_name(person.username):
            statuses.append(ImportStatus(person.username, "Illegal user name"))
        elif person.username in instructors:
            statuses.append(ImportStatus(person.username, STUDENT_IS_INSTRUCTOR))
        else:
            statuses.append(ImportStatus(person.username))
            accepted[person.username] = person
    before = {
        person.username: person
        for person in roster.list_members_with_role(connection, access.course_id, STUDENT)
    }
    roster.set_members(connection, access.course_id, STUDENT, list(accepted.values()))
    changed = sorted(name for name in accepted if before.get(name) != accepted[name])
    now = audit.now()
    audit.record_members(
        connection, caller, "student added", STUDENT, changed, course=access, at=now
    )
    audit.record(
        connection,
        caller,
        "students imported",
        course=access,
        at=now,
        count=len(accepted),
        changed=len(changed),
    )
    return statuses
