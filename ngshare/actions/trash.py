"""List the trash: everything that was removed or replaced and is not purged yet.

Each item has a key: ``c3`` is a course, ``a7`` an assignment, ``m5`` a member of a course, and
``t9`` the tree of a release or of feedback that a newer one replaced.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select
from sqlalchemy.orm import InstrumentedAttribute

from ngshare.actions.access import Caller, CourseRef, require_admin
from ngshare.db.models import Assignment, Course, Membership, ReplacedTree, Submission, Tree, User
from ngshare.errors import BadRequest, NotFound

KINDS = ("course", "assignment", "instructor", "student", "release", "feedback", "replaced")
"""The kinds of items. The last is a replaced tree without a record of what it belonged to."""


@dataclass(frozen=True, slots=True)
class TrashItem:
    """Something that was removed or replaced, at a time in UTC, by a user (None: not known).

    ``user`` is the member, or the student whose feedback it is, on the submission of the time
    ``submitted_at``. ``submissions`` counts those of a removed course or assignment.
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

    @property
    def row_id(self) -> int:
        """The id of the row of the course, assignment, member or tree."""
        return int(self.key[1:])

    @property
    def course_ref(self) -> CourseRef:
        """The course that the item is, or is in."""
        return CourseRef(self.course_id, self.course)


def list_trash(
    connection: Connection,
    caller: Caller,
    *,
    course: str | None = None,
    kind: str | None = None,
    before: datetime | None = None,
) -> list[TrashItem]:
    """Return the items in the trash, courses first, the oldest of each kind first; for admins.

    ``course`` (a name), ``kind`` and ``before`` (a time in UTC) each restrict the list.
    """
    require_admin(caller)
    return [
        item
        for items in (_removed_courses, _removed_assignments, _removed_members, _replaced_trees)
        for item in items(connection)
        if (course is None or item.course == course)
        and (kind is None or item.kind == kind)
        and (before is None or item.at < before)
    ]


def get_removed_course(connection: Connection, caller: Caller, key: str) -> TrashItem:
    """Return the removed course with this key; for admins. Raise NotFound for any other key."""
    require_admin(caller)
    if not re.fullmatch(r"c[1-9][0-9]{0,17}", key):
        raise not_in_trash(key)
    return get_item(connection, key)


def find_removed_courses(connection: Connection, caller: Caller, name: str) -> list[TrashItem]:
    """Return the removed courses of this name, in the order of their removal; for admins."""
    require_admin(caller)
    return [item for item in _removed_courses(connection) if item.course == name]


def list_replaced_trees(connection: Connection, course_id: int) -> list[TrashItem]:
    """Return the replaced trees of a course, the oldest replacement first. Checks no permission."""
    return list(_replaced_trees(connection, course_id=course_id))


def get_item(connection: Connection, key: str) -> TrashItem:
    """Return the item with this key. Raise BadRequest if the key is malformed, or NotFound.

    Checks no permission.
    """
    if not re.fullmatch(r"[camt][1-9][0-9]{0,17}", key):
        raise BadRequest(f"{key} is no key of the trash; they look like c3, a7, m5 or t9")
    items = {
        "c": _removed_courses,
        "a": _removed_assignments,
        "m": _removed_members,
        "t": _replaced_trees,
    }[key[0]]
    for item in items(connection, int(key[1:])):
        return item
    raise not_in_trash(key)


def not_in_trash(key: str) -> NotFound:
    """Return the error for a key that no item has."""
    return NotFound(f"There is no {key} in the trash")


def _removed_courses(connection: Connection, row_id: int | None = None) -> Iterator[TrashItem]:
    """Yield the removed courses, or the one with this id."""
    submissions = (
        select(func.count())
        .select_from(Submission)
        .join(Assignment, Assignment.id == Submission.assignment_id)
        .where(Assignment.course_id == Course.id)
        .scalar_subquery()
    )
    query = (
        select(Course.id, Course.name, Course.removed_at, Course.removed_by, submissions)
        .where(Course.removed_at.is_not(None), *_equals(Course.id, row_id))
        .order_by(Course.removed_at, Course.id)
    )
    for course_id, name, at, by, count in connection.execute(query):
        yield TrashItem(f"c{course_id}", "course", course_id, name, True, at, by, submissions=count)


