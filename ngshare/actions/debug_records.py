"""Dump all records of a site, clear them, or replace them with sample data, for troubleshooting."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from sqlalchemy import CompoundSelect, Connection, Executable, Select, delete, insert, select
from sqlalchemy.orm import aliased

from ngshare.actions import audit, roster, tree_rows, users
from ngshare.actions.access import Caller, require_admin
from ngshare.blobs import BlobStore
from ngshare.db.models import (
    INSTRUCTOR,
    STUDENT,
    Assignment,
    AuditEntry,
    Base,
    Course,
    File,
    Membership,
    SigningKey,
    Submission,
    User,
)
from ngshare.errors import Forbidden
from ngshare.protocol.times import format_time
from ngshare.protocol.trees import StoredFile, md5

Rows = list[dict[str, object]]

SAMPLE_CONTENTS = {f"file{digit}": str(digit).encode() * 5 for digit in range(6)}
"""The files of the sample data: ``file0`` holds ``00000``, and so on."""


def authorize_dump(caller: Caller, *, debug: bool) -> None:
    """Raise Forbidden unless the caller is an admin or the service runs in debug mode."""
    if not (debug or caller.admin):
        raise Forbidden("Debug mode is off")


def dump_records(connection: Connection) -> dict[str, Rows]:
    """Return the records that are not removed, by kind; kinds without records are left out."""
    student, course = aliased(User), aliased(Course)
    not_removed = Course.removed_at.is_(None)
    queries: dict[str, Executable] = {
        "users": select(User.id.label("_id"), User.name.label("id")).order_by(User.id),
        "courses": select(Course.id.label("_id"), Course.name.label("id"))
        .where(not_removed)
        .order_by(Course.id),
        "instructors": _select_members(INSTRUCTOR),
        "students": _select_members(STUDENT),
        "assignments": select(
            Assignment.id.label("_id"),
            Assignment.name.label("id"),
            Course.name.label("course"),
            Assignment.released_at.label("released"),
        )
        .join(Course)
        .where(not_removed, Assignment.removed_at.is_(None))
        .order_by(Assignment.id),
        "submissions": select(
            Submission.id.label("_id"),
            course.name.label("course"),
            Assignment.name.label("assignment"),
            student.name.label("student"),
            Submission.submitted_at.label("timestamp"),
        )
        .join(Assignment, Assignment.id == Submission.assignment_id)
        .join(course, course.id == Assignment.course_id)
        .join(student, student.id == Submission.student_id)
        .where(course.removed_at.is_(None), Assignment.removed_at.is_(None))
        .order_by(Submission.id),
        "files": select(
            File.tree_id.label("tree"),
            File.path.label("filename"),
            File.md5.label("checksum"),
            File.size,
        )
        .where(File.tree_id.in_(_select_visible_trees()))
        .order_by(File.tree_id, File.path),
    }
    records = {name: _fetch_rows(connection, query) for name, query in queries.items()}
    return {name: rows for name, rows in records.items() if rows}


def authorize_replacement(caller: Caller, *, debug: bool, hub: bool) -> None:
    """Raise Forbidden unless the caller may delete or replace every record of the site.

    ``debug`` is True in debug mode, which is required. ``hub`` is True if a Hub identifies the
    callers; then the caller must be an admin, because the records are people's work, even while
    an administrator has turned debug mode on to find a fault.
    """
    if not debug:
        raise Forbidden("Debug mode is off")
    if hub:
        require_admin(caller)


def may_replace(caller: Caller, *, debug: bool, hub: bool) -> bool:
    """Return whether :func:`authorize_replacement` accepts the caller."""
    return debug and (caller.admin or not hub)


def clear_records(connection: Connection, caller: Caller, *, debug: bool, hub: bool) -> None:
    """Delete all records permanently, except the audit log.

    Raises Forbidden; see :func:`authorize_replacement` for ``debug`` and ``hub``.
    """
    authorize_replacement(caller, debug=debug, hub=hub)
    _delete_records(connection)
    audit.record(connection, caller, "all records deleted")


def store_sample_files(blobs: BlobStore) -> dict[str, StoredFile]:
    """Store the files of the sample data, and return them by path."""
    digests = blobs.put(list(SAMPLE_CONTENTS.values()))
    return {
        path: StoredFile(path, digest, md5(content), len(content))
        for (path, content), digest in zip(SAMPLE_CONTENTS.items(), digests, strict=True)
    }


def load_sample_data(
    connection: Connection,
    caller: Caller,
    files: dict[str, StoredFile],
    *,
    debug: bool,
    hub: bool,
) -> None:
    """Replace all records, except the audit log, with the sample data of the contract.

    ``files`` are those that :func:`store_sample_files` returned. Raises Forbidden; see
    :func:`authorize_replacement` for ``debug`` and ``hub``.
    """
    authorize_replacement(caller, debug=debug, hub=hub)
    _delete_records(connection)
    users.ensure_users(connection, ["kevin", "abigail", "lawrence", "eric"])
    course1 = _sample_course(connection, "course1", instructor="kevin", student="lawrence")
    course2 = _sample_course(connection, "course2", instructor="abigail", student="eric")
    challenge = _sample_assignment(connection, course1, "challenge", files["file2"])
    _sample_assignment(connection, course2, "assignment2a", files["file0"])
    _sample_assignment(connection, course2, "assignment2b", files["file1"])
    lawrence = users.ensure_users(connection, ["lawrence"])["lawrence"]
    first_time = datetime(2020, 1, 1, tzinfo=timezone.utc)
    submissions = ((first_time, "file3", "file5"), (audit.now(), "file4", None))
    for submitted_at, path, feedback in submissions:
        connection.execute(
            insert(Submission),
            [
                {
                    "assignment_id": challenge,
                    "student_id": lawrence,
                    "submitted_at": submitted_at,
                    "tree_id": tree_rows.insert_tree(connection, course1, [files[path]]),
                    "feedback_tree_id": (
                        tree_rows.insert_tree(connection, course1, [files[feedback]])
                        if feedback
                        else None
                    ),
                }
            ],
        )
    audit.record(connection, caller, "all records replaced by sample data")


def _delete_records(connection: Connection) -> None:
    """Delete the rows of all tables but the audit log and the key of receipts.

    Both outlive the rows that they are about.
    """
    kept = (AuditEntry.__table__, SigningKey.__table__)
    for table in reversed(Base.metadata.sorted_tables):
        if table not in kept:
            connection.execute(delete(table))


def _sample_course(connection: Connection, name: str, *, instructor: str, student: str) -> int:
    course_id: int = connection.execute(
        insert(Course).returning(Course.id), {"name": name, "created_at": audit.now()}
    ).scalar_one()
    roster.set_members(connection, course_id, INSTRUCTOR, [roster.Person(instructor)])
    roster.set_members(connection, course_id, STUDENT, [roster.Person(student)])
    return course_id


def _sample_assignment(connection: Connection, course_id: int, name: str, file: StoredFile) -> int:
    assignment_id: int = connection.execute(
        insert(Assignment).returning(Assignment.id),
        {
            "course_id": course_id,
            "name": name,
            "tree_id": tree_rows.insert_tree(connection, course_id, [file]),
            "released_at": audit.now(),
        },
    ).scalar_one()
    return assignment_id


def _select_members(role: str) -> Select[str, str, str | None, str | None, str | None]:
    return (
        select(
            Course.name.label("course"),
            User.name.label("user"),
            Membership.first_name,
            Membership.last_name,
            Membership.email,
        )
        .join(Course, Course.id == Membership.course_id)
        .join(User, User.id == Membership.user_id)
        .where(
            Course.removed_at.is_(None), Membership.removed_at.is_(None), Membership.role == role
        )
        .order_by(Membership.id)
    )


def _select_visible_trees() -> CompoundSelect[Any]:
    """Select the ids of the trees of assignments that are not removed."""
    not_removed = (Course.removed_at.is_(None), Assignment.removed_at.is_(None))
    released = select(Assignment.tree_id).join(Course).where(*not_removed)
    submitted = select(Submission.tree_id).join(Assignment).join(Course).where(*not_removed)
    feedback = select(Submission.feedback_tree_id).join(Assignment).join(Course).where(*not_removed)
    return released.union(submitted, feedback.where(Submission.feedback_tree_id.is_not(None)))


def _fetch_rows(connection: Connection, query: Executable) -> Rows:
    return [
        {key: _to_json(value) for key, value in row.items()}
        for row in connection.execute(query).mappings()
    ]


def _to_json(value: object) -> object:
    if isinstance(value, datetime):
        return format_time(value)
    return value.hex() if isinstance(value, bytes) else value
