"""Delete items of the trash permanently. Nothing else destroys submitted work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, exists, select

from ngshare.actions import audit, uploads
from ngshare.actions.access import Caller, CourseRef, require_admin
from ngshare.actions.chunks import chunks
from ngshare.actions.locks import lock_row
from ngshare.db.models import (
    Assignment,
    Course,
    File,
    Membership,
    ReplacedTree,
    Submission,
    Tree,
    User,
)
from ngshare.protocol.times import format_time


@dataclass(slots=True)
class PurgeCounts:
    """The number of purged rows of each kind."""

    courses: int = 0
    assignments: int = 0
    members: int = 0
    trees: int = 0
    submissions: int = 0

    def __iadd__(self, more: PurgeCounts) -> PurgeCounts:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(more, name))
        return self


def purge_items(
    connection: Connection, caller: Caller, keys: Sequence[str], before: datetime
) -> PurgeCounts:
    """Delete the items with these keys that were removed before a time (UTC); for admins.

    Items that are not in the trash any more are skipped, and so is every tree that an assignment
    or a submission refers to. Only rows are deleted; ``ngshare storage gc`` later deletes the
    blobs.
    """
    require_admin(caller)
    counts = PurgeCounts()
    for key in keys:
        if key[0] == "c":
            counts += _purge_course(connection, caller, int(key[1:]), before)
        elif key[0] == "a":
            counts += _purge_assignment(connection, caller, int(key[1:]), before)
        elif key[0] == "m":
            counts += _purge_member(connection, caller, int(key[1:]), before)
    tree_ids = [int(key[1:]) for key in keys if key[0] == "t"]
    counts += _purge_trees(connection, caller, tree_ids, before)
    return counts


def _purge_course(
    connection: Connection, caller: Caller, course_id: int, before: datetime
) -> PurgeCounts:
    """Delete a removed course and everything in it."""
    # Locked against a restore at the same time. If the restore comes first, no row is found.
    row = connection.execute(
        select(Course.name, Course.removed_at)
        .where(Course.id == course_id, Course.removed_at < before)
        .with_for_update()
    ).one_or_none()
    if row is None:
        return PurgeCounts()
    assignment_ids = select(Assignment.id).where(Assignment.course_id == course_id)
    tree_ids = select(Tree.id).where(Tree.course_id == course_id)
    uploads.forget_of_course(connection, course_id)
    connection.execute(delete(ReplacedTree).where(ReplacedTree.tree_id.in_(tree_ids)))
    submissions = connection.execute(
        delete(Submission).where(Submission.assignment_id.in_(assignment_ids))
    ).rowcount
    assignments = connection.execute(
        delete(Assignment).where(Assignment.course_id == course_id)
    ).rowcount
    connection.execute(delete(File).where(File.tree_id.in_(tree_ids)))
    trees = connection.execute(delete(Tree).where(Tree.course_id == course_id)).rowcount
    members = connection.execute(
        delete(Membership).where(Membership.course_id == course_id)
    ).rowcount
    # Before the course is deleted, which sets the course id of its entries to null.
    audit.record(
        connection,
        caller,
        "course purged",
        course=CourseRef(course_id, row.name),
        removed=format_time(row.removed_at),
        assignments=assignments,
        submissions=submissions,
    )
    connection.execute(delete(Course).where(Course.id == course_id))
    return PurgeCounts(1, assignments, members, trees, submissions)


def _purge_assignment(
    connection: Connection, caller: Caller, assignment_id: int, before: datetime
) -> PurgeCounts:
    """Delete a removed assignment with its submissions, their feedback, and all its trees."""
    row = connection.execute(
        select(
            Assignment.name,
            Assignment.tree_id,
            Assignment.removed_at,
            Assignment.course_id,
            Course.name.label("course"),
        )
        .join(Course, Course.id == Assignment.course_id)
        .where(Assignment.id == assignment_id, Assignment.removed_at < before)
        .with_for_update(of=Assignment)
    ).one_or_none()
    if row is None:
        return PurgeCounts()
    # Its replaced releases and feedback were replaced before it was removed, so they are old too.
    of_assignment = ReplacedTree.assignment_id == assignment_id
    tree_ids = [
        row.tree_id,
        *connection.scalars(select(ReplacedTree.tree_id).where(of_assignment)),
    ]
    submissions = connection.execute(
        select(Submission.tree_id, Submission.feedback_tree_id).where(
            Submission.assignment_id == assignment_id
        )
    ).all()
    for submitted, feedback in submissions:
        tree_ids += [submitted] if feedback is None else [submitted, feedback]
    connection.execute(delete(ReplacedTree).where(of_assignment))
    connection.execute(delete(Submission).where(Submission.assignment_id == assignment_id))
    connection.execute(delete(Assignment).where(Assignment.id == assignment_id))
    _delete_trees(connection, tree_ids)
    audit.record(
        connection,
        caller,
        "assignment purged",
        course=CourseRef(row.course_id, row.course),
        assignment=row.name,
        removed=format_time(row.removed_at),
        submissions=len(submissions),
    )
    return PurgeCounts(assignments=1, trees=len(tree_ids), submissions=len(submissions))


def _purge_member(
    connection: Connection, caller: Caller, membership_id: int, before: datetime
) -> PurgeCounts:
    """Delete a removed member's row. Their submissions stay in the course."""
    course_id = connection.scalar(
        select(Membership.course_id).where(Membership.id == membership_id)
    )
    if course_id is None:
        return PurgeCounts()
    # A change of the roster that restores the member takes the same lock. If it comes first, the
    # member is not in the trash any more; if it comes second, it inserts a new row.
    lock_row(connection, Course, course_id)
    row = connection.execute(
        select(
            Membership.role,
            Membership.course_id,
            Course.name.label("course"),
            User.name.label("user"),
        )
        .join(Course, Course.id == Membership.course_id)
        .join(User, User.id == Membership.user_id)
        .where(Membership.id == membership_id, Membership.removed_at < before)
    ).one_or_none()
    if row is None:
        return PurgeCounts()
    connection.execute(delete(Membership).where(Membership.id == membership_id))
    course = CourseRef(row.course_id, row.course)
    audit.record_members(
        connection, caller, f"{row.role} purged", row.role, [row.user], course=course
    )
    return PurgeCounts(members=1)


