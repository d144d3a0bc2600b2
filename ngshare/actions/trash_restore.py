"""Restore an item of the trash."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, delete, select, update

from ngshare.actions import audit, tree_rows
from ngshare.actions.access import Caller, CourseRef, require_admin
from ngshare.actions.trash import TrashItem, get_item, not_in_trash
from ngshare.db.models import (
    INSTRUCTOR,
    STUDENT,
    Assignment,
    Course,
    Membership,
    ReplacedTree,
    Submission,
)
from ngshare.errors import BadRequest, Conflict
from ngshare.protocol.names import check_name
from ngshare.protocol.times import format_time


def restore_item(
    connection: Connection, caller: Caller, key: str, name: str | None = None
) -> TrashItem:
    """Restore the item with this key, and return it; for admins.

    A course can get another ``name``, and must get one when a course of its own name exists. A
    tree takes the place of the newer one, which is then in the trash. All files still exist,
    because rows in the trash keep their blobs.

    Raises NotFound when no item has the key, and Conflict when something prevents the restore.
    """
    require_admin(caller)
    item = get_item(connection, key)
    if name is not None and item.kind != "course":
        raise BadRequest("Only a course can be restored under another name")
    if item.course_removed and item.kind != "course":
        raise Conflict(f"Its course {item.course} is removed: restore c{item.course_id} first")
    now = audit.now()
    if item.kind == "course":
        _restore_course(connection, caller, item, check_name(name or item.course), now)
    elif item.kind == "assignment":
        _clear_removed(connection, Assignment, item)
        audit.record(
            connection,
            caller,
            "assignment restored",
            course=item.course_ref,
            assignment=item.assignment,
            at=now,
        )
    elif item.kind in (INSTRUCTOR, STUDENT):
        assert item.user is not None
        _clear_removed(connection, Membership, item)
        audit.record_members(
            connection,
            caller,
            f"{item.kind} restored",
            item.kind,
            [item.user],
            course=item.course_ref,
            at=now,
        )
    else:
        _restore_tree(connection, caller, item, now)
    return item


def _restore_course(
    connection: Connection, caller: Caller, item: TrashItem, name: str, now: datetime
) -> None:
    # The course itself does not count: another request may have restored it a moment ago.
    existing = connection.scalar(
        select(Course.id).where(
            Course.name == name, Course.removed_at.is_(None), Course.id != item.course_id
        )
    )
    if existing is not None:
        raise Conflict(f"A course {name} exists: give this one another name, with --as NAME")
    _clear_removed(connection, Course, item, name=name)
    audit.record(
        connection,
        caller,
        "course restored",
        course=CourseRef(item.course_id, name),
        at=now,
        removed_as=item.course,
    )


def _clear_removed(
    connection: Connection,
    table: type[Course] | type[Assignment] | type[Membership],
    item: TrashItem,
    **values: str,
) -> None:
    """Mark the item's row as not removed, and set further values. Raise NotFound."""
    changed = connection.execute(
        update(table)
        .where(table.id == item.row_id, table.removed_at.is_not(None))
        .values(removed_at=None, removed_by=None, **values)
    )
    if changed.rowcount == 0:  # restored or purged a moment ago
        raise not_in_trash(item.key)


def _restore_tree(connection: Connection, caller: Caller, item: TrashItem, now: datetime) -> None:
    """Make a replaced release or replaced feedback the current one, and mark the newer replaced."""
    tree_id = item.row_id
    replaced = connection.execute(
        select(ReplacedTree.assignment_id, ReplacedTree.submission_id).where(
            ReplacedTree.tree_id == tree_id
        )
    ).one_or_none()
    if replaced is None:  # restored or purged a moment ago
        raise not_in_trash(item.key)
    if replaced.assignment_id is None:
        raise Conflict("There is no record of what this replaced tree belonged to")
    assignment = connection.execute(
        select(Assignment.id, Assignment.tree_id, Assignment.removed_at)
        .where(Assignment.id == replaced.assignment_id)
        .with_for_update()
    ).one_or_none()
    if assignment is None:  # purged a moment ago, with this tree
        raise not_in_trash(item.key)
    if assignment.removed_at is not None:
        raise Conflict(
            f"Its assignment {item.assignment} is removed: restore a{assignment.id} first"
        )
    detail = {}
    if replaced.submission_id is None:
        newer = assignment.tree_id
        set_tree = update(Assignment).where(Assignment.id == assignment.id).values(tree_id=tree_id)
    else:
        of_submission = Submission.id == replaced.submission_id
        newer = connection.execute(
            select(Submission.feedback_tree_id).where(of_submission).with_for_update(key_share=True)
        ).scalar_one()
        set_tree = update(Submission).where(of_submission).values(feedback_tree_id=tree_id)
        assert item.submitted_at is not None
        detail["timestamp"] = format_time(item.submitted_at)
    tree_rows.mark_replaced(
        connection,
        caller,
        newer,
        now,
        assignment_id=assignment.id,
        submission_id=replaced.submission_id,
    )
    unmarked = connection.execute(delete(ReplacedTree).where(ReplacedTree.tree_id == tree_id))
    if unmarked.rowcount == 0:
        raise not_in_trash(item.key)
    connection.execute(set_tree)
    audit.record(
        connection,
        caller,
        f"{item.kind} restored",
        course=item.course_ref,
        assignment=item.assignment,
        student=item.user,
        at=now,
        **detail,
    )
