"""Students who have not submitted, or not in time."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from ngshare.actions import assignments, roster, submissions
from ngshare.actions.access import Caller
from ngshare.actions.missing import MissingStudent, list_missing
from ngshare.errors import Forbidden, NotFound
from tests.actions.conftest import COURSE, INSTRUCTOR, STRANGER, STUDENT, Act

DEADLINE = datetime(2026, 10, 1, 12, tzinfo=timezone.utc)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def act(act: Act, monkeypatch: pytest.MonkeyPatch) -> Act:
    """An assignment, and students who submitted early, late, both, at the deadline and never."""
    act(assignments.release_assignment, INSTRUCTOR, COURSE, "ps1", [])
    act(assignments.release_assignment, INSTRUCTOR, COURSE, "ps2", [])
    for name, moments in (
        ("early", [DEADLINE - MINUTE]),
        ("late", [DEADLINE + MINUTE, DEADLINE + 2 * MINUTE]),
        ("both", [DEADLINE - MINUTE, DEADLINE + MINUTE]),
        ("punctual", [DEADLINE]),
        ("gone", []),
    ):
        act(roster.put_student, INSTRUCTOR, COURSE, name, name.title(), "X", f"{name}@x.edu")
        for moment in moments:
            monkeypatch.setattr("ngshare.actions.audit.now", lambda moment=moment: moment)
            act(submissions.submit, Caller(name), COURSE, "ps1", [])
    act(submissions.submit, STUDENT, COURSE, "ps2", [])
    act(submissions.submit, INSTRUCTOR, COURSE, "ps1", [])
    act(roster.remove_student, INSTRUCTOR, COURSE, "gone")
    return act


def test_students_without_a_submission(act: Act) -> None:
    assert act(list_missing, INSTRUCTOR, COURSE, "ps1", None) == [
        MissingStudent("sam", "Sam", "Sun", "", None)
    ]


def test_students_without_a_submission_by_the_deadline(act: Act) -> None:
    assert act(list_missing, INSTRUCTOR, COURSE, "ps1", DEADLINE) == [
        MissingStudent("late", "Late", "X", "late@x.edu", DEADLINE + MINUTE),
        MissingStudent("sam", "Sam", "Sun", "", None),
    ]
    missing = act(list_missing, INSTRUCTOR, COURSE, "ps1", DEADLINE - 2 * MINUTE)
    assert [one.username for one in missing] == ["both", "early", "late", "punctual", "sam"]


def test_permissions(act: Act) -> None:
    for caller in (STUDENT, STRANGER):
        with pytest.raises(Forbidden):
            act(list_missing, caller, COURSE, "ps1", None)
    with pytest.raises(NotFound, match="Assignment not found"):
        act(list_missing, INSTRUCTOR, COURSE, "ps9", None)
