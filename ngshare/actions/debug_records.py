"""Dump all records of a site, clear them, or replace them by sample data: for troubleshooting."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from sqlalchemy import Connection, delete, insert, select
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
    Submission,
    User,
)
from ngshare.errors import Forbidden
from ngshare.protocol.times import format_time
from ngshare.protocol.trees import StoredFile, md5

Rows = list[dict[str, Any]]

SAMPLE_CONTENTS = {f"file{digit}": str(digit).encode() * 5 for digit in range(6)}
"""The files of the sample data: ``file0`` holds ``00000``, and so on."""


def check_dump(caller: Caller, *, debug: bool) -> None:
    """Refuse the dump to everybody but admins, unless the service runs in debug mode."""
    if not (debug or caller.admin):
        raise Forbidden("Debug mode is off")


def dump(connection: Connection) -> dict[str, Rows]:
    """Every record that is not removed, by kind; a kind without records is left out."""
    student, course = aliased(User), aliased(Course)
    shown = Course.removed_at.is_(None)
    tables: dict[str, Any] = {
        "users": select(User.id.label("_id"), User.name.label("id")).order_by(User.id),
        "courses": select(Course.id.label("_id"), Course.name.label("id"))
        .where(shown)
        .order_by(Course.id),
        "instructors": _members(INSTRUCTOR),
        "students": _members(STUDENT),
        "assignments": select(
            Assignment.id.label("_id"),
            Assignment.name.label("id"),
            Course.name.label("course"),
            Assignment.released_at.label("released"),
        )
        .join(Course)
        .where(shown, Assignment.removed_at.is_(None))
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
        .where(File.tree_id.in_(_shown_trees()))
        .order_by(File.tree_id, File.path),
    }
    found = {name: _rows(connection, query) for name, query in tables.items()}
    return {name: rows for name, rows in found.items() if rows}


def check_replace(caller: Caller, *, debug: bool, hub: bool) -> None:
    """Refuse to replace every record: outside debug mode, and with a Hub to all but admins.

    On a Hub the records are somebody's work, also while an administrator looks for a fault.
    """
    if not debug:
        raise Forbidden("Debug mode is off")
    if hub:
        require_admin(caller)


def clear(connection: Connection, caller: Caller, *, debug: bool, hub: bool) -> None:
    """Delete every record but the audit log, for good. Raises Forbidden, as check_replace does."""
    check_replace(caller, debug=debug, hub=hub)
    _empty(connection)
    audit.record(connection, caller, "all records deleted")


def store_sample_files(blobs: BlobStore) -> dict[str, StoredFile]:
    """Store the files of the sample data, and return them by their paths."""
    digests = blobs.put(list(SAMPLE_CONTENTS.values()))
    return {
        path: StoredFile(path, digest, md5(content), len(content))
        for (path, content), digest in zip(SAMPLE_CONTENTS.items(), digests, strict=True)
    }


def load_sample(
    connection: Connection,
    caller: Caller,
    files: dict[str, StoredFile],
    *,
    debug: bool,
    hub: bool,
) -> None:
    """Replace every record but the audit log by the sample data of the contract.

    Raises Forbidden, as check_replace does.
    """
    check_replace(caller, debug=debug, hub=hub)
    _empty(connection)
    users.user_ids(connection, ["kevin", "abigail", "lawrence", "eric"])
    course1 = _sample_course(connection, "course1", instructor="kevin", student="lawrence")
    course2 = _sample_course(connection, "course2", instructor="abigail", student="eric")
    challenge = _sample_assignment(connection, course1, "challenge", files["file2"])
    _sample_assignment(connection, course2, "assignment2a", files["file0"])
    _sample_assignment(connection, course2, "assignment2b", files["file1"])
    lawrence = users.user_ids(connection, ["lawrence"])["lawrence"]
    first = datetime(2020, 1, 1, tzinfo=timezone.utc)
    for moment, path, feedback in ((first, "file3", "file5"), (audit.now(), "file4", None)):
        connection.execute(
            insert(Submission),
            [
                {
                    "assignment_id": challenge,
                    "student_id": lawrence,
                    "submitted_at": moment,
                    "tree_id": tree_rows.add(connection, course1, [files[path]]),
                    "feedback_tree_id": (
                        tree_rows.add(connection, course1, [files[feedback]]) if feedback else None
                    ),
                }
            ],
        )
    audit.record(connection, caller, "all records replaced by sample data")


def _empty(connection: Connection) -> None:
    """Delete every record, but not who did what: that outlives what it tells of."""
    for table in reversed(Base.metadata.sorted_tables):
        if table is not AuditEntry.__table__:
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
            "tree_id": tree_rows.add(connection, course_id, [file]),
            "released_at": audit.now(),
        },
    ).scalar_one()
    return assignment_id


def _members(role: str) -> Any:
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


def _shown_trees() -> Any:
    """The trees that something which is not removed points to."""
    shown = (Course.removed_at.is_(None), Assignment.removed_at.is_(None))
    released = select(Assignment.tree_id).join(Course).where(*shown)
    submitted = select(Submission.tree_id).join(Assignment).join(Course).where(*shown)
    feedback = select(Submission.feedback_tree_id).join(Assignment).join(Course).where(*shown)
    return released.union(submitted, feedback.where(Submission.feedback_tree_id.is_not(None)))


def _rows(connection: Connection, query: Any) -> Rows:
    return [
        {key: _plain(value) for key, value in row.items()}
        for row in connection.execute(query).mappings()
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return format_time(value)
    return value.hex() if isinstance(value, bytes) else value
