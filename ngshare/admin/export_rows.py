"""Read the rows of a course for its export: roster, trees and audit log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from ngshare.actions import trash
from ngshare.db.models import Assignment, AuditEntry, Membership, Submission, User
from ngshare.protocol.times import format_time

BATCH_SIZE = 1000
"""The number of audit entries that are read at once."""


@dataclass(slots=True)
class ExportedTree:
    """A release, submission or replaced tree, to be exported.

    ``columns`` is its row in the archive's index; the export adds its folder. ``path`` is its
    place in the archive, below the folder of its kind, before it is made portable. ``at`` (UTC) is
    when it was released, submitted or replaced.
    """

    columns: dict[str, Any]
    path: str
    at: datetime
    tree_id: int | None
    feedback_tree_id: int | None = None


def list_roster(connection: Connection, course_id: int) -> list[dict[str, Any]]:
    """Return the members of a course, removed ones included, as rows of the archive's index."""
    rows = connection.execute(
        select(
            User.name.label("user"),
            Membership.role,
            Membership.first_name,
            Membership.last_name,
            Membership.email,
            Membership.removed_at,
        )
        .join(User, User.id == Membership.user_id)
        .where(Membership.course_id == course_id)
        .order_by(Membership.role, User.name)
    )
    return [{**row, "removed_at": _format(row.removed_at)} for row in rows.mappings()]


def list_assignments(connection: Connection, course_id: int) -> list[ExportedTree]:
    """Return the current release of each assignment, in the order of their releases."""
    rows = connection.execute(
        select(Assignment)
        .where(Assignment.course_id == course_id)
        .order_by(Assignment.released_at, Assignment.id)
    )
    return [
        ExportedTree(
            columns={
                "assignment": row.name,
                "released_at": _format(row.released_at),
                "removed_at": _format(row.removed_at),
            },
            path=row.name,
            at=row.released_at,
            tree_id=row.tree_id,
        )
        for row in rows
    ]


def list_submissions(connection: Connection, course_id: int) -> list[ExportedTree]:
    """Return the submissions of a course, by assignment, student and time."""
    rows = connection.execute(
        select(
            Assignment.name.label("assignment"),
            User.name.label("student"),
            Submission.submitted_at,
            Submission.tree_id,
            Submission.feedback_tree_id,
        )
        .join(Assignment, Assignment.id == Submission.assignment_id)
        .join(User, User.id == Submission.student_id)
        .where(Assignment.course_id == course_id)
        .order_by(Assignment.released_at, Assignment.id, User.name, Submission.submitted_at)
    )
    return [
        ExportedTree(
            columns={
                "assignment": row.assignment,
                "student": row.student,
                "submitted_at": _format(row.submitted_at),
            },
            path=f"{row.assignment}/{row.student}/{_folder_name(row.submitted_at)}",
            at=row.submitted_at,
            tree_id=row.tree_id,
            feedback_tree_id=row.feedback_tree_id,
        )
        for row in rows
    ]


def list_replaced(connection: Connection, course_id: int) -> list[ExportedTree]:
    """Return the releases and the feedback of a course that newer ones replaced."""
    trees = []
    for item in trash.list_replaced_trees(connection, course_id):
        kind = {"release": "released", "feedback": "feedback"}.get(item.kind, "unknown")
        submitted = item.submitted_at and _folder_name(item.submitted_at)
        # Within such a folder the time is unique; the key is unique in the whole site.
        last = item.key if kind == "unknown" else _folder_name(item.at)
        names = (kind, item.assignment, item.user, submitted, last)
        trees.append(
            ExportedTree(
                columns={
                    "replaced": item.kind,
                    "assignment": item.assignment,
                    "student": item.user,
                    "submitted_at": _format(item.submitted_at),
                    "replaced_at": _format(item.at),
                    "replaced_by": item.by,
                    "key": item.key,
                },
                path="/".join(name for name in names if name),
                at=item.at,
                tree_id=int(item.key[1:]),
            )
        )
    return trees


def log_lines(connection: Connection, course_id: int) -> Iterator[str]:
    """Yield the audit log of a course, oldest first, as JSON lines."""
    query = select(AuditEntry).where(AuditEntry.course_id == course_id).order_by(AuditEntry.id)
    with connection.execution_options(yield_per=BATCH_SIZE).execute(query) as rows:
        for row in rows:
            entry = {
                "id": row.id,
                "timestamp": format_time(row.at),
                "actor": row.actor,
                "event": row.event,
                "course": row.course,
                "assignment": row.assignment,
                "student": row.student,
                "detail": row.detail,
            }
            yield json.dumps(entry, ensure_ascii=False) + "\n"


def _format(at: datetime | None) -> str | None:
    return None if at is None else format_time(at)


def _folder_name(at: datetime) -> str:
    """Return a time as the name of a folder, without colons, which Windows forbids in names."""
    return at.strftime("%Y-%m-%dT%H-%M-%S.%fZ")
