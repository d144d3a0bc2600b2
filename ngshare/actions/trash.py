"""The trash: list what was removed or replaced, and restore it.

Each item has a short key: ``c3`` is a course, ``a7`` an assignment, ``m5`` a member of a
course, ``t9`` the tree of a release or of feedback that a newer one replaced.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, select, update

from ngshare.actions import access, audit, tree_rows
from ngshare.actions.access import Caller, CourseRef
from ngshare.db.models import Assignment, Course, Membership, ReplacedTree, Submission, Tree, User
from ngshare.errors import BadRequest, Conflict, NotFound
from ngshare.protocol.names import check_name
from ngshare.protocol.times import format_time

KINDS = ("course", "assignment", "instructor", "student", "release", "feedback", "replaced")
"""The kinds of items. The last is a replaced tree without a record of what it belonged to."""

_COURSE_KEY = r"c[1-9][0-9]{0,17}"


@dataclass(frozen=True, slots=True)
class TrashItem:
    """What was removed or replaced, at a time in UTC, and by whom; None when that is not known.

    ``user`` is the member, or the student whose feedback it is, on the submission of
    ``submitted_at``. ``submissions`` is how many a removed course or assignment has.
    """

    key: str
    kind: str
    course_id: int
    course: str
    course_removed: bool
    at: datetime
    by: str | None
    assignment: str | None = None
    user: str | None = None
    submitted_at: datetime | None = None
    submissions: int = 0


def list_trash(
    connection: Connection,
    caller: Caller,
    *,
    course: str | None = None,
    kind: str | None = None,
    before: datetime | None = None,
) -> list[TrashItem]:
    """List what was removed or replaced, courses first, the oldest first; for admins.

    ``course`` (a name), ``kind`` and ``before`` (a time in UTC) each leave out the others.
    """
    access.require_admin(caller)
    return [
        item
        for items in (_courses, _assignments, _members, _trees)
        for item in items(connection)
        if (course is None or item.course == course)
        and (kind is None or item.kind == kind)
        and (before is None or item.at < before)
    ]


def find_course(connection: Connection, caller: Caller, key: str) -> TrashItem:
    """Return the removed course of a key; for admins. Raises NotFound, also for other kinds."""
    access.require_admin(caller)
    if not re.fullmatch(_COURSE_KEY, key):
        raise _absent(key)
    return _find(connection, key)


def find_courses(connection: Connection, caller: Caller, name: str) -> list[TrashItem]:
    """List the removed courses of this name, in the order of their removal; for admins."""
    access.require_admin(caller)
    return [item for item in _courses(connection) if item.course == name]


def replaced_trees(connection: Connection, course_id: int) -> list[TrashItem]:
    """List the trees of a course that newer ones replaced, the oldest replacement first."""
    return list(_trees(connection, course_id=course_id))


# Restoring


def restore(connection: Connection, caller: Caller, key: str, name: str | None = None) -> TrashItem:
    """Restore one item by its key; for admins. Return the item.

    A course can be given another ``name``, and must be when a course of its name exists.
    The files are all there, because rows in the trash keep their blobs.

    Raises NotFound when it is not in the trash, Conflict when something else is in its way.
    """
    access.require_admin(caller)
    item = _find(connection, key)
    if name is not None and item.kind != "course":
        raise BadRequest("Only a course can be restored under another name")
    if item.course_removed and item.kind != "course":
        raise Conflict(f"Its course {item.course} is removed: restore c{item.course_id} first")
    moment = audit.now()
    number = int(key[1:])
    if item.kind == "course":
        _restore_course(connection, caller, item, check_name(name or item.course), moment)
        return item
    if key[0] == "t":
        _restore_tree(connection, caller, item, number, moment)
        return item
    table = Assignment if item.kind == "assignment" else Membership
    _bring_back(connection, table, number, key)
    detail = {"instructor": item.user} if item.kind == "instructor" else {}
    audit.record(
        connection,
        caller,
        f"{item.kind} restored",
        course=_ref(item),
        assignment=item.assignment,
        student=item.user if item.kind == "student" else None,
        at=moment,
        **detail,
    )
    return item


def _restore_course(
    connection: Connection, caller: Caller, item: TrashItem, name: str, moment: datetime
) -> None:
    # Not itself, which somebody else may have restored a moment ago.
    taken = connection.scalar(
        select(Course.id).where(
            Course.name == name, Course.removed_at.is_(None), Course.id != item.course_id
        )
    )
    if taken is not None:
        raise Conflict(f"A course {name} exists: give this one another name, with --as NAME")
    _bring_back(connection, Course, item.course_id, item.key, name=name)
    audit.record(
        connection,
        caller,
        "course restored",
        course=CourseRef(item.course_id, name),
        at=moment,
        removed_as=item.course,
    )


def _bring_back(connection: Connection, table: Any, number: int, key: str, **values: Any) -> None:
    changed = connection.execute(
        update(table)
        .where(table.id == number, table.removed_at.is_not(None))
        .values(removed_at=None, removed_by=None, **values)
    )
    if changed.rowcount == 0:  # restored or purged a moment ago
        raise _absent(key)


def _restore_tree(
    connection: Connection, caller: Caller, item: TrashItem, tree_id: int, moment: datetime
) -> None:
    """Put an old release or old feedback in the place of the newer one, which is replaced."""
    replaced = connection.execute(
        select(ReplacedTree.assignment_id, ReplacedTree.submission_id).where(
            ReplacedTree.tree_id == tree_id
        )
    ).one_or_none()
    if replaced is None:  # restored or purged a moment ago
        raise _absent(item.key)
    if replaced.assignment_id is None:
        raise Conflict("There is no record of what this replaced tree belonged to")
    assignment = connection.execute(
        select(Assignment.id, Assignment.tree_id, Assignment.removed_at)
        .where(Assignment.id == replaced.assignment_id)
        .with_for_update()
    ).one_or_none()
    if assignment is None:  # purged a moment ago, with this tree
        raise _absent(item.key)
    if assignment.removed_at is not None:
        raise Conflict(
            f"Its assignment {item.assignment} is removed: restore a{assignment.id} first"
        )
    detail = {}
    if replaced.submission_id is None:
        newer = assignment.tree_id
        place = update(Assignment).where(Assignment.id == assignment.id).values(tree_id=tree_id)
    else:
        of_submission = Submission.id == replaced.submission_id
        newer = connection.execute(
            select(Submission.feedback_tree_id).where(of_submission).with_for_update(key_share=True)
        ).scalar_one()
        place = update(Submission).where(of_submission).values(feedback_tree_id=tree_id)
        assert item.submitted_at is not None
        detail["timestamp"] = format_time(item.submitted_at)
    tree_rows.mark_replaced(
        connection,
        caller,
        newer,
        moment,
        assignment_id=assignment.id,
        submission_id=replaced.submission_id,
    )
    back = connection.execute(delete(ReplacedTree).where(ReplacedTree.tree_id == tree_id))
    if back.rowcount == 0:
        raise _absent(item.key)
    connection.execute(place)
    audit.record(
        connection,
        caller,
        f"{item.kind} restored",
        course=_ref(item),
        assignment=item.assignment,
        student=item.user,
        at=moment,
        **detail,
    )


# Finding


def _find(connection: Connection, key: str) -> TrashItem:
    if not re.fullmatch(r"[camt][1-9][0-9]{0,17}", key):
        raise BadRequest(f"{key} is no key of the trash; they look like c3, a7, m5 or t9")
    items = {"c": _courses, "a": _assignments, "m": _members, "t": _trees}[key[0]]
    for item in items(connection, int(key[1:])):
        return item
    raise _absent(key)


def _absent(key: str) -> NotFound:
    return NotFound(f"There is no {key} in the trash")


def _courses(connection: Connection, number: int | None = None) -> Iterator[TrashItem]:
    submissions = (
        select(func.count())
        .select_from(Submission)
        .join(Assignment, Assignment.id == Submission.assignment_id)
        .where(Assignment.course_id == Course.id)
        .scalar_subquery()
    )
    query = (
        select(Course.id, Course.name, Course.removed_at, Course.removed_by, submissions)
        .where(Course.removed_at.is_not(None), *_only(Course.id, number))
        .order_by(Course.removed_at, Course.id)
    )
    for course_id, name, at, by, count in connection.execute(query):
        yield TrashItem(f"c{course_id}", "course", course_id, name, True, at, by, submissions=count)


def _assignments(connection: Connection, number: int | None = None) -> Iterator[TrashItem]:
    submissions = (
        select(func.count()).where(Submission.assignment_id == Assignment.id).scalar_subquery()
    )
    query = (
        select(
            Assignment.id,
            Assignment.name,
            Assignment.removed_at,
            Assignment.removed_by,
            submissions.label("submissions"),
            *_COURSE,
        )
        .select_from(Assignment)
        .join(Course, Course.id == Assignment.course_id)
        .where(Assignment.removed_at.is_not(None), *_only(Assignment.id, number))
        .order_by(Assignment.removed_at, Assignment.id)
    )
    for row in connection.execute(query):
        yield TrashItem(
            f"a{row.id}",
            "assignment",
            *_course(row),
            row.removed_at,
            row.removed_by,
            assignment=row.name,
            submissions=row.submissions,
        )


def _members(connection: Connection, number: int | None = None) -> Iterator[TrashItem]:
    query = (
        select(
            Membership.id,
            Membership.role,
            Membership.removed_at,
            Membership.removed_by,
            User.name.label("user"),
            *_COURSE,
        )
        .select_from(Membership)
        .join(User, User.id == Membership.user_id)
        .join(Course, Course.id == Membership.course_id)
        .where(Membership.removed_at.is_not(None), *_only(Membership.id, number))
        .order_by(Membership.removed_at, Membership.id)
    )
    for row in connection.execute(query):
        yield TrashItem(
            f"m{row.id}",
            row.role,
            *_course(row),
            row.removed_at,
            row.removed_by,
            user=row.user,
        )


def _trees(
    connection: Connection, number: int | None = None, *, course_id: int | None = None
) -> Iterator[TrashItem]:
    query = (
        select(
            ReplacedTree.tree_id,
            ReplacedTree.replaced_at,
            ReplacedTree.replaced_by,
            Assignment.name.label("assignment"),
            User.name.label("student"),
            Submission.submitted_at,
            *_COURSE,
        )
        .select_from(ReplacedTree)
        .join(Tree, Tree.id == ReplacedTree.tree_id)
        .join(Course, Course.id == Tree.course_id)
        .outerjoin(Assignment, Assignment.id == ReplacedTree.assignment_id)
        .outerjoin(Submission, Submission.id == ReplacedTree.submission_id)
        .outerjoin(User, User.id == Submission.student_id)
        .where(*_only(ReplacedTree.tree_id, number), *_only(Tree.course_id, course_id))
        .order_by(ReplacedTree.replaced_at, ReplacedTree.tree_id)
    )
    for row in connection.execute(query):
        kind = "replaced" if row.assignment is None else "release"
        yield TrashItem(
            f"t{row.tree_id}",
            kind if row.student is None else "feedback",
            *_course(row),
            row.replaced_at,
            row.replaced_by,
            assignment=row.assignment,
            user=row.student,
            submitted_at=row.submitted_at,
        )


_COURSE = (
    Course.id.label("course_id"),
    Course.name.label("course"),
    Course.removed_at.label("course_removed"),
)


def _course(row: Any) -> tuple[int, str, bool]:
    return row.course_id, row.course, row.course_removed is not None


def _only(column: Any, number: int | None) -> list[Any]:
    return [] if number is None else [column == number]


def _ref(item: TrashItem) -> CourseRef:
    return CourseRef(item.course_id, item.course)
