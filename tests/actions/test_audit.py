"""Every change writes an entry into the audit log; a refused request writes none."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import Connection, select

from ngshare.actions import assignments, courses, feedback, roster, roster_import, submissions
from ngshare.actions.access import Caller
from ngshare.blobs import sha256
from ngshare.db.models import AuditEntry
from ngshare.errors import ExchangeError
from ngshare.protocol.times import format_time
from ngshare.protocol.trees import StoredFile, md5
from tests.actions.conftest import ADMIN, COURSE, INSTRUCTOR, STRANGER, STUDENT, Act

NOW = datetime(2026, 9, 1, 8, tzinfo=timezone.utc)
FILES = [StoredFile("a", sha256(b"1"), md5(b"1"), 1)]
PERSON = ("", "", "")


def last_entry(connection: Connection) -> AuditEntry:
    return connection.execute(select(AuditEntry).order_by(AuditEntry.id.desc()).limit(1)).one()


@pytest.fixture
def act(act: Act, monkeypatch: pytest.MonkeyPatch) -> Act:
    """The course, with an assignment to which the student submitted."""
    monkeypatch.setattr("ngshare.actions.audit.now", lambda: NOW)
    act(assignments.release_assignment, INSTRUCTOR, COURSE, "ps1", FILES)
    act(submissions.submit, STUDENT, COURSE, "ps1", FILES)
    return act


@pytest.mark.parametrize(
    ("action", "caller", "arguments", "event", "assignment", "student"),
    [
        (courses.create_course, ADMIN, ([],), "course created", None, None),
        (courses.remove_course, ADMIN, (), "course removed", None, None),
        (roster.put_instructor, ADMIN, ("new", *PERSON), "instructor added", None, None),
        (roster.remove_instructor, ADMIN, ("ivy",), "instructor removed", None, None),
        (roster.put_student, INSTRUCTOR, ("new", *PERSON), "student added", None, "new"),
        (roster.remove_student, INSTRUCTOR, ("sam",), "student removed", None, "sam"),
        (
            roster_import.import_students,
            INSTRUCTOR,
            ([roster.Person("new", *PERSON)],),
            "students imported",
            None,
            None,
        ),
        (
            assignments.release_assignment,
            INSTRUCTOR,
            ("ps2", FILES),
            "assignment released",
            "ps2",
            None,
        ),
        (assignments.remove_assignment, INSTRUCTOR, ("ps1",), "assignment removed", "ps1", None),
        (submissions.submit, STUDENT, ("ps1", FILES), "submission handed in", "ps1", "sam"),
        (
            feedback.give_feedback,
            INSTRUCTOR,
            ("ps1", "sam", format_time(NOW), FILES),
            "feedback given",
            "ps1",
            "sam",
        ),
    ],
)
def test_a_change_is_logged_and_a_refusal_is_not(
    act: Act,
    action: Callable[..., Any],
    caller: Caller,
    arguments: tuple[Any, ...],
    event: str,
    assignment: str | None,
    student: str | None,
) -> None:
    course = "New" if action is courses.create_course else COURSE
    before = act(last_entry).id
    denied = INSTRUCTOR if caller is ADMIN else STRANGER
    with pytest.raises(ExchangeError):
        act(action, denied, course, *arguments)
    assert act(last_entry).id == before

    act(action, caller, course, *arguments)
    entry = act(last_entry)
    assert entry.id > before
    assert (entry.actor, entry.event) == (caller.name, event)
    # The second submission of one moment is a microsecond later, and its entry with it.
    moment = NOW + timedelta(microseconds=1) if action is submissions.submit else NOW
    assert entry.at == moment
    assert (entry.course, entry.assignment, entry.student) == (course, assignment, student)
    assert entry.course_id is not None


def test_detail_of_entries(act: Act) -> None:
    act(roster_import.import_students, INSTRUCTOR, COURSE, [roster.Person("b"), roster.Person("a")])
    assert act(last_entry).detail == {"count": 2, "changed": 2}
    act(feedback.give_feedback, INSTRUCTOR, COURSE, "ps1", "sam", format_time(NOW), FILES)
    assert act(last_entry).detail == {"files": 1, "timestamp": format_time(NOW)}


def test_a_new_course_has_an_entry_for_each_instructor(act: Act) -> None:
    act(courses.create_course, ADMIN, "New", ["b", "a", "b"])
    query = select(AuditEntry.event, AuditEntry.actor, AuditEntry.at, AuditEntry.detail)
    query = query.where(AuditEntry.course == "New").order_by(AuditEntry.id)
    rows = act(lambda connection: connection.execute(query).all())
    assert [tuple(row) for row in rows] == [
        ("course created", ADMIN.name, NOW, {"count": 2}),
        ("instructor added", ADMIN.name, NOW, {"instructor": "b"}),
        ("instructor added", ADMIN.name, NOW, {"instructor": "a"}),
    ]


def test_entries_of_a_new_course_do_not_grow_with_the_number_of_instructors(act: Act) -> None:
    act(courses.create_course, ADMIN, "New", [f"instructor {number}" for number in range(2000)])
    query = select(AuditEntry.detail).where(AuditEntry.course == "New")
    details = act(lambda connection: list(connection.scalars(query)))
    assert len(details) == 2001
    assert max(len(json.dumps(detail)) for detail in details) < 100


def students_added(connection: Connection) -> list[str | None]:
    query = select(AuditEntry.student).where(AuditEntry.event == "student added")
    return list(connection.scalars(query.order_by(AuditEntry.id)))


def test_an_import_has_an_entry_for_each_student_who_is_new_or_changed(act: Act) -> None:
    before = act(students_added)
    people = [roster.Person(name, "", "", "") for name in ("b", "a", "b")]
    act(roster_import.import_students, INSTRUCTOR, COURSE, people)
    act(roster.remove_student, INSTRUCTOR, COURSE, "b")
    people.append(roster.Person("a", "", "", "a@x.edu"))
    act(roster_import.import_students, INSTRUCTOR, COURSE, people)
    assert act(students_added) == [*before, "a", "b", "a", "b"]
    act(roster_import.import_students, INSTRUCTOR, COURSE, people)
    assert act(students_added) == [*before, "a", "b", "a", "b"]
    assert act(last_entry).detail == {"count": 2, "changed": 0}


def test_the_entry_of_an_import_does_not_grow_with_the_number_of_students(act: Act) -> None:
    names = (f"student {number}" for number in range(2000))
    act(roster_import.import_students, INSTRUCTOR, COURSE, [roster.Person(name) for name in names])
    assert act(last_entry).detail == {"count": 2000, "changed": 2000}