def _purge_trees(
    connection: Connection, caller: Caller, tree_ids: Sequence[int], before: datetime
) -> PurgeCounts:
    """Delete replaced trees, and write one entry of the log for each course."""
    by_course: dict[CourseRef, list[int]] = {}
    for chunk in chunks(tree_ids):
        rows = connection.execute(
            select(Tree.id, Tree.course_id, Course.name)
            .join(Course, Course.id == Tree.course_id)
            .join(ReplacedTree, ReplacedTree.tree_id == Tree.id)
            .where(
                Tree.id.in_(chunk),
                ReplacedTree.replaced_at < before,
                ~exists().where(Assignment.tree_id == Tree.id),
                ~exists().where(Submission.tree_id == Tree.id),
                ~exists().where(Submission.feedback_tree_id == Tree.id),
            )
            .with_for_update(of=ReplacedTree)
        )
        for tree_id, course_id, name in rows:
            by_course.setdefault(CourseRef(course_id, name), []).append(tree_id)
    for course, ids in by_course.items():
        _delete_trees(connection, ids)
        audit.record(connection, caller, "replaced trees purged", course=course, trees=len(ids))
    return PurgeCounts(trees=sum(map(len, by_course.values())))


def _delete_trees(connection: Connection, tree_ids: Sequence[int]) -> None:
    for chunk in chunks(tree_ids):
        connection.execute(delete(ReplacedTree).where(ReplacedTree.tree_id.in_(chunk)))
        connection.execute(delete(File).where(File.tree_id.in_(chunk)))
        connection.execute(delete(Tree).where(Tree.id.in_(chunk)))
