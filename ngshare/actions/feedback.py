"""Feedback on a submission: give it and fetch it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, bindparam, update

from ngshare.actions import audit, submissions, tree_rows
from ngshare.actions.access import (
    Access,
    Caller,
    Capability,
    require_capability,
    require_capability_or_self,
)
from ngshare.actions.locks import lock_row
from ngshare.actions.submissions import SubmissionRef
from ngshare.db.models import Submission
from ngshare.protocol.times import format_time, parse_time
from ngshare.protocol.trees import StoredFile

_SET_FEEDBACK = (
    update(Submission)
    .where(Submission.id == bindparam("submission_id"))
    .values(feedback_tree_id=bindparam("new_tree_id"))
)


def authorize_feedback(
    connection: Connection,
    caller: Caller,
    course: str,
    assignment: str,
    student: str,
    timestamp: str | None,
) -> tuple[Access, SubmissionRef]:
    """Return the caller's access to the course, and the submission to give feedback on.

    Raises Forbidden unless the caller may grade, and NotFound or BadRequest when there is no such
    submission. Requests call it before their files are stored.
    """
    access = require_capability(connection, caller, course, Capability.GRADE, assignment)
    return access, _require_submission(connection, caller, access, student, timestamp)


def give_feedback(
    connection: Connection,
    caller: Caller,
    course: str,
    assignment: str,
    student: str,
    timestamp: str | None,
    files: Sequence[StoredFile],
    sent: int | None = None,
) -> None:
    """Give feedback on one submission, and replace feedback given before; for instructors.

    sent: the number of files that the request contained, for the audit log; None for all.
    """
    place = (course, assignment, student, timestamp)
    access, submission = authorize_feedback(connection, caller, *place)
    if lock_row(connection, Submission, submission.id):
        # Feedback may have been given meanwhile, which this one then replaces.
        access, submission = authorize_feedback(connection, caller, *place)
    now = audit.now()
    tree_rows.mark_replaced(
        connection,
        caller,
        submission.feedback_tree_id,
        now,
        assignment_id=access.require_assignment().id,
        submission_id=submission.id,
    )
    tree_id = tree_rows.insert_tree(connection, access.course_id, files)
    connection.execute(_SET_FEEDBACK, {"submission_id": submission.id, "new_tree_id": tree_id})
    audit.record(
        connection,
        caller,
        "feedback given",
        course=access,
        assignment=assignment,
        student=student,
        at=now,
        files=len(files),
        timestamp=format_time(submission.submitted_at),
        **audit.sent_files(sent),
    )


def fetch_feedback(
    connection: Connection,
    caller: Caller,
    course: str,
    assignment: str,
    student: str,
    timestamp: str | None,
    *,
    removed: bool = False,
) -> tuple[datetime, list[StoredFile]]:
    """Return a submission's time (UTC) and the files of the feedback on it, if any.

    For instructors and that student. With ``removed``, instructors may ask about a student who has
    left the course.
    """
    access = require_capability_or_self(
        connection, caller, course, Capability.GRADE, student, assignment
    )
    submission = _require_submission(
        connection, caller, access, student, timestamp, removed=removed
    )
    return submission.submitted_at, tree_rows.list_files(connection, submission.feedback_tree_id)


def _require_submission(
    connection: Connection,
    caller: Caller,
    access: Access,
    student: str,
    timestamp: str | None,
    *,
    removed: bool = False,
) -> SubmissionRef:
    """Return the submission that a request names. Raise NotFound or BadRequest."""
    assignment = access.require_assignment()
    submissions.require_participant(connection, caller, access, student, removed=removed)
    return submissions.require_submission(connection, assignment, student, parse_time(timestamp))
