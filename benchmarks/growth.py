"""How reads slow down as the database grows: rows are added in bulk, between the measurements."""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

from sqlalchemy import ColumnElement, Connection, event, func, insert, literal, select

from benchmarks.content import COURSE, TEACHER
from benchmarks.load import Request
from benchmarks.sites import DONE, Ours
from ngshare.database import make_engine, parse_url
from ngshare.models import (
    STUDENT,
    Assignment,
    AuditEntry,
    Base,
    Course,
    File,
    Membership,
    Submission,
    Tree,
    User,
)
from ngshare.wire import format_time

CLASS = 200
"""Students of each course that is added."""
ASSIGNMENTS = 10
TIMES = 5
"""How often each student hands in each assignment."""
COURSE_SUBMISSIONS = CLASS * ASSIGNMENTS * TIMES
FULL_COURSE = "full"
"""The name of the course that is copied."""
CHUNK = 10_000
START = datetime(2026, 1, 1, tzinfo=timezone.utc)

LONG = (2_000, 20_000)
"""How many submissions the longest lists hold, which show what an entry costs."""

SAMPLES = 210

Values = dict[str, Any]


def reads(site: Ours) -> dict[str, list[Request]]:
    """Every read of the API, each of as much as in every other size of the database."""
    some = site.students[:: max(1, len(site.students) // 50)]
    own = [(name, {"timestamp": site.times[name]}) for name in some]
    done = f"{COURSE}/{DONE}"
    return {
        "courses": [site.get("courses", name) for name in some],
        "assignments": [site.get(f"assignments/{COURSE}", name) for name in some],
        "fetch": [site.get(f"assignment/{done}", name) for name in some],
        "fetch, list_only": [
            site.get(f"assignment/{done}", name, list_only="true") for name in some
        ],
        "one's own submissions": [site.get(f"submissions/{done}/{name}", name) for name in some],
        "collect the newest": [site.get(f"submission/{done}/{name}", TEACHER) for name in some],
        "collect by time": [
            site.get(f"submission/{done}/{name}", TEACHER, **time) for name, time in own
        ],
        "feedback": [site.get(f"feedback/{done}/{name}", name, **time) for name, time in own],
        "a student": [site.get(f"student/{COURSE}/{name}", TEACHER) for name in some],
        "an instructor": [site.get(f"instructor/{COURSE}/{TEACHER}", name) for name in some],
        "instructors": [site.get(f"instructors/{COURSE}", name) for name in some],
        "all students": [site.get(f"students/{COURSE}", TEACHER)],
        "all submissions": [site.get(f"submissions/{done}", TEACHER)],
    }


def measure(site: Ours, quick: bool) -> dict[str, float]:
    """The median of each read, in seconds, one at a time."""
    return {name: _median(site, requests, quick) for name, requests in reads(site).items()}


def _median(site: Ours, requests: list[Request], quick: bool) -> float:
    samples = 20 if quick else SAMPLES
    # In several runs, so that a busy moment of the machine does not decide.
    medians = []
    for _ in range(3):
        repeated = [requests[at % len(requests)] for at in range(max(1, samples // 3))]
        medians.append(statistics.median(site.run(repeated, connections=1).latencies))
    return min(medians)


def grow_to(url: str, submissions: int) -> None:
    """Add courses until the database holds so many submissions. The service must not run."""
    engine = make_engine(parse_url(url)).execution_options(ngshare_writes=True)
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def hurry(connection: Any, record: Any) -> None:
            # These rows are no one's work; a crash may take them.
            connection.execute("PRAGMA synchronous=OFF")
            connection.execute("PRAGMA foreign_keys=OFF")
            connection.execute("PRAGMA cache_size=-500000")

    try:
        while True:
            with engine.begin() as connection:
                missing = submissions - _count(connection)
                if missing <= 0:
                    return
                full = _find(connection, FULL_COURSE)
                if missing < COURSE_SUBMISSIONS:
                    _add_course(connection, f"course{missing}", missing)
                elif full is None:
                    _add_course(connection, FULL_COURSE, COURSE_SUBMISSIONS)
                else:
                    _copy_course(connection, full)
    finally:
        engine.dispose()


def lengthen(site: Ours) -> dict[str, int]:
    """Add assignments whose lists are long. Their names, and how long each is."""
    engine = make_engine(parse_url(site.database)).execution_options(ngshare_writes=True)
    made = {}
    try:
        with engine.begin() as connection:
            course = connection.execute(select(Course.id).where(Course.name == COURSE)).scalar_one()
            students = list(
                connection.scalars(
                    select(Membership.user_id).where(
                        Membership.course_id == course, Membership.role == STUDENT
                    )
                )
            )
            for count in LONG:
                name = f"long{count}"
                _add_submissions(connection, course, name, students, count)
                made[name] = count
    finally:
        engine.dispose()
    return made


def long_lists(site: Ours, made: dict[str, int], quick: bool) -> dict[int, dict[str, float]]:
    """Listing everybody's submissions, whole and a part, by their number; medians in seconds."""
    found = {}
    for name, count in {DONE: len(site.students), **made}.items():
        path = f"submissions/{COURSE}/{name}"
        middle = f"{format_time(START + timedelta(seconds=count // 2))} 0"
        found[count] = {
            "whole": _median(site, [site.get(path, TEACHER)] * 5, quick or count > 1000),
            "part": _median(site, [site.get(path, TEACHER, limit="100", after=middle)], quick),
        }
    return found


def _add_course(connection: Connection, name: str, submissions: int) -> None:
    number = _next_id(connection, Course)
    connection.execute(insert(Course), [{"id": number, "name": name, "created_at": START}])
    first = _next_id(connection, User)
    users = [{"id": first + at, "name": f"{name}-student{at}"} for at in range(CLASS)]
    connection.execute(insert(User), users)
    connection.execute(
        insert(Membership),
        [
            {
                "course_id": number,
                "user_id": user["id"],
                "role": STUDENT,
                "first_name": "Some",
                "last_name": "Body",
                "email": f"{user['name']}@university.edu",
            }
            for user in users
        ],
    )
    students = [first + at for at in range(CLASS)]
    for at in range(ASSIGNMENTS):
        count = min(CLASS * TIMES, submissions - at * CLASS * TIMES)
        if count > 0:
            _add_submissions(connection, number, f"ps{at}", students, count)


def _add_submissions(
    connection: Connection, course: int, name: str, students: list[int], count: int
) -> None:
    """An assignment that these students handed in so many times in all, a file each time."""
    tree = _next_id(connection, Tree)
    assignment = _next_id(connection, Assignment)
    _insert(connection, Tree, [{"id": tree, "course_id": course, "size": 1000}])
    _insert(connection, File, [_file(tree)])
    _insert(
        connection,
        Assignment,
        [
            {
                "id": assignment,
                "course_id": course,
                "name": name,
                "tree_id": tree,
                "released_at": START,
            }
        ],
    )
    numbers = range(tree + 1, tree + 1 + count)
    _insert(connection, Tree, ({"id": each, "course_id": course, "size": 1000} for each in numbers))
    _insert(connection, File, (_file(each) for each in numbers))
    _insert(
        connection,
        Submission,
        (
            {
                "assignment_id": assignment,
                "student_id": students[at % len(students)],
                "submitted_at": START + timedelta(seconds=at),
                "tree_id": each,
            }
            for at, each in enumerate(numbers)
        ),
    )
    _insert(
        connection,
        AuditEntry,
        (
            {
                "at": START + timedelta(seconds=at),
                "actor": f"student{at % len(students)}",
                "event": "submit",
                "course_id": course,
                "course": "course",
                "assignment": name,
                "student": f"student{at % len(students)}",
            }
            for at in range(count)
        ),
    )


def _copy_course(connection: Connection, course: int) -> None:
    """Add a course like this one, with other people: a hundred times faster than row by row."""
    new = _next_id(connection, Course)
    own = {table: table.course_id == course for table in (Tree, Membership, Assignment, AuditEntry)}
    users = select(Membership.user_id).where(own[Membership])
    trees = select(Tree.id).where(own[Tree])
    assignments = select(Assignment.id).where(own[Assignment])
    user, tree, assignment = (
        _next_id(connection, table) - (connection.scalar(select(func.min(ids.c[0]))) or 0)
        for table, ids in (
            (User, users.subquery()),
            (Tree, trees.subquery()),
            (Assignment, assignments.subquery()),
        )
    )
    name = f"course{new}"
    _copy(connection, Course, Course.id == course, id=literal(new), name=literal(name))
    _copy(
        connection,
        User,
        User.id.in_(users),
        id=User.id + user,
        name=literal(name) + "-" + User.name,
    )
    _copy(
        connection,
        Membership,
        own[Membership],
        course_id=literal(new),
        user_id=Membership.user_id + user,
    )
    _copy(connection, Tree, own[Tree], id=Tree.id + tree, course_id=literal(new))
    _copy(connection, File, File.tree_id.in_(trees), tree_id=File.tree_id + tree)
    _copy(
        connection,
        Assignment,
        own[Assignment],
        id=Assignment.id + assignment,
        course_id=literal(new),
        tree_id=Assignment.tree_id + tree,
    )
    _copy(
        connection,
        Submission,
        Submission.assignment_id.in_(assignments),
        assignment_id=Submission.assignment_id + assignment,
        student_id=Submission.student_id + user,
        tree_id=Submission.tree_id + tree,
    )
    _copy(connection, AuditEntry, own[AuditEntry], course_id=literal(new), course=literal(name))


def _copy(
    connection: Connection, table: type[Base], where: ColumnElement[bool], **changed: Any
) -> None:
    """Insert these rows of a table once more, with other values in some columns."""
    columns = [
        column
        for column in table.__table__.columns
        if column.name in changed or not (column.primary_key and column.name == "id")
    ]
    values = select(*(changed.get(column.name, column) for column in columns)).where(where)
    names = [column.name for column in columns]
    connection.execute(insert(table).from_select(names, values))


def _file(tree: int) -> Values:
    digest = hashlib.sha256(str(tree).encode()).digest()
    return {
        "tree_id": tree,
        "path": "problem1.ipynb",
        "sha256": digest,
        "md5": digest[:16],
        "size": 1000,
    }


def _insert(connection: Connection, table: type[Base], rows: Any) -> None:
    for chunk in _chunks(rows):
        connection.execute(insert(table), chunk)


def _chunks(rows: Any) -> Iterator[list[Values]]:
    chunk: list[Values] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _find(connection: Connection, course: str) -> int | None:
    return connection.scalar(select(Course.id).where(Course.name == course))


def _count(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(Submission)).scalar_one()


def _next_id(connection: Connection, table: Any) -> int:
    return int(connection.scalar(select(func.max(table.id))) or 0) + 1
