"""Assignments: list, release, fetch, remove."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, insert, select, update

from ngshare.actions import audit, tree_rows
from ngshare.actions.access import (
    Access,
    Caller,
    Capability,
    require_capability,
    require_member,
)
from ngshare.actions.locks import lock_row
from ngshare.db.models import Assignment
from ngshare.errors import Conflict
from ngshare.protocol.trees import StoredFile

_NAMES = (
    select(Assignment.name)
    .where(Assignment.course_id == bindparam("course_id"), Assignment.removed_at.is_(None))
    .order_by(Assignment.released_at, Assignment.id)
)


def list_assignments(connection: Connection, caller: Caller, course: str) -> list[str]:
    """Return the names of the course's assignments in order of release; for every member."""
    access = require_member(connection, caller, course)
    return list(connection.scalars(_NAMES, {"course_id": access.course_id}))


def fetch_assignment(
    connection: Connection, caller: Caller, course: str, assignment: str
) -> list[StoredFile]:
    """Return the files of a released assignment; for every member of the course."""
    access = require_member(connection, caller, course, assignment)
    return tree_rows.list_files(connection, access.require_assignment().tree_id)


def authorize_release(
    connection: Connection, caller: Caller, course: str, assignment: str, replace: bool = False
) -> Access:
    """Return the caller's access to the course. Raise Forbidden unless they may release.

    Raises Conflict when an assignment of this name is released, unless the request is to
    ``replace`` it. Requests call it before their files are stored.
    """
    access = require_capability(connection, caller, course, Capability.RELEASE, assignment)
    if access.assignment is not None and not replace:
        raise Conflict("Assignment already exists")
    return access


def release_assignment(
    connection: Connection,
    caller: Caller,
    course: str,
    assignment: str,
    files: Sequence[StoredFile],
    replace: bool = False,
    sent: int | None = None,
) -> None:
    """Release an assignment; for instructors. With ``replace``, it may be released already.

    If a removed assignment has the same name, it is restored with its submissions and these
    files: nbgrader's ``release_assignment --force`` removes an assignment and releases it again.

    sent: the number of files that the request contained, for the audit log; None for all.
    """
    access = authorize_release(connection, caller, course, assignment, replace)
    # Locked, because another request may be releasing it again.
    earlier = connection.execute(
        select(Assignment.id, Assignment.tree_id)
        .where(Assignment.course_id == access.course_id, Assignment.name == assignment)
        .with_for_update(key_share=True)
    ).one_or_none()
    if earlier is not None:
        # Meanwhile it may have been released, or the caller removed from the course.
        access = authorize_release(connection, caller, course, assignment, replace)
    now = audit.now()
    tree_id = tree_rows.insert_tree(connection, access.course_id, files)
    if earlier is None:
        connection.execute(
            insert(Assignment),
            [
                {
                    "course_id": access.course_id,
                    "name": assignment,
                    "tree_id": tree_id,
                    "released_at": now,
                }
            ],
        )
    else:
        tree_rows.mark_replaced(connection, caller, earlier.tree_id, now, assignment_id=earlier.id)
        connection.execute(
            update(Assignment)
            .where(Assignment.id == earlier.id)
            .values(tree_id=tree_id, released_at=now, removed_at=None, removed_by=None)
        )
    audit.record(
        connection,
        caller,
        "assignment released",
        course=access,
        assignment=assignment,
        at=now,
        files=len(files),
        **audit.sent_files(sent),
    )


def remove_assignment(connection: Connection, caller: Caller, course: str, assignment: str) -> None:
    """Hide an assignment with its submissions; for instructors.

    It can be restored, or released again, until it is purged.
    """
    access = require_capability(connection, caller, course, Capability.RELEASE, assignment)
    if lock_row(connection, Assignment, access.require_assignment().id):
        # Meanwhile it may have been removed, or the caller from the course.
        access = require_capability(connection, caller, course, Capability.RELEASE, assignment)
    now = audit.now()
    connection.execute(
        update(Assignment)
        .where(Assignment.id == access.require_assignment().id)
        .values(removed_at=now, removed_by=caller.name)
    )
    audit.record(
        connection, caller, "assignment removed", course=access, assignment=assignment, at=now
    )
