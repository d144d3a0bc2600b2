"""Find the students of an assignment who have not submitted, or not in time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select

from ngshare.actions.access import Caller, Capability, require_capability
from ngshare.actions.paging import UNPAGED, PageRequest
from ngshare.db.models import STUDENT, Membership, Submission, User


@dataclass(frozen=True, slots=True)
class MissingStudent:
    """A student of the roster who had not submitted by a deadline.

    ``late`` is the time (UTC) of their first submission after it; None if there is none.
    """

    username: str
    first_name: str | None
    last_name: str | None
    email: str | None
    late: datetime | None


def list_missing(
    connection: Connection,
    caller: Caller,
    course: str,
    assignment: str,
    by: datetime | None,
    *,
    page: PageRequest[str] = UNPAGED,
) -> list[MissingStudent]:
    """Return the students without a submission up to the time ``by``; for instructors.

    ``by`` is in UTC; None stands for now. The list is sorted by username.
    """
    access = require_capability(connection, caller, course, Capability.GRADE, assignment)
    assignment_id = access.require_assignment().id
    # A subquery looks each student up in an index, however many submissions there are.
    first = (
        select(func.min(Submission.submitted_at))
        .where(
            Submission.assignment_id == assignment_id, Submission.student_id == Membership.user_id
        )
        .correlate(Membership)
        .scalar_subquery()
    )
    rows = connection.execute(
        select(User.name, Membership.first_name, Membership.last_name, Membership.email, first)
        .select_from(Membership)
        .join(User, User.id == Membership.user_id)
        .where(
            Membership.course_id == access.course_id,
            Membership.role == STUDENT,
            Membership.removed_at.is_(None),
            User.name > (page.after or ""),
            first.is_(None) if by is None else first.is_(None) | (first > by),
        )
        .order_by(User.name)
        .limit(page.limit)
    )
    return [MissingStudent(*row) for row in rows]
