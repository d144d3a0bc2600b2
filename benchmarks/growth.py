"""How reads slow down as the database grows: rows are added in bulk, between the measurements."""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

from sqlalchemy import Connection, func, insert, select

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

CLASS = 200
"""Students of each course that is added."""
ASSIGNMENTS = 10
TIMES = 5
"""How often each student hands in each assignment."""
COURSE_SUBMISSIONS = CLASS * ASSIGNMENTS * TIMES
CHUNK = 10_000
START = datetime(2026, 1, 1, tzinfo=timezone.utc)

LONG = (2_000, 20_000)
"""How many submissions the longest lists hold, which show what an entry costs."""

SAMPLES = 300

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
    try:
        while True:
            with engine.begin() as connection:
                missing = submissions - _count(connection)
                if missing <= 0:
                    return
                _add_course(connection, min(missing, COURSE_SUBMISSIONS))
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


def long_lists(site: Ours, made: dict[str, int], quick: bool) -> dict[int, float]:
    """The median of listing everybody's submissions, by how many there are; in seconds."""
    found = {len(site.students): _median(site, site.lists(), quick)}
    for name, count in made.items():
        requests = [site.get(f"submissions/{COURSE}/{name}", TEACHER)]
        found[count] = _median(site, requests * 5, True)
    return found


def _add_course(connection: Connection, submissions: int) -> None:
    number = _next_id(connection, Course)
    name = f"course{number:05d}"
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


def _count(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(Submission)).scalar_one()


def _next_id(connection: Connection, table: Any) -> int:
    return int(connection.scalar(select(func.max(table.id))) or 0) + 1
