"""Delete for good what has been in the trash for long. Nothing else destroys submitted work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, exists, select

from ngshare.actions import access, audit
from ngshare.actions.access import Caller, CourseRef
from ngshare.actions.locks import lock
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

CHUNK = 500
"""How many ids one IN list holds; old SQLite takes 999 parameters at most."""


@dataclass(slots=True)
class Purged:
    """How many of each were purged."""

    courses: int = 0
    assignments: int = 0
    members: int = 0
    trees: int = 0
    submissions: int = 0

    def __iadd__(self, more: Purged) -> Purged:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(more, name))
        return self


def purge(connection: Connection, caller: Caller, keys: Sequence[str], before: datetime) -> Purged:
    """Delete the items of these keys for good, if they were removed before a time; for admins.

    Items restored meanwhile are left alone, and so is every tree that an assignment or a
    submission points to. The rows go; ``ngshare storage gc`` removes the bytes later.
    """
    access.require_admin(caller)
    purged = Purged()
    for key in keys:
        if key[0] == "c":
            purged += _purge_course(connection, caller, int(key[1:]), before)
        elif key[0] == "a":
            purged += _purge_assignment(connection, caller, int(key[1:]), before)
        elif key[0] == "m":
            purged += _purge_member(connection, caller, int(key[1:]), before)
    purged += _purge_trees(
        connection, caller, [int(key[1:]) for key in keys if key[0] == "t"], before
    )
    return purged


def _purge_course(
    connection: Connection, caller: Caller, course_id: int, before: datetime
) -> Purged:
    # The lock keeps a restore out until this is done, or finds that it came first.
    row = connection.execute(
        select(Course.name, Course.removed_at)
        .where(Course.id == course_id, Course.removed_at < before)
        .with_for_update()
    ).one_or_none()
    if row is None:
        return Purged()
    of_course = select(Assignment.id).where(Assignment.course_id == course_id)
    its_trees = select(Tree.id).where(Tree.course_id == course_id)
    connection.execute(delete(ReplacedTree).where(ReplacedTree.tree_id.in_(its_trees)))
    submissions = connection.execute(
        delete(Submission).where(Submission.assignment_id.in_(of_course))
    ).rowcount
    assignments = connection.execute(
        delete(Assignment).where(Assignment.course_id == course_id)
    ).rowcount
    connection.execute(delete(File).where(File.tree_id.in_(its_trees)))
    count = connection.execute(delete(Tree).where(Tree.course_id == course_id)).rowcount
    members = connection.execute(
        delete(Membership).where(Membership.course_id == course_id)
    ).rowcount
    # Before the course goes: its entries forget its id then, and keep its name.
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
    return Purged(1, assignments, members, count, submissions)


def _purge_assignment(
    connection: Connection, caller: Caller, assignment_id: int, before: datetime
) -> Purged:
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
        return Purged()
    # Its older releases and feedback were replaced before it was removed, and are as old.
    of_assignment = ReplacedTree.assignment_id == assignment_id
    named = [
        row.tree_id,
        *connection.scalars(select(ReplacedTree.tree_id).where(of_assignment)),
    ]
    submissions = connection.execute(
        select(Submission.tree_id, Submission.feedback_tree_id).where(
            Submission.assignment_id == assignment_id
        )
    ).all()
    for submitted, feedback in submissions:
        named += [submitted] if feedback is None else [submitted, feedback]
    connection.execute(delete(ReplacedTree).where(of_assignment))
    connection.execute(delete(Submission).where(Submission.assignment_id == assignment_id))
    connection.execute(delete(Assignment).where(Assignment.id == assignment_id))
    _delete_trees(connection, named)
    audit.record(
        connection,
        caller,
        "assignment purged",
        course=CourseRef(row.course_id, row.course),
        assignment=row.name,
        removed=format_time(row.removed_at),
        submissions=len(submissions),
    )
    return Purged(assignments=1, trees=len(named), submissions=len(submissions))


def _purge_member(
    connection: Connection, caller: Caller, membership_id: int, before: datetime
) -> Purged:
    """Delete a removed member's row. Their submissions stay in the course."""
    course_id = connection.scalar(
        select(Membership.course_id).where(Membership.id == membership_id)
    )
    if course_id is None:
        return Purged()
    # Whoever changes the roster has its turn before, and the member is not in the trash any
    # more, or after, and finds that there is none to bring back.
    lock(connection, Course, course_id)
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
        return Purged()
    connection.execute(delete(Membership).where(Membership.id == membership_id))
    audit.record(
        connection,
        caller,
        f"{row.role} purged",
        course=CourseRef(row.course_id, row.course),
        student=row.user if row.role == "student" else None,
        **({"instructor": row.user} if row.role == "instructor" else {}),
    )
    return Purged(members=1)


def _purge_trees(
    connection: Connection, caller: Caller, tree_ids: Sequence[int], before: datetime
) -> Purged:
    courses: dict[tuple[int, str], list[int]] = {}
    for chunk in _chunks(tree_ids):
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
            courses.setdefault((course_id, name), []).append(tree_id)
    for (course_id, name), ids in courses.items():
        _delete_trees(connection, ids)
        audit.record(
            connection,
            caller,
            "replaced trees purged",
            course=CourseRef(course_id, name),
            trees=len(ids),
        )
    return Purged(trees=sum(map(len, courses.values())))


def _delete_trees(connection: Connection, tree_ids: Sequence[int]) -> None:
    for chunk in _chunks(tree_ids):
        connection.execute(delete(ReplacedTree).where(ReplacedTree.tree_id.in_(chunk)))
        connection.execute(delete(File).where(File.tree_id.in_(chunk)))
        connection.execute(delete(Tree).where(Tree.id.in_(chunk)))


def _chunks(items: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]
