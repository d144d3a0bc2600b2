"""Write the audit log: an entry for every change, with actor, time, event and subject.

Fetching and collecting work are logged too. These entries are written a few seconds later, many at
once, because a request that only reads must not wait for a disk (``web/read_log.py``).

:mod:`ngshare.actions.audit_query` reads the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

from sqlalchemy import Connection, insert, select

from ngshare.actions.access import Caller, CourseRef
from ngshare.db.models import STUDENT, AuditEntry, Course

EVENTS = (
    *("course created", "course removed", "course restored", "course purged"),
    *("instructor added", "instructor removed", "instructor restored", "instructor purged"),
    *("student added", "student removed", "student restored", "student purged"),
    *("students imported", "assignment released", "assignment fetched", "assignment removed"),
    *("assignment restored", "assignment purged", "submission handed in", "submission collected"),
    *("feedback given", "feedback fetched", "feedback restored", "release restored"),
    *("replaced trees purged", "site adopted", "site restored", "all records deleted"),
    "all records replaced by sample data",
)
"""Every event of the log."""

_INSERT = insert(AuditEntry)


def now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(timezone.utc)


def record(
    connection: Connection,
    caller: Caller,
    event: str,
    *,
    course: CourseRef | None = None,
    assignment: str | None = None,
    student: str | None = None,
    at: datetime | None = None,
    **detail: Any,
) -> None:
    """Write one entry, in the transaction of the change that it describes.

    ``event`` is one of :data:`EVENTS`. ``at`` is its time, by default the current one. ``detail``
    holds further values of the event, of types that JSON has.
    """
    row = _row(caller, event, course, at, assignment=assignment, student=student, detail=detail)
    connection.execute(_INSERT, row)


def record_members(
    connection: Connection,
    caller: Caller,
    event: str,
    role: str,
    usernames: Iterable[str],
    *,
    course: CourseRef,
    at: datetime | None = None,
) -> None:
    """Write an entry for each of these members of a course, who have or had this role in it."""
    rows = [
        _row(caller, event, course, at, student=username)
        if role == STUDENT
        else _row(caller, event, course, at, detail={"instructor": username})
        for username in usernames
    ]
    if rows:
        connection.execute(_INSERT, rows)


def _row(
    caller: Caller,
    event: str,
    course: CourseRef | None,
    at: datetime | None,
    *,
    assignment: str | None = None,
    student: str | None = None,
    detail: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "at": at or now(),
        "actor": caller.name,
        "event": event,
        "course_id": course.course_id if course else None,
        "course": course.course if course else None,
        "assignment": assignment,
        "student": student,
        "detail": detail or None,
    }


@dataclass(frozen=True, slots=True)
class ReadEvent:
    """An entry about a user who fetched or collected files, at a time in UTC; to be written later.

    ``course`` is a name, which is resolved when the entry is written.
    """

    at: datetime
    actor: str
    event: str
    course: str
    assignment: str
    student: str | None
    detail: dict[str, Any] | None


def record_reads(connection: Connection, reads: Sequence[ReadEvent]) -> None:
    """Write one entry for each of these events."""
    # Among courses of one name, the one that is not removed was read; if it was removed since,
    # the one removed last. The dictionary keeps the last row of each name.
    names = {read.course for read in reads}
    ids = dict(
        connection.execute(
            select(Course.name, Course.id)
            .where(Course.name.in_(names))
            .order_by(Course.removed_at.is_(None), Course.removed_at)
        ).all()
    )
    connection.execute(
        _INSERT, [{**asdict(read), "course_id": ids.get(read.course)} for read in reads]
    )


def sent_files(sent: int | None) -> dict[str, Any]:
    """Return the detail of an event about the files that a request contained; none for all."""
    return {} if sent is None else {"sent": sent}
