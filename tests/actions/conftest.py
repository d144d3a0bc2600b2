"""A course to act in, and a way to act: ``act(action, caller, ...)`` is one transaction."""

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
    """Run an action, in a transaction of its own, on a database with one course in it."""
    database.write(courses.create_course, ADMIN, COURSE, [INSTRUCTOR.name])
    database.write(roster.put_student, INSTRUCTOR, COURSE, STUDENT.name, "Sam", "Sun", "")
    return database.write
