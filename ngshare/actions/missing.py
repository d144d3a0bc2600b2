"""Who has not handed in, or not in time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select

from ngshare.actions import access, assignments
from ngshare.actions.access import Caller, Capability
from ngshare.actions.paging import ALL, Part
from ngshare.db.models import STUDENT, Membership, Submission, User


@dataclass(frozen=True, slots=True)
class Missing:
    """A student of the roster who had handed in nothing.

    ``late`` is when they first handed in after the moment that was asked about (UTC),
    None when they never did.
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
    part: Part[str] = ALL,
) -> list[Missing]:
    """The students who had handed in nothing ``by`` this moment, or until now; for instructors."""
    found = access.require(connection, caller, course, Capability.GRADE, assignment)
    released = assignments.named(found)
    # Looked up for each student, in an index, however many submissions there are.
    first = (
        select(func.min(Submission.submitted_at))
        .where(Submission.assignment_id == released.id, Submission.student_id == Membership.user_id)
        .correlate(Membership)
        .scalar_subquery()
    )
    rows = connection.execute(
        select(User.name, Membership.first_name, Membership.last_name, Membership.email, first)
        .select_from(Membership)
        .join(User, User.id == Membership.user_id)
        .where(
            Membership.course_id == found.course_id,
            Membership.role == STUDENT,
            Membership.removed_at.is_(None),
            User.name > (part.after or ""),
            first.is_(None) if by is None else first.is_(None) | (first > by),
        )
        .order_by(User.name)
        .limit(part.limit)
    )
    return [Missing(*row) for row in rows]
