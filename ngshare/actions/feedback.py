"""Feedback: give it, and fetch it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import update
from sqlalchemy.orm import Session

from ngshare.actions import access, assignments, audit, submissions, trees
from ngshare.actions.access import Caller, Standing
from ngshare.actions.submissions import Submitted
from ngshare.models import Submission
from ngshare.wire import StoredFile, format_time, parse_time


def check_give(
    session: Session,
    caller: Caller,
    course: str,
    assignment: str,
    student: str,
    timestamp: str | None,
) -> tuple[Standing, Submitted]:
    """Refuse whoever may not give this feedback, before files are stored."""
    found = access.require_instructor(session, caller, course)
    return found, _find(session, found, assignment, student, timestamp)


def give(
    session: Session,
    caller: Caller,
    course: str,
    assignment: str,
    student: str,
    timestamp: str | None,
    files: Sequence[StoredFile],
) -> None:
    """Give feedback on one submission, in place of what was there; for instructors."""
    found, submitted = check_give(session, caller, course, assignment, student, timestamp)
    trees.mark_replaced(session, submitted.feedback_tree_id, audit.now())
    tree_id = trees.add(session, found.course_id, files)
    session.execute(
        update(Submission).where(Submission.id == submitted.id).values(feedback_tree_id=tree_id)
    )
    audit.record(
        session,
        caller,
        "feedback given",
        course=found,
        assignment=assignment,
        student=student,
        files=len(files),
        timestamp=format_time(submitted.submitted_at),
    )


def fetch(
    session: Session,
    caller: Caller,
    course: str,
    assignment: str,
    student: str,
    timestamp: str | None,
) -> tuple[datetime, list[StoredFile]]:
    """The feedback on one submission, none if there is none; for instructors and that student."""
    found = access.require_instructor_or_self(session, caller, course, student)
    submitted = _find(session, found, assignment, student, timestamp)
    return submitted.submitted_at, trees.files(session, submitted.feedback_tree_id)


def _find(
    session: Session, found: Standing, assignment: str, student: str, timestamp: str | None
) -> Submitted:
    released = assignments.find(session, found, assignment)
    submissions.require_participant(session, found, student)
    return submissions.find(session, released, student, parse_time(timestamp))
