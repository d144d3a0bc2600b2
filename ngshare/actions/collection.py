"""The collection: the submissions that an instructor collects, one or all of each student."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import starmap

from sqlalchemy import ColumnElement, Connection, Select, and_, case, func, select

from ngshare.actions import submissions
from ngshare.actions.access import Access, Caller, Capability, require_capability
from ngshare.actions.chunks import chunks
from ngshare.actions.stored_trees import TreeSummary
from ngshare.actions.submission_infos import describe_submissions
from ngshare.db.models import Submission, Tree, User
from ngshare.errors import BadRequest, NotFound
from ngshare.protocol.names import check_name
from ngshare.protocol.overview import SubmissionInfo
from ngshare.protocol.times import format_time, parse_time

_TREES = (
    select(
        Tree.id, Tree.digest, Tree.file_count, User.name.label("student"), Submission.submitted_at
    )
    .join(Submission, Submission.tree_id == Tree.id)
    .join(User, User.id == Submission.student_id)
    .order_by(User.name, Submission.submitted_at, Submission.id)
)


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
    student: only submissions of this student. Raises NotFound for a name of nobody who is in the
        course or ever submitted to it.
    every: every submission, with ``before`` every one that is not after it.
    """
    access = require_capability(connection, caller, course, Capability.GRADE, assignment)
    chosen = _select_collection(connection, caller, access, before, student, every)
    formatted = None if before is None else format_time(parse_time(before))
    return [info for _, info in describe_submissions(connection, chosen, formatted)]


def list_collected_trees(
    connection: Connection,
    caller: Caller,
    course: str,
    assignment: str,
    *,
    before: str | None = None,
    student: str | None = None,
    every: bool = False,
) -> list[TreeSummary]:
    """Return the trees of the submissions that :func:`list_collection` returns."""
    access = require_capability(connection, caller, course, Capability.GRADE, assignment)
    chosen = _select_collection(connection, caller, access, before, student, every)
    rows = connection.execute(_TREES.where(Submission.id.in_(chosen)))
    return list(starmap(TreeSummary, rows))


def list_chosen_trees(
    connection: Connection, caller: Caller, course: str, assignment: str, chosen: object
) -> list[TreeSummary]:
    """Return the trees of submissions, in the order asked for; for instructors.

    chosen: a list of objects with ``student_id`` and ``timestamp``, decoded from JSON.
        Raises BadRequest when it is malformed, and NotFound when one does not exist.
    """
    access = require_capability(connection, caller, course, Capability.GRADE, assignment)
    assignment_id = access.require_assignment().id
    keys = list(dict.fromkeys(_parse_chosen(chosen)))
    found: dict[tuple[str, datetime], TreeSummary] = {}
    for chunk in chunks(list(dict.fromkeys(student for student, _ in keys))):
        of_students = _TREES.where(Submission.assignment_id == assignment_id, User.name.in_(chunk))
        for row in connection.execute(of_students):
            tree = TreeSummary(*row)
            found[row.student, row.submitted_at] = tree
    missing = next((key for key in keys if key not in found), None)
    if missing is not None:
        raise NotFound("Submission not found")
    return [found[key] for key in keys]


def _parse_chosen(chosen: object) -> Iterator[tuple[str, datetime]]:
    """Yield the student and the time (UTC) of each submission of a list. Raises BadRequest."""
    if not isinstance(chosen, list):
        raise BadRequest("Please supply submissions, a list of student_id and timestamp")
    for entry in chosen:
        student = entry.get("student_id") if isinstance(entry, dict) else None
        timestamp = entry.get("timestamp") if isinstance(entry, dict) else None
        if not isinstance(student, str) or not isinstance(timestamp, str):
            raise BadRequest("Each of the submissions should have the texts student_id, timestamp")
        yield check_name(student), parse_time(timestamp)


def _select_collection(
    connection: Connection,
    caller: Caller,
    access: Access,
    before: str | None,
    student: str | None,
    every: bool,
) -> Select[int]:
    """Select the ids of the submissions that :func:`list_collection` describes."""
    assignment_id = access.require_assignment().id
    candidates = select(Submission.id).where(Submission.assignment_id == assignment_id)
    if student is not None:
        submissions.require_participant(connection, caller, access, student, removed=True)
        student_id = select(User.id).where(User.name == student).scalar_subquery()
        candidates = candidates.where(Submission.student_id == student_id)
    limit = None if before is None else parse_time(before)
    if not every:
        return _select_newest(candidates, assignment_id, limit)
    return candidates if limit is None else candidates.where(Submission.submitted_at <= limit)


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
