"""Feedback: give it, and fetch it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, bindparam, update

from ngshare.actions import access, assignments, audit, submissions, tree_rows
from ngshare.actions.access import Access, Caller, Capability
from ngshare.actions.locks import lock
from ngshare.actions.submissions import Submitted
from ngshare.db.models import Submission
from ngshare.protocol.times import format_time, parse_time
from ngshare.protocol.trees import StoredFile

_GIVE = (
    update(Submission)
    .where(Submission.id == bindparam("submission_id"))
    .values(feedback_tree_id=bindparam("new_tree_id"))
)


def check_give(
    connection: Connection,
    caller: Caller,
    course: str,
    assignment: str,
    student: str,
    timestamp: str | None,
) -> tuple[Access, Submitted]:
    """Refuse whoever may not give this feedback, before files are stored."""
    found = access.require(connection, caller, course, Capability.GRADE, assignment)
    return found, _find(connection, caller, found, student, timestamp)


def give(
    connection: Connection,
    caller: Caller,
    course: str,
    assignment: str,
    student: str,
    timestamp: str | None,
    files: Sequence[StoredFile],
) -> None:
    """Give feedback on one submission, in place of what was there; for instructors."""
    found, submitted = check_give(connection, caller, course, assignment, student, timestamp)
    if lock(connection, Submission, submitted.id):
        # Somebody may have given feedback meanwhile, which this replaces then.
        found, submitted = check_give(connection, caller, course, assignment, student, timestamp)
    moment = audit.now()
    tree_rows.mark_replaced(
        connection,
        caller,
        submitted.feedback_tree_id,
        moment,
        assignment_id=assignments.named(found).id,
        submission_id=submitted.id,
    )
    tree_id = tree_rows.add(connection, found.course_id, files)
    connection.execute(_GIVE, {"submission_id": submitted.id, "new_tree_id": tree_id})
    audit.record(
        connection,
        caller,
        "feedback given",
        course=found,
        assignment=assignment,
        student=student,
        at=moment,
        files=len(files),
        timestamp=format_time(submitted.submitted_at),
    )


def fetch(
    connection: Connection,
    caller: Caller,
    course: str,
    assignment: str,
    student: str,
    timestamp: str | None,
    *,
    removed: bool = False,
) -> tuple[datetime, list[StoredFile]]:
    """The feedback on one submission, none if there is none; for instructors and that student.

    ``removed``: for instructors also on the work of somebody who is no longer in the course.
    """
    found = access.require_or_self(
        connection, caller, course, Capability.GRADE, student, assignment
    )
    submitted = _find(connection, caller, found, student, timestamp, removed=removed)
    return submitted.submitted_at, tree_rows.files(connection, submitted.feedback_tree_id)


def _find(
    connection: Connection,
    caller: Caller,
    found: Access,
    student: str,
    timestamp: str | None,
    *,
    removed: bool = False,
) -> Submitted:
    released = assignments.named(found)
    submissions.require_participant(connection, caller, found, student, removed=removed)
    return submissions.find(connection, released, student, parse_time(timestamp))
