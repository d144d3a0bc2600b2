"""The audit log: every change leaves a row that says who, what, when and where."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from ngshare.actions.access import Caller, Standing
from ngshare.models import AuditEntry


def now() -> datetime:
    """The present moment, in UTC."""
    return datetime.now(timezone.utc)


def record(
    session: Session,
    caller: Caller,
    event: str,
    *,
    course: Standing | None = None,
    assignment: str | None = None,
    student: str | None = None,
    at: datetime | None = None,
    **detail: Any,
) -> None:
    """Write one row, in the transaction of the change that it tells of.

    ``event`` is a thing and what happened to it, as in ``assignment released``.
    ``detail`` is whatever else the event needs, in types that JSON has.
    """
    session.execute(
        insert(AuditEntry),
        [
            {
                "at": at or now(),
                "actor": caller.name,
                "event": event,
                "course_id": course.course_id if course else None,
                "course": course.course if course else None,
                "assignment": assignment,
                "student": student,
                "detail": detail or None,
            }
        ],
    )
