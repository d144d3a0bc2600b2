"""The collection: the submissions that an instructor collects, one or all of each student."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Select, and_, case, func, select

from ngshare.actions import submissions
from ngshare.actions.access import Caller, Capability, require_capability
from ngshare.actions.submission_infos import describe_submissions
from ngshare.db.models import Submission, User
from ngshare.protocol.overview import SubmissionInfo
from ngshare.protocol.times import format_time, parse_time


def list_collection(
    connection: Connection,
    caller: Caller,
    course: str,
    assignment: str,
    *,
    before: str | None = None,
    student: str | None = None,
    every: bool = False,
) -> list[SubmissionInfo]:
    """Return the newest submission of each student, sorted by student; for instructors.

    Students who have left the course are included.

    before: a time. It is then the newest submission that is not after it; if a student has none,
        it is the student's newest one, which is late.
    student: only submissions of this student. Raises NotFound when it is nobody who is in the
        course or ever submitted to it.
    every: every submission, with ``before`` every one that is not after it.
    """
    access = require_capability(connection, caller, course, Capability.GRADE, assignment)
    assignment_id = access.require_assignment().id
    if student is not None:
        submissions.require_participant(connection, caller, access, student, removed=True)
    limit = None if before is None else parse_time(before)
    of_assignment = select(Submission.id).where(Submission.assignment_id == assignment_id)
    if student is not None:
        student_id = select(User.id).where(User.name == student).scalar_subquery()
        of_assignment = of_assignment.where(Submission.student_id == student_id)
    if not every:
        chosen = _select_newest(of_assignment, assignment_id, limit)
    elif limit is not None:
        chosen = of_assignment.where(Submission.submitted_at <= limit)
    else:
        chosen = of_assignment
    formatted = None if limit is None else format_time(limit)
    return [info for _, info in describe_submissions(connection, chosen, formatted)]


def _select_newest(
    candidates: Select[int], assignment_id: int, limit: datetime | None
) -> Select[int]:
    """Select the id of each student's newest submission among the candidates.

    Submissions after ``limit`` (UTC) count only for students who have no other.
    """
    newest: ColumnElement[datetime] = func.max(Submission.submitted_at)
    if limit is not None:
        in_time = case((Submission.submitted_at <= limit, Submission.submitted_at))
        newest = func.coalesce(func.max(in_time), newest)
    of_student = (
        candidates.with_only_columns(Submission.student_id, newest.label("at"))
        .group_by(Submission.student_id)
        .subquery()
    )
    return select(Submission.id).join(
        of_student,
        and_(
            Submission.assignment_id == assignment_id,
            Submission.student_id == of_student.c.student_id,
            Submission.submitted_at == of_student.c.at,
        ),
    )