def _removed_assignments(connection: Connection, row_id: int | None = None) -> Iterator[TrashItem]:
    """Yield the removed assignments, or the one with this id."""
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
            *_COURSE_COLUMNS,
        )
        .select_from(Assignment)
        .join(Course, Course.id == Assignment.course_id)
        .where(Assignment.removed_at.is_not(None), *_equals(Assignment.id, row_id))
        .order_by(Assignment.removed_at, Assignment.id)
    )
    for row in connection.execute(query):
        yield TrashItem(
            f"a{row.id}",
            "assignment",
            *_course_fields(row),
            row.removed_at,
            row.removed_by,
            assignment=row.name,
            submissions=row.submissions,
        )


def _removed_members(connection: Connection, row_id: int | None = None) -> Iterator[TrashItem]:
    """Yield the removed members of courses, or the one with this id."""
    query = (
        select(
            Membership.id,
            Membership.role,
            Membership.removed_at,
            Membership.removed_by,
            User.name.label("user"),
            *_COURSE_COLUMNS,
        )
        .select_from(Membership)
        .join(User, User.id == Membership.user_id)
        .join(Course, Course.id == Membership.course_id)
        .where(Membership.removed_at.is_not(None), *_equals(Membership.id, row_id))
        .order_by(Membership.removed_at, Membership.id)
    )
    for row in connection.execute(query):
        yield TrashItem(
            f"m{row.id}",
            row.role,
            *_course_fields(row),
            row.removed_at,
            row.removed_by,
            user=row.user,
        )


def _replaced_trees(
    connection: Connection, row_id: int | None = None, *, course_id: int | None = None
) -> Iterator[TrashItem]:
    """Yield the replaced trees: all of them, the one with this id, or those of a course."""
    query = (
        select(
            ReplacedTree.tree_id,
            ReplacedTree.replaced_at,
            ReplacedTree.replaced_by,
            Assignment.name.label("assignment"),
            User.name.label("student"),
            Submission.submitted_at,
            *_COURSE_COLUMNS,
        )
        .select_from(ReplacedTree)
        .join(Tree, Tree.id == ReplacedTree.tree_id)
        .join(Course, Course.id == Tree.course_id)
        .outerjoin(Assignment, Assignment.id == ReplacedTree.assignment_id)
        .outerjoin(Submission, Submission.id == ReplacedTree.submission_id)
        .outerjoin(User, User.id == Submission.student_id)
        .where(*_equals(ReplacedTree.tree_id, row_id), *_equals(Tree.course_id, course_id))
        .order_by(ReplacedTree.replaced_at, ReplacedTree.tree_id)
    )
    for row in connection.execute(query):
        kind = "replaced" if row.assignment is None else "release"
        yield TrashItem(
            f"t{row.tree_id}",
            kind if row.student is None else "feedback",
            *_course_fields(row),
            row.replaced_at,
            row.replaced_by,
            assignment=row.assignment,
            user=row.student,
            submitted_at=row.submitted_at,
        )


_COURSE_COLUMNS = (
    Course.id.label("course_id"),
    Course.name.label("course"),
    Course.removed_at.label("course_removed_at"),
)


def _course_fields(row: Any) -> tuple[int, str, bool]:
    """Return the values of ``course_id``, ``course`` and ``course_removed`` of an item."""
    return row.course_id, row.course, row.course_removed_at is not None


def _equals(column: InstrumentedAttribute[int], value: int | None) -> list[ColumnElement[bool]]:
    """Return the condition that a column has this value, or no condition if it is None."""
    return [] if value is None else [column == value]
