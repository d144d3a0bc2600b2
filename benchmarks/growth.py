"""How reads slow down as the database grows: rows are added in bulk, between the measurements.

What is read is as much in every size: in the course that every site has, which is the oldest,
and in a course of the same shape that was added last.
"""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from sqlalchemy import ColumnElement, Connection, event, func, insert, literal, select

from benchmarks.content import ADMIN, COURSE, TEACHER
from benchmarks.load import Request
from benchmarks.scenarios import percentile
from benchmarks.sites import DONE, Ours
from ngshare.db.engine import make_engine
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
    Tree,
    User,
)
from ngshare.db.urls import parse_url
from ngshare.protocol.times import format_time

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

LENGTHS = (200, 2_000, 20_000)
"""How many entries the lists hold that show what an entry costs."""
ROUNDS = 3
SAMPLES = 50
"""How often each read is asked in each round."""
LONG_SAMPLES = 15
"""And each list that shows what an entry costs."""

LOOK_THROUGH = "the whole log, of a student"
SEARCHES = {LOOK_THROUGH}
"""Reads that look through entries until they find enough, but never more than so many."""
PARTS = {"100 of the submissions", "100 of the students"}
"""Reads of a part of a list, whose length must not matter."""

Values = dict[str, Any]
Reads = dict[str, list[Request]]


def reads(site: Ours, late: str) -> Reads:
    """Every read of the API; ``late`` is the course that was added last."""
    return {
        **_reads_of_one(site),
        **_reads_of_many(site),
        **_reads_of_late(site, late),
    }


