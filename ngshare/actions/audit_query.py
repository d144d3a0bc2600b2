"""Query the audit log, one page at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Exists, SQLColumnExpression, exists, select

from ngshare.actions.access import Caller, Capability, require_admin, require_capability
from ngshare.db.models import Assignment, AuditEntry, Course, User
from ngshare.errors import BadRequest, NotFound

DEFAULT_PAGE_SIZE = 100
"""The entries of a page, unless the request names another number."""

MAX_PAGE_SIZE = 1000
"""The most entries of a page."""

MAX_SCANNED_ENTRIES = 20_000
"""The most entries that are compared with a filter for one page."""

CHECK_NAME = "check the name with ngshare log or ngshare trash list"
"""Advice for an administrator who gave the name of a course that never existed, and the like."""

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


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One entry of the log. ``at`` is in UTC; for the rest see :func:`audit.record`."""

    id: int
    at: datetime
    actor: str
    event: str
    course: str | None
    assignment: str | None
    student: str | None
    detail: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class LogFilter:
    """A query of the log: conditions, order, and size of the page.

    ``since`` and ``until`` are times, both inclusive. ``before`` and ``after`` are ids of entries:
    only entries that come earlier, or later, in the log than that one are returned. A client that
    polls with ``after`` alone misses reads, which are written late: its ``since`` must overlap.
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
    limit: int = DEFAULT_PAGE_SIZE


@dataclass(frozen=True, slots=True)
class LogPage:
    """One page of the log.

    ``next`` is the id to send as ``before`` (as ``after`` when the oldest come first) for the next
    page; None on the last page. Any page but the last may have fewer entries than its limit, even
    none.
    """

    entries: list[LogEntry]
    next: int | None


def list_course_log(
    connection: Connection, caller: Caller, course: str, log_filter: LogFilter
) -> LogPage:
    """Return a page of one course's log; for its instructors."""
    access = require_capability(connection, caller, course, Capability.AUDIT)
    return _read_page(connection, log_filter, AuditEntry.course_id == access.course_id)


def list_log(connection: Connection, caller: Caller, log_filter: LogFilter) -> LogPage:
    """Return a page of the whole log, removed and purged courses included; for admins."""
    require_admin(caller)
    return _read_page(connection, log_filter)


def require_known_names(connection: Connection, caller: Caller, log_filter: LogFilter) -> None:
    """Raise NotFound if a course, assignment or student of the filter never existed; for admins.

    An administrator should not take a misspelt name for a student who did not submit. Known are
    names in the database, in the trash, or in an entry of the log.
    """
    require_admin(caller)
    names: dict[str, str] = {}
    assignment = exists().where(Assignment.name == log_filter.assignment)
    if log_filter.course is not None:
        names["course"] = log_filter.course
        _require_known(connection, exists().where(Course.name == log_filter.course), names)
        assignment = assignment.where(
            Course.id == Assignment.course_id, Course.name == log_filter.course
        )
    if log_filter.assignment is not None:
        _require_known(connection, assignment, {**names, "assignment": log_filter.assignment})
    if log_filter.student is not None:
        student = exists().where(User.name == log_filter.student)
        _require_known(connection, student, {"student": log_filter.student})


def _require_known(connection: Connection, row: Exists, names: dict[str, str]) -> None:
    """Raise NotFound unless the row exists or an entry of the log has all of these names."""
    in_log = exists().where(*(getattr(AuditEntry, key) == name for key, name in names.items()))
    if connection.scalar(select(row)) or connection.scalar(select(in_log)):
        return
    *within, (kind, name) = names.items()
    where = "".join(f" in the {outer} {of}" for outer, of in within)
    raise NotFound(f"There is no {kind} {name}{where}: {CHECK_NAME}")


def _read_page(
    connection: Connection, log_filter: LogFilter, *scope: ColumnElement[bool]
) -> LogPage:
    """Return a page of the entries within ``scope``.

    Its cost does not grow with the log: the bounds are looked up in an index, and at most
    :data:`MAX_SCANNED_ENTRIES` entries between them are compared with the filter.
    """
    limit = max(1, min(log_filter.limit, MAX_PAGE_SIZE))
    values = {
        "course": log_filter.course,
        "assignment": log_filter.assignment,
        "student": log_filter.student,
        "actor": log_filter.actor,
        "event": log_filter.event,
    }
    filters = {name: value for name, value in values.items() if value is not None}
    scanned = (
        select(*_COLUMNS)
        .where(*scope, *_bounds(connection, log_filter, scope))
        .order_by(*_order(log_filter, AuditEntry.at, AuditEntry.id))
        .limit(MAX_SCANNED_ENTRIES if filters else limit + 1)
    )
    rows = scanned.subquery()
    matching = connection.execute(
        select(rows)
        .where(*(rows.c[name] == value for name, value in filters.items()))
        .order_by(*_order(log_filter, rows.c.at, rows.c.id))
        .limit(limit + 1)
    ).all()
    entries = [LogEntry(*row) for row in matching[:limit]]
    if len(matching) > limit:
        return LogPage(entries, entries[-1].id)
    # Every match among the scanned entries is in the page. There are more entries to scan if the
    # scan reached its limit.
    last_scanned = connection.scalar(
        scanned.with_only_columns(AuditEntry.id).limit(1).offset(MAX_SCANNED_ENTRIES - 1)
    )
    return LogPage(entries, last_scanned)


def _order(
    log_filter: LogFilter, *columns: SQLColumnExpression[Any]
) -> list[SQLColumnExpression[Any]]:
    return [column if log_filter.oldest_first else column.desc() for column in columns]


def _bounds(
    connection: Connection, log_filter: LogFilter, scope: Sequence[ColumnElement[bool]]
) -> list[ColumnElement[bool]]:
    """Return the conditions for the filter's ``since``, ``until``, ``before`` and ``after``."""
    bounds: list[ColumnElement[bool]] = []
    if log_filter.since is not None:
        bounds.append(AuditEntry.at >= log_filter.since)
    if log_filter.until is not None:
        bounds.append(AuditEntry.at <= log_filter.until)
    if log_filter.before is not None:
        at = _time_of_entry(connection, log_filter.before, scope)
        earlier = (AuditEntry.at < at) | (AuditEntry.id < log_filter.before)
        bounds += [AuditEntry.at <= at, earlier]
    if log_filter.after is not None:
        at = _time_of_entry(connection, log_filter.after, scope)
        later = (AuditEntry.at > at) | (AuditEntry.id > log_filter.after)
        bounds += [AuditEntry.at >= at, later]
    return bounds


def _time_of_entry(
    connection: Connection, entry_id: int, scope: Sequence[ColumnElement[bool]]
) -> datetime:
    at = connection.scalar(select(AuditEntry.at).where(AuditEntry.id == entry_id, *scope))
    if at is None:
        raise BadRequest(f"There is no entry {entry_id} in this log")
    return at
