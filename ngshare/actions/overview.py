"""The overview: a caller's courses, the released assignments, and the caller's submissions.

It takes at most seven statements, however many courses, assignments and submissions there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sqlalchemy import Connection, Select, func, select, type_coerce

from ngshare.actions.access import Access, Caller, Capability, require_member
from ngshare.actions.submission_infos import describe_submissions, list_notebooks
from ngshare.db.models import Assignment, Course, Membership, Submission, Tree, User, UtcText
from ngshare.protocol.overview import AssignmentInfo, CourseInfo


def get_overview(
    connection: Connection,
    caller: Caller,
    course: str | None = None,
    assignment: str | None = None,
    *,
    counts: bool = False,
) -> list[CourseInfo]:
    """Return the courses that the caller is in, sorted by name, with the caller's submissions.

    course: only this course, which an admin need not be in. Raises NotFound or Forbidden as for
        any other request about a course.
    assignment: only assignments of this name. Raises NotFound when the course is given and has
        none.
    counts: count the students who have submitted, where the caller may grade. It takes 15 ms per
        assignment of 20,000 students, so not every list should.
    """
    if course is None:
        accesses = _list_courses(connection, caller)
        course_ids = _select_courses(caller).with_only_columns(Course.id)
    else:
        access = require_member(connection, caller, course, assignment)
        if assignment is not None:
            access.require_assignment()
        accesses = [access]
        course_ids = select(Course.id).where(Course.id == access.course_id)
    released = select(Assignment.id).where(
        Assignment.course_id.in_(course_ids), Assignment.removed_at.is_(None)
    )
    if assignment is not None:
        released = released.where(Assignment.name == assignment)
    courses = {access.course_id: CourseInfo(access.course, access.role) for access in accesses}
    counted = {access.course_id for access in accesses if counts and access.may(Capability.GRADE)}
    students = _count_students(connection, released) if counted else {}
    infos: dict[int, AssignmentInfo] = {}
    for course_id, assignment_id, info in _describe_assignments(connection, released):
        if course_id in counted:
            info = replace(info, students_submitted=students.get(assignment_id, 0))
        infos[assignment_id] = info
        courses[course_id].assignments.append(info)
    caller_id = select(User.id).where(User.name == caller.name).scalar_subquery()
    own = select(Submission.id).where(
        Submission.assignment_id.in_(released), Submission.student_id == caller_id
    )
    for assignment_id, submission in describe_submissions(connection, own):
        infos[assignment_id].submissions.append(submission)
    return list(courses.values())


def _list_courses(connection: Connection, caller: Caller) -> list[Access]:
    """Return the caller's access to each course that they are in."""
    return [
        Access(course_id, name, role, caller.admin, caller_id, None)
        for course_id, name, role, caller_id in connection.execute(
            _select_courses(caller).order_by(Course.name)
        )
    ]


def _select_courses(caller: Caller) -> Select[int, str, str, int]:
    return (
        select(Course.id, Course.name, Membership.role, User.id)
        .join(Membership, Membership.course_id == Course.id)
        .join(User, User.id == Membership.user_id)
        .where(
            User.name == caller.name,
            Membership.removed_at.is_(None),
            Course.removed_at.is_(None),
        )
    )


def _count_students(connection: Connection, assignments: Select[int]) -> dict[int, int]:
    """Return how many users have submitted to each of these assignments."""
    query = (
        select(Submission.assignment_id, func.count(Submission.student_id.distinct()))
        .where(Submission.assignment_id.in_(assignments))
        .group_by(Submission.assignment_id)
    )
    return dict(connection.execute(query).all())


def _describe_assignments(
    connection: Connection, assignments: Select[int]
) -> Iterator[tuple[int, int, AssignmentInfo]]:
    """Yield assignments in order of release, each after the ids of its course and its row.

    assignments: a query for the ids of the assignments, and nothing else.
    """
    notebooks = list_notebooks(connection, assignments.with_only_columns(Assignment.tree_id))
    rows = connection.execute(
        select(
            Assignment.course_id,
            Assignment.id,
            Assignment.name,
            type_coerce(Assignment.released_at, UtcText).label("released"),
            Assignment.tree_id,
            Tree.digest,
            Tree.file_count,
            Tree.size,
        )
        .join(Tree, Tree.id == Assignment.tree_id)
        .where(Assignment.id.in_(assignments))
        .order_by(Assignment.released_at, Assignment.id)
    )
    for row in rows:
        info = AssignmentInfo(
            name=row.name,
            released=row.released,
            digest=row.digest.hex(),
            files=row.file_count,
            bytes=row.size,
            notebooks=notebooks.get(row.tree_id, []),
        )
        yield row.course_id, row.id, info