def _reads_of_one(site: Ours) -> Reads:
    """What concerns one person, one tree or the service."""
    some = site.students[:: max(1, len(site.students) // 50)]
    own = [(name, {"timestamp": site.times[name]}) for name in some]
    done = f"{COURSE}/{DONE}"
    whole: dict[str, str] = {"list_only": "true"}
    removed = {"removed": "true"}
    return {
        "the start page": [site.get("", name) for name in some],
        "courses": [site.get("courses", name) for name in some],
        "fetch": [site.get(f"assignment/{done}", name) for name in some],
        "fetch, list_only": [site.get(f"assignment/{done}", name, **whole) for name in some],
        "one's own submissions": [site.get(f"submissions/{done}/{name}", name) for name in some],
        "a student's, removed=true": [
            site.get(f"submissions/{done}/{name}", TEACHER, **removed) for name in some
        ],
        "collect the newest": [site.get(f"submission/{done}/{name}", TEACHER) for name in some],
        "collect, list_only": [
            site.get(f"submission/{done}/{name}", TEACHER, **whole) for name in some
        ],
        "collect, removed=true": [
            site.get(f"submission/{done}/{name}", TEACHER, **removed) for name in some
        ],
        "collect by time": [
            site.get(f"submission/{done}/{name}", TEACHER, **time) for name, time in own
        ],
        "feedback": [site.get(f"feedback/{done}/{name}", name, **time) for name, time in own],
        "feedback, list_only": [
            site.get(f"feedback/{done}/{name}", name, **time, **whole) for name, time in own
        ],
        "feedback, removed=true": [
            site.get(f"feedback/{done}/{name}", TEACHER, **time, **removed) for name, time in own
        ],
        "a student": [site.get(f"student/{COURSE}/{name}", TEACHER) for name in some],
        "an instructor": [site.get(f"instructor/{COURSE}/{TEACHER}", name) for name in some],
        "readyz": [site.get("readyz", TEACHER)],
        "metrics": [site.get("metrics", ADMIN)],
    }


def _reads_of_many(site: Ours) -> Reads:
    """Lists, of the same length in every size, and parts of lists."""
    some = site.students[:: max(1, len(site.students) // 50)]
    done = f"{COURSE}/{DONE}"
    handed_in = {"event": "submission handed in", "assignment": DONE}
    return {
        "assignments": [site.get(f"assignments/{COURSE}", name) for name in some],
        "instructors": [site.get(f"instructors/{COURSE}", name) for name in some],
        "all students": [site.get(f"students/{COURSE}", TEACHER)],
        "10 of the students": [site.get(f"students/{COURSE}", TEACHER, limit="10")],
        "all submissions": [site.get(f"submissions/{done}", TEACHER)],
        "10 of the submissions": [site.get(f"submissions/{done}", TEACHER, limit="10")],
        "10 of an admin's courses": [site.get("courses", ADMIN, limit="10")],
        "missing": [site.get(f"missing/{done}", TEACHER)],
        "usage": [site.get(f"usage/{COURSE}", TEACHER)],
        "the log of a course": [site.get(f"log/{COURSE}", TEACHER)],
        "the log of a course, its oldest": [site.get(f"log/{COURSE}", TEACHER, order="oldest")],
        "the whole log": [site.get("log", ADMIN)],
        LOOK_THROUGH: [site.get("log", ADMIN, student=name, **handed_in) for name in some],
    }


def _reads_of_late(site: Ours, course: str) -> Reads:
    """Reads of the course that was added last. Its files have names and no contents."""
    teacher = f"{course}-teacher"
    some = [f"{course}-student{at}" for at in range(0, CLASS, 4)]
    done = f"{course}/ps0"
    handed_in = {"event": "submission handed in", "assignment": "ps0"}
    late: Reads = {
        "courses": [site.get("courses", name) for name in some],
        "assignments": [site.get(f"assignments/{course}", name) for name in some],
        "fetch, list_only": [
            site.get(f"assignment/{done}", name, list_only="true") for name in some
        ],
        "one's own submissions": [site.get(f"submissions/{done}/{name}", name) for name in some],
        "collect, list_only": [
            site.get(f"submission/{done}/{name}", teacher, list_only="true") for name in some
        ],
        "a student": [site.get(f"student/{course}/{name}", teacher) for name in some],
        "all students": [site.get(f"students/{course}", teacher)],
        "all submissions": [site.get(f"submissions/{done}", teacher)],
        "missing": [site.get(f"missing/{done}", teacher)],
        "usage": [site.get(f"usage/{course}", teacher)],
        "the log of a course": [site.get(f"log/{course}", teacher)],
        "the log of a course, of a student": [
            site.get(f"log/{course}", teacher, student=name, **handed_in) for name in some
        ],
    }
    return {f"the newest course: {name}": requests for name, requests in late.items()}


def measure(site: Ours, wanted: Reads, samples: int = SAMPLES) -> Values:
    """The median time of each read in seconds, one at a time, and the p99 of health meanwhile.

    The reads take turns in rounds; each has its median in each round, and the median of
    those counts, so that a busy moment of the machine does not decide.
    """
    medians: dict[str, list[float]] = {name: [] for name in wanted}
    health: list[float] = []
    for turn in range(ROUNDS + 1):
        for name, requests in wanted.items():
            times = samples if turn else 5  # the first round only warms up
            repeated = [requests[at % len(requests)] for at in range(times)]
            outcome = site.run(repeated, connections=1)
            if turn:
                medians[name].append(statistics.median(outcome.latencies))
                health += outcome.health
    return {
        "reads": {name: statistics.median(each) for name, each in medians.items()},
        "health": percentile(health, 0.99),
    }


def grow_to(url: str, submissions: int) -> str:
    """Add courses until the database holds so many submissions. The service must not run.

    The last course has one assignment, which every student handed in once. Its name.
    """
    late = f"late{submissions}"
    engine = make_engine(parse_url(url), writes=True)
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
                full = _find(connection, FULL_COURSE)
                if missing <= CLASS:
                    _add_course(connection, late, [missing])
                    return late
                missing -= CLASS
                if missing < COURSE_SUBMISSIONS:
                    _add_course(connection, f"part{submissions}", _spread(missing))
                elif full is None:
                    _add_course(connection, FULL_COURSE, _spread(COURSE_SUBMISSIONS))
                else:
                    _copy_course(connection, full)
    finally:
        engine.dispose()


def _spread(submissions: int) -> list[int]:
    """So many submissions, by assignment."""
    most = CLASS * TIMES
    return [min(most, submissions - done) for done in range(0, submissions, most)]


def add_long_lists(url: str) -> Sequence[int]:
    """Add courses whose lists are long. How long each is. The service must not run."""
    engine = make_engine(parse_url(url), writes=True)
    try:
        with engine.begin() as connection:
            for length in LENGTHS:
                _add_course(connection, f"long{length}", [length], length)
    finally:
        engine.dispose()
    return LENGTHS


def long_lists(site: Ours, length: int) -> Reads:
    """Lists of so many entries, whole and 100 from their middle."""
    course = f"long{length}"
    teacher = f"{course}-teacher"
    done = f"{course}/ps0"
    middle = f"{format_time(START + timedelta(seconds=length // 2))} 0"
    before = format_time(START - timedelta(days=1))
    some = {"limit": "100"}
    return {
        "all submissions": [site.get(f"submissions/{done}", teacher)],
        "all students": [site.get(f"students/{course}", teacher)],
        "all missing by a time": [site.get(f"missing/{done}", teacher, by=before)],
        "100 of the submissions": [site.get(f"submissions/{done}", teacher, **some, after=middle)],
        "100 of the students": [
            site.get(f"students/{course}", teacher, **some, after=f"{course}-student4")
        ],
    }


def _add_course(
    connection: Connection, name: str, submissions: Sequence[int], size: int = CLASS
) -> None:
    """A course with an instructor, so many students, and an assignment of each so many."""
    number = _next_id(connection, Course)
    connection.execute(insert(Course), [{"id": number, "name": name, "created_at": START}])
    first = _next_id(connection, User)
    people = [f"{name}-teacher", *(f"{name}-student{at}" for at in range(size))]
    _insert(connection, User, ({"id": first + at, "name": who} for at, who in enumerate(people)))
    _insert(
        connection,
        Membership,
        (
            {
                "course_id": number,
                "user_id": first + at,
                "role": STUDENT if at else INSTRUCTOR,
                "first_name": "Some",
                "last_name": "Body",
                "email": f"{who}@university.edu",
            }
            for at, who in enumerate(people)
        ),
    )
    students = dict(enumerate(people[1:], first + 1))
    for at, count in enumerate(submissions):
        _add_submissions(connection, number, f"ps{at}", students, count)


def _add_submissions(
    connection: Connection, course: int, name: str, students: dict[int, str], count: int
) -> None:
    """An assignment that these students handed in so many times in all, a file each time.

    ``students`` are names by number.
    """
    ids = list(students)
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
                "student_id": ids[at % len(ids)],
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
                "actor": students[ids[at % len(ids)]],
                "event": "submission handed in",
                "course_id": course,
                "course": "course",
                "assignment": name,
                "student": students[ids[at % len(ids)]],
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
