"""The audit log: every change leaves a row that says who, what, when and where.

So do the reads that matter, fetched and collected work: those are written a few
seconds later, many at once, because a request that only reads must not wait for
a disk (``web/read_log.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

from sqlalchemy import ColumnElement, Connection, Exists, exists, insert, select

from ngshare.actions import access
from ngshare.actions.access import Caller, Capability, CourseRef
from ngshare.db.models import Assignment, AuditEntry, Course, User
from ngshare.errors import BadRequest, NotFound

PAGE = 100
"""The entries of one page, unless more or fewer are wanted."""

LIMIT = 1000
"""The most entries of one page."""

SCAN = 20_000
"""How many entries one page looks through for those that fit, at most."""

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
"""Every event that the log may tell of; :func:`record` writes them."""

CHECK_NAME = "check the name with ngshare log or ngshare trash list"
"""What an administrator can do who named something that never was."""

_COLUMNS = (
    AuditEntry.id,
    AuditEntry.at,
    AuditEntry.actor,
    AuditEntry.event,
    AuditEntry.course,
    AuditEntry.assignment,
    AuditEntry.student,
    AuditEntry.detail,
)

_ENTRY = insert(AuditEntry)


def now() -> datetime:
    """The present moment, in UTC."""
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
    """Write one row, in the transaction of the change that it tells of.

    ``event`` is a thing and what happened to it, as in ``assignment released``.
    ``detail`` is whatever else the event needs, in types that JSON has.
    """
    connection.execute(_ENTRY, _row(caller, event, course, assignment, student, at, detail))


def record_students(
    connection: Connection,
    caller: Caller,
    event: str,
    *,
    course: CourseRef,
    students: Iterable[str],
    at: datetime,
) -> None:
    """Write one row for each of these students, as :func:`record` does for one."""
    rows = [_row(caller, event, course, None, student, at, {}) for student in students]
    if rows:
        connection.execute(_ENTRY, rows)


def _row(
    caller: Caller,
    event: str,
    course: CourseRef | None,
    assignment: str | None,
    student: str | None,
    at: datetime | None,
    detail: dict[str, Any],
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
class Read:
    """That somebody fetched or collected something, at a moment (UTC), to be written later."""

    at: datetime
    actor: str
    event: str
    course: str
    assignment: str
    student: str | None
    detail: dict[str, Any] | None


def record_reads(connection: Connection, reads: Sequence[Read]) -> None:
    """Write one row for each of these."""
    # Of courses of one name it was the one that is not removed; if that has just been removed
    # as well, the one that was removed last, which a dictionary keeps.
    names = {read.course for read in reads}
    ids = dict(
        connection.execute(
            select(Course.name, Course.id)
            .where(Course.name.in_(names))
            .order_by(Course.removed_at.is_(None), Course.removed_at)
        ).all()
    )
    connection.execute(
        insert(AuditEntry),
        [{**asdict(read), "course_id": ids.get(read.course)} for read in reads],
    )


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the log. ``at`` is in UTC; the rest is what :func:`record` was given."""

    id: int
    at: datetime
    actor: str
    event: str
    course: str | None
    assignment: str | None
    student: str | None
    detail: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries somebody wants to see, and how many of them at once.

    ``since`` and ``until`` bound their moments, both included. ``before`` and ``after``
    are ids of entries: those that stand earlier, or later, in the log than that one. Whoever
    follows the log by ``after`` alone misses reads, which are written late: let ``since`` overlap.
    """

    course: str | None = None
    assignment: str | None = None
    student: str | None = None
    actor: str | None = None
    event: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None
    after: int | None = None
    oldest_first: bool = False
    limit: int = PAGE


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries, and where to go on: ``next`` is the id to give as ``before``.

    (As ``after``, when the oldest come first.) It is None when there is no more.
    A page may hold fewer entries than wanted, even none, and there be more all the same.
    """

    entries: list[Entry]
    next: int | None


def course_entries(connection: Connection, caller: Caller, course: str, wanted: Wanted) -> Page:
    """A page of one course's log; for its instructors."""
    found = access.require(connection, caller, course, Capability.AUDIT)
    return _page(connection, wanted, AuditEntry.course_id == found.course_id)


