"""Submissions: hand in, list, collect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, func, insert, select, type_coerce

from ngshare.actions import access, assignments, audit, roster, tree_rows, users
from ngshare.actions.access import Access, Caller, Capability, Released
from ngshare.actions.locks import lock
from ngshare.actions.paging import ALL, Part
from ngshare.db.models import Assignment, Submission, User, UtcText
from ngshare.errors import NotFound
from ngshare.protocol.times import format_time, parse_time
from ngshare.protocol.trees import StoredFile


class Handed(NamedTuple):
    """That a student handed something in, and when; ``id`` is its row's.

    ``moment`` is the text that clients compare: ``2020-01-01 00:00:00.000000 UTC``.
    """

    student: str
    moment: str
    id: int


@dataclass(frozen=True, slots=True)
class Submitted:
    """One submission: its row's id, its moment (UTC), its tree's id and its feedback's, if any."""

    id: int
    submitted_at: datetime
    tree_id: int
    feedback_tree_id: int | None


_OF_STUDENT = (
    select(Submission.id, Submission.submitted_at, Submission.tree_id, Submission.feedback_tree_id)
    .join(User, User.id == Submission.student_id)
    .where(
        Submission.assignment_id == bindparam("assignment_id"), User.name == bindparam("student")
    )
)
_ALL = (
    select(User.name, type_coerce(Submission.submitted_at, UtcText), Submission.id)
    .join(User, User.id == Submission.student_id)
    .where(Submission.assignment_id == bindparam("assignment_id"))
    .order_by(Submission.submitted_at, Submission.id)
)
_OWN = _ALL.where(User.name == bindparam("student"))
_EVER = (
    select(Submission.id)
    .join(User, User.id == Submission.student_id)
    .join(Assignment, Assignment.id == Submission.assignment_id)
    .where(Assignment.course_id == bindparam("course_id"), User.name == bindparam("student"))
    .limit(1)
)
_LATEST = _OF_STUDENT.order_by(Submission.submitted_at.desc()).limit(1)
_AT = _OF_STUDENT.where(Submission.submitted_at == bindparam("submitted_at"))
_SUBMISSION = insert(Submission)
_LAST_TIME = select(func.max(Submission.submitted_at)).where(
    Submission.assignment_id == bindparam("assignment_id"),
    Submission.student_id == bindparam("student_id"),
)


def check_submit(
    connection: Connection, caller: Caller, course: str, assignment: str
) -> tuple[Access, Released]:
    """Refuse whoever may not submit to this assignment, before files are stored."""
    found = access.require_member(connection, caller, course, assignment)
    return found, assignments.named(found)


def submit(
    connection: Connection,
    caller: Caller,
    course: str,
    assignment: str,
    files: Sequence[StoredFile],
) -> datetime:
    """Hand in the caller's work; for every member of the course. Return its moment (UTC).

    A student's moments for one assignment increase, whatever the clock does.
    """
    found, released = check_submit(connection, caller, course, assignment)
    student_id = found.caller_id or users.user_ids(connection, [caller.name])[caller.name]
    if lock(connection, User, student_id):
        # Meanwhile the assignment may have been removed, or the caller from the course.
        found, released = check_submit(connection, caller, course, assignment)
    moment = audit.now()
    last = connection.scalar(_LAST_TIME, {"assignment_id": released.id, "student_id": student_id})
    if last is not None and moment <= last:
        moment = last + timedelta(microseconds=1)
    tree_id = tree_rows.add(connection, found.course_id, files)
    connection.execute(
        _SUBMISSION,
        {
            "assignment_id": released.id,
            "student_id": student_id,
            "submitted_at": moment,
            "tree_id": tree_id,
        },
    )
    audit.record(
        connection,
        caller,
        "submission handed in",
        course=found,
        assignment=assignment,
        student=caller.name,
        at=moment,  # whoever asks the log for a deadline means this
        files=len(files),
        timestamp=format_time(moment),
    )
    return moment


def list_all(
    connection: Connection,
    caller: Caller,
    course: str,
    assignment: str,
    *,
    part: Part[tuple[datetime, int]] = ALL,
) -> list[Handed]:
    """Every submission to an assignment, oldest first; for instructors.

    The key of one is its moment with its row's id.
    """
    found = access.require(connection, caller, course, Capability.GRADE, assignment)
    released = assignments.named(found)
    # All at once, which takes half as long as row by row.
    rows = connection.execute(_of(part, _ALL), {"assignment_id": released.id}).all()
    return list(map(Handed._make, rows))


def list_own(
    connection: Connection,
    caller: Caller,
    course: str,
    assignment: str,
    student: str,
    *,
    removed: bool = False,
    part: Part[tuple[datetime, int]] = ALL,
) -> list[Handed]:
    """One student's submissions, oldest first; for instructors and for that student.

    ``removed``: for instructors also of somebody who is no longer in the course.
    """
    found = access.require_or_self(
        connection, caller, course, Capability.GRADE, student, assignment
    )
    released = assignments.named(found)
    require_participant(connection, caller, found, student, removed=removed)
    values = {"assignment_id": released.id, "student": student}
    return list(map(Handed._make, connection.execute(_of(part, _OWN), values).all()))


def _of(part: Part[tuple[datetime, int]], listed: Any) -> Any:
    """A part of what a query lists in the order of :data:`_ALL`."""
    if part.after is not None:
        moment, row = part.after
        later = (Submission.submitted_at > moment) | (Submission.id > row)
        listed = listed.where(Submission.submitted_at >= moment, later)
    return listed if part.limit is None else listed.limit(part.limit)


def collect(
    connection: Connection,
    caller: Caller,
    course: str,
    assignment: str,
    student: str,
    timestamp: str | None,
    *,
    removed: bool = False,
) -> tuple[datetime, list[StoredFile]]:
    """One submission's moment and files, the latest unless a time is named; for instructors.

    ``removed``: also of somebody who is no longer in the course.
    """
    found = access.require(connection, caller, course, Capability.GRADE, assignment)
    released = assignments.named(found)
    require_participant(connection, caller, found, student, removed=removed)
    moment = None if timestamp is None else parse_time(timestamp)
    submitted = find(connection, released, student, moment)
    return submitted.submitted_at, tree_rows.files(connection, submitted.tree_id)


def find(
    connection: Connection, released: Released, student: str, moment: datetime | None
) -> Submitted:
    """A student's submission of this moment, or the latest one. Raises NotFound."""
    values = {"assignment_id": released.id, "student": student}
    if moment is None:
        row = connection.execute(_LATEST, values).one_or_none()
    else:
        row = connection.execute(_AT, {**values, "submitted_at": moment}).one_or_none()
    if row is None:
        raise NotFound("Submission not found")
    return Submitted(*row)


def require_participant(
    connection: Connection, caller: Caller, course: Access, student: str, *, removed: bool = False
) -> None:
    """Raise NotFound unless this user is in the course. Instructors may submit too.

    ``course`` is the caller's access to it, which answers for themselves without a query.

    ``removed``: to those who may grade, somebody who ever handed in to it is as good.
    """
    if student == caller.name and course.role is not None:
        return
    if roster.role_of(connection, course.course_id, student) is not None:
        return
    values = {"course_id": course.course_id, "student": student}
    if removed and course.may(Capability.GRADE) and connection.execute(_EVER, values).first():
        return
    raise NotFound("Student not found")
