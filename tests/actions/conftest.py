"""A database with one course, and ``act(action, caller, ...)``, which runs one transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ngshare.actions import courses, roster
from ngshare.actions.access import Caller
from ngshare.db.transactions import Database

ADMIN = Caller("root", admin=True)
INSTRUCTOR = Caller("ivy")
STUDENT = Caller("sam")
STRANGER = Caller("zoe")
COURSE = "Physics 101"

Act = Callable[..., Any]


@pytest.fixture
def act(database: Database) -> Act:
    """Return a function that runs an action in its own transaction, on a database with a course."""
    database.write(courses.create_course, ADMIN, COURSE, [INSTRUCTOR.name])
    database.write(roster.put_student, INSTRUCTOR, COURSE, STUDENT.name, "Sam", "Sun", "")
    return database.write
