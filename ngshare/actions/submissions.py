"""Submissions: submit, list, collect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, Select, bindparam, func, insert, select, type_coerce

from ngshare.actions import audit, roster, tree_rows, users
from ngshare.actions.access import (
    Access,
    AssignmentRef,
    Caller,
    Capability,
    require_capability,
    require_capability_or_self,
    require_member,
)
from ngshare.actions.locks import lock_row
from ngshare.actions.paging import UNPAGED, PageRequest
from ngshare.db.models import Assignment, Submission, Tree, User, UtcText
from ngshare.errors import Conflict, NotFound
from ngshare.protocol.manifests import tree_digest
from ngshare.protocol.times import format_time, parse_time
from ngshare.protocol.trees import StoredFile


class SubmissionSummary(NamedTuple):
    """One entry of a list of submissions.

    ``timestamp`` is the time of the submission as clients compare it
    (``2020-01-01 00:00:00.000000 UTC``), ``id`` the id of its row.
    """

    student: str
    timestamp: str
    id: int


@dataclass(frozen=True, slots=True)
class SubmissionRef:
    """One submission: the ids of its row, its tree and its feedback's tree (None: no feedback).

    ``submitted_at`` is its time in UTC.
    """

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
_LATEST = _OF_STUDENT.order_by(Submission.submitted_at.desc()).limit(1)
_AT_TIME = _OF_STUDENT.where(Submission.submitted_at == bindparam("submitted_at"))
_SUMMARIES = (
    select(User.name, type_coerce(Submission.submitted_at, UtcText), Submission.id)
    .join(User, User.id == Submission.student_id)
    .where(Submission.assignment_id == bindparam("assignment_id"))
    .order_by(Submission.submitted_at, Submission.id)
)
_SUMMARIES_OF_STUDENT = _SUMMARIES.where(User.name == bindparam("student"))
_ANY_IN_COURSE = (
    select(Submission.id)
    .join(User, User.id == Submission.student_id)
    .join(Assignment, Assignment.id == Submission.assignment_id)
    .where(Assignment.course_id == bindparam("course_id"), User.name == bindparam("student"))
    .limit(1)
)
_INSERT = insert(Submission)
_LATEST_TIME = select(func.max(Submission.submitted_at)).where(
    Submission.assignment_id == bindparam("assignment_id"),
    Submission.student_id == bindparam("student_id"),
)
_OF_KEY = (
    select(Submission.submitted_at, Tree.digest)
    .join(Tree, Tree.id == Submission.tree_id)
    .where(
        Submission.assignment_id == bindparam("assignment_id"),
        Submission.student_id == bindparam("student_id"),
        Submission.idempotency_key == bindparam("key"),
    )
)


def authorize_submission(
    connection: Connection, caller: Caller, course: str, assignment: str
) -> Access:
    """Return the caller's access to the course. Raise Forbidden unless they may submit.

    Raises NotFound when the course or the assignment does not exist. Requests call it before
    their files are stored.
    """
    access = require_member(connection, caller, course, assignment)
    access.require_assignment()
    return access


def submit(
    connection: Connection,
    caller: Caller,
    course: str,
    assignment: str,
    files: Sequence[StoredFile],
    key: str | None = None,
    sent: int | None = None,
) -> datetime:
    """Submit the caller's work to an assignment, and return the time of the submission (UTC).

    Every member of the course may, instructors too. The times of one student's submissions to an
    assignment strictly increase, even when the clock is set back.

    key: identifies the request. If the caller has submitted with it already, nothing changes, and
        the time of that submission is returned. Raises Conflict if the files are others.
    sent: the number of files that the request contained, for the audit log; None for all.
    """
    access = authorize_submission(connection, caller, course, assignment)
    student_id = access.caller_id or users.ensure_users(connection, [caller.name])[caller.name]
    if lock_row(connection, User, student_id):
        # Meanwhile the assignment may have been removed, or the caller from the course.
        access = authorize_submission(connection, caller, course, assignment)
    assignment_id = access.require_assignment().id
    if key is not None:
        values = {"assignment_id": assignment_id, "student_id": student_id, "key": key}
        if earlier := connection.execute(_OF_KEY, values).one_or_none():
            if earlier.digest != tree_digest(tree_rows.make_manifest(files)):
                raise Conflict(
                    "The Idempotency-Key was used for other files; choose a new one for each "
                    "submission"
                )
            submitted_at: datetime = earlier.submitted_at
            return submitted_at
    now = audit.now()
    latest = connection.scalar(
        _LATEST_TIME, {"assignment_id": assignment_id, "student_id": student_id}
    )
    if latest is not None and now <= latest:
        now = latest + timedelta(microseconds=1)
    tree_id = tree_rows.insert_tree(connection, access.course_id, files)
    connection.execute(
        _INSERT,
        {
            "assignment_id": assignment_id,
            "student_id": student_id,
            "submitted_at": now,
            "tree_id": tree_id,
            "idempotency_key": key,
        },
    )
    audit.record(
        connection,
        caller,
        "submission handed in",
        course=access,
        assignment=assignment,
        student=caller.name,
        at=now,  # equal to the submission's time, so that the log can be asked about deadlines
        files=len(files),
        timestamp=format_time(now),
        **audit.sent_files(sent),
    )
    return now


def list_submissions(
    connection: Connection,
    caller: Caller,
    course: str,
    assignment: str,
    *,
    page: PageRequest[tuple[datetime, int]] = UNPAGED,
) -> list[SubmissionSummary]:
    """Return every submission to an assignment, oldest first; for instructors.

    The key of an entry is its time with the id of its row.
    """
    access = require_capability(connection, caller, course, Capability.GRADE, assignment)
    values = {"assignment_id": access.require_assignment().id}
    # All rows at once, which takes half as long as row by row.
    rows = connection.execute(_select_page(_SUMMARIES, page), values).all()
    return list(map(SubmissionSummary._make, rows))


def list_student_submissions(
    connection: Connection,
    caller: Caller,
    course: str,
    assignment: str,
    student: str,
    *,
    removed: bool = False,
    page: PageRequest[tuple[datetime, int]] = UNPAGED,
) -> list[SubmissionSummary]:
    """Return one student's submissions, oldest first; for instructors and that student.

    With ``removed``, instructors may ask about a student who has left the course.
    """
    access = require_capability_or_self(
        connection, caller, course, Capability.GRADE, student, assignment
    )
    values = {"assignment_id": access.require_assignment().id, "student": student}
    require_participant(connection, caller, access, student, removed=removed)
    rows = connection.execute(_select_page(_SUMMARIES_OF_STUDENT, page), values).all()
    return list(map(SubmissionSummary._make, rows))


def _select_page(
    summaries: Select[str, str, int], page: PageRequest[tuple[datetime, int]]
) -> Select[str, str, int]:
    """Limit a query that has the columns and the order of :data:`_SUMMARIES` to one page."""
    if page.after is not None:
        time, row_id = page.after
        later = (Submission.submitted_at > time) | (Submission.id > row_id)
        summaries = summaries.where(Submission.submitted_at >= time, later)
    return summaries if page.limit is None else summaries.limit(page.limit)


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
    """Return the time (UTC) and the files of a student's submission; for instructors.

    It is the submission of ``timestamp``, or the latest one if that is None. With ``removed``, the
    student may have left the course.
    """
    access = require_capability(connection, caller, course, Capability.GRADE, assignment)
    assignment_ref = access.require_assignment()
    require_participant(connection, caller, access, student, removed=removed)
    submitted_at = None if timestamp is None else parse_time(timestamp)
    submission = require_submission(connection, assignment_ref, student, submitted_at)
    return submission.submitted_at, tree_rows.list_files(connection, submission.tree_id)


def require_submission(
    connection: Connection,
    assignment: AssignmentRef,
    student: str,
    submitted_at: datetime | None,
) -> SubmissionRef:
    """Return a student's submission of this time, or the latest one (None). Raise NotFound."""
    values = {"assignment_id": assignment.id, "student": student}
    if submitted_at is None:
        row = connection.execute(_LATEST, values).one_or_none()
    else:
        row = connection.execute(_AT_TIME, {**values, "submitted_at": submitted_at}).one_or_none()
    if row is None:
        raise NotFound("Submission not found")
    return SubmissionRef(*row)


def require_participant(
    connection: Connection, caller: Caller, access: Access, student: str, *, removed: bool = False
) -> None:
    """Raise NotFound unless ``student`` is in the course. Instructors may submit too.

    ``access`` is the caller's access to the course, which needs no query when the student is the
    caller. With ``removed``, a caller who may grade can also name a former member who ever
    submitted to the course.
    """
    if student == caller.name and access.role is not None:
        return
    if roster.get_role(connection, access.course_id, student) is not None:
        return
    values = {"course_id": access.course_id, "student": student}
    may_see_former = removed and access.may(Capability.GRADE)
    if may_see_former and connection.execute(_ANY_IN_COURSE, values).first():
        return
    raise NotFound("Student not found")