def all_entries(connection: Connection, caller: Caller, wanted: Wanted) -> Page:
    """A page of the whole log, removed and purged courses too; for admins."""
    access.require_admin(caller)
    return _page(connection, wanted)


def require_known(connection: Connection, caller: Caller, wanted: Wanted) -> None:
    """Raise NotFound when a course, assignment or student that is wanted never was; for admins.

    So that nobody takes a misspelt name for somebody who handed in nothing. Known is
    what is there, what is in the trash, and what the log still tells of.
    """
    access.require_admin(caller)
    names: dict[str, str] = {}
    assignment = exists().where(Assignment.name == wanted.assignment)
    if wanted.course is not None:
        names["course"] = wanted.course
        _require(connection, exists().where(Course.name == wanted.course), names)
        assignment = assignment.where(
            Course.id == Assignment.course_id, Course.name == wanted.course
        )
    if wanted.assignment is not None:
        _require(connection, assignment, {**names, "assignment": wanted.assignment})
    if wanted.student is not None:
        student = exists().where(User.name == wanted.student)
        _require(connection, student, {"student": wanted.student})


def _require(connection: Connection, there: Exists, names: dict[str, str]) -> None:
    """Raise NotFound unless this is there, or the log has an entry with all of these names."""
    in_log = exists().where(*(getattr(AuditEntry, key) == name for key, name in names.items()))
    if connection.scalar(select(there)) or connection.scalar(select(in_log)):
        return
    *within, (kind, name) = names.items()
    where = "".join(f" in the {outer} {of}" for outer, of in within)
    raise NotFound(f"There is no {kind} {name}{where}: {CHECK_NAME}")


def _page(connection: Connection, wanted: Wanted, *scope: ColumnElement[bool]) -> Page:
    """A page of the entries within ``scope``.

    Its time does not grow with the log: the bounds are looked up in an index, and no
    more than ``SCAN`` entries between them are looked through for those that fit.
    """
    limit = max(1, min(wanted.limit, LIMIT))
    filters = {
        "course": wanted.course,
        "assignment": wanted.assignment,
        "student": wanted.student,
        "actor": wanted.actor,
        "event": wanted.event,
    }
    named = {name: value for name, value in filters.items() if value is not None}
    looked_through = (
        select(*_COLUMNS)
        .where(*scope, *_bounds(connection, wanted, scope))
        .order_by(*_order(wanted, AuditEntry.at, AuditEntry.id))
        .limit(SCAN if named else limit + 1)
    )
    rows = looked_through.subquery()
    found = connection.execute(
        select(rows)
        .where(*(rows.c[name] == value for name, value in named.items()))
        .order_by(*_order(wanted, rows.c.at, rows.c.id))
        .limit(limit + 1)
    ).all()
    entries = [Entry(*row) for row in found[:limit]]
    if len(found) > limit:
        return Page(entries, entries[-1].id)
    # All that fits of what was looked through is here; was there more to look through?
    last = connection.scalar(
        looked_through.with_only_columns(AuditEntry.id).limit(1).offset(SCAN - 1)
    )
    return Page(entries, last)


def _order(wanted: Wanted, *columns: Any) -> list[Any]:
    return [column if wanted.oldest_first else column.desc() for column in columns]


def _bounds(
    connection: Connection, wanted: Wanted, scope: Sequence[ColumnElement[bool]]
) -> list[ColumnElement[bool]]:
    bounds: list[ColumnElement[bool]] = []
    if wanted.since is not None:
        bounds.append(AuditEntry.at >= wanted.since)
    if wanted.until is not None:
        bounds.append(AuditEntry.at <= wanted.until)
    if wanted.before is not None:
        at = _moment(connection, wanted.before, scope)
        earlier = (AuditEntry.at < at) | (AuditEntry.id < wanted.before)
        bounds += [AuditEntry.at <= at, earlier]
    if wanted.after is not None:
        at = _moment(connection, wanted.after, scope)
        later = (AuditEntry.at > at) | (AuditEntry.id > wanted.after)
        bounds += [AuditEntry.at >= at, later]
    return bounds


def _moment(connection: Connection, entry: int, scope: Sequence[ColumnElement[bool]]) -> datetime:
    at = connection.scalar(select(AuditEntry.at).where(AuditEntry.id == entry, *scope))
    if at is None:
        raise BadRequest(f"There is no entry {entry} in this log")
    return at
