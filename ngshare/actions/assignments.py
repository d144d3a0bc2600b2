"""Assignments: list, release, fetch, remove."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, insert, select, update

from ngshare.actions import access, audit, tree_rows
from ngshare.actions.access import Access, Caller, Capability, Released
from ngshare.actions.locks import lock
from ngshare.db.models import Assignment
from ngshare.errors import Conflict, NotFound
from ngshare.protocol.trees import StoredFile

_IN_ORDER = (
    select(Assignment.name)
    .where(Assignment.course_id == bindparam("course_id"), Assignment.removed_at.is_(None))
    .order_by(Assignment.released_at, Assignment.id)
)


def named(found: Access) -> Released:
    """The assignment that was asked for along with the caller's access.

    Raises NotFound when it was never released, or removed.
    """
    if found.assignment is None:
        raise NotFound("Assignment not found")
    return found.assignment


def list_assignments(connection: Connection, caller: Caller, course: str) -> list[str]:
    """The names of the course's assignments in order of release; for every member."""
    found = access.require_member(connection, caller, course)
    return list(connection.scalars(_IN_ORDER, {"course_id": found.course_id}))


def fetch(connection: Connection, caller: Caller, course: str, assignment: str) -> list[StoredFile]:
    """The files of a released assignment; for every member of the course."""
    found = access.require_member(connection, caller, course, assignment)
    return tree_rows.files(connection, named(found).tree_id)


def check_release(connection: Connection, caller: Caller, course: str, assignment: str) -> Access:
    """Refuse whoever may not release this, and a name that is taken, before files are stored."""
    found = access.require(connection, caller, course, Capability.RELEASE, assignment)
    if found.assignment is not None:
        raise Conflict("Assignment already exists")
    return found


def release(
    connection: Connection,
    caller: Caller,
    course: str,
    assignment: str,
    files: Sequence[StoredFile],
) -> None:
    """Release an assignment; for instructors.

    Under the name of a removed one, it brings back what was submitted to that:
    nbgrader's ``release_assignment --force`` removes and releases again.
    """
    found = check_release(connection, caller, course, assignment)
    # Locked: somebody else may be releasing it again.
    removed = connection.execute(
        select(Assignment.id, Assignment.tree_id)
        .where(Assignment.course_id == found.course_id, Assignment.name == assignment)
        .with_for_update(key_share=True)
    ).one_or_none()
    if removed is not None:
        # Meanwhile it may have been released, or the caller removed from the course.
        found = check_release(connection, caller, course, assignment)
    moment = audit.now()
    tree_id = tree_rows.add(connection, found.course_id, files)
    if removed is None:
        connection.execute(
            insert(Assignment),
            [
                {
                    "course_id": found.course_id,
                    "name": assignment,
                    "tree_id": tree_id,
                    "released_at": moment,
                }
            ],
        )
    else:
        tree_rows.mark_replaced(
            connection, caller, removed.tree_id, moment, assignment_id=removed.id
        )
        connection.execute(
            update(Assignment)
            .where(Assignment.id == removed.id)
            .values(tree_id=tree_id, released_at=moment, removed_at=None, removed_by=None)
        )
    audit.record(
        connection,
        caller,
        "assignment released",
        course=found,
        assignment=assignment,
        at=moment,
        files=len(files),
    )


def remove(connection: Connection, caller: Caller, course: str, assignment: str) -> None:
    """Hide an assignment with its submissions; for instructors.

    It can be restored, or released again, until it is purged.
    """
    found = access.require(connection, caller, course, Capability.RELEASE, assignment)
    if lock(connection, Assignment, named(found).id):
        # Meanwhile somebody else may have removed it, or the caller from the course.
        found = access.require(connection, caller, course, Capability.RELEASE, assignment)
    moment = audit.now()
    connection.execute(
        update(Assignment)
        .where(Assignment.id == named(found).id)
        .values(removed_at=moment, removed_by=caller.name)
    )
    audit.record(
        connection, caller, "assignment removed", course=found, assignment=assignment, at=moment
    )
