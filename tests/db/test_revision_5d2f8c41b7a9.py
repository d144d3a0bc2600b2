"""Revision 5d2f8c41b7a9 finds when each user was first seen."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, select

from ngshare.db import migrate
from ngshare.db.models import User
from ngshare.db.transactions import Database
from ngshare.db.urls import parse_url
from tests.databases import Databases
from tests.migrations import contents, fill_at_revision, losses

BEFORE = "3b9e5d70c146"


def day(number: int) -> datetime:
    return datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(days=number, microseconds=number)


def rows() -> Iterator[tuple[str, dict[str, Any]]]:
    for number, name in enumerate(("ivy", "sam", "tom", "named"), 1):
        yield "users", {"id": number, "name": name}
    yield "courses", {"id": 1, "name": "Physics 101", "created_at": day(0)}
    yield "trees", {"id": 1, "course_id": 1, "size": 0}
    assignment = {"id": 1, "course_id": 1, "name": "ps1", "tree_id": 1, "released_at": day(0)}
    yield "assignments", assignment
    for number, student, at in ((1, 2, day(5)), (2, 2, day(3)), (3, 3, day(6))):
        submission = {"id": number, "assignment_id": 1, "student_id": student, "tree_id": 1}
        yield "submissions", {**submission, "submitted_at": at}
    for at, actor, student in (
        (day(2), "ivy", "named"),
        (day(1), "ivy", None),
        (day(4), "sam", "sam"),
        (day(4), "tom", "tom"),
        (day(1), "shell:root", None),
    ):
        yield "audit_log", {"at": at, "actor": actor, "event": "x", "student": student}


@pytest.fixture
def url(databases: Databases, tmp_path: Path) -> Iterator[URL]:
    """A database of the revision before, with these rows."""
    with databases.copy(None, tmp_path) as text:
        url = parse_url(text)
        fill_at_revision(url, BEFORE, rows())
        yield url


def test_the_earliest_that_is_told_of_each_user(url: URL) -> None:
    before = contents(url)
    assert migrate.upgrade(url) == (BEFORE, migrate.head())
    database = Database(url)
    query = select(User.name, User.first_seen_at)
    seen = database.read(lambda connection: dict(connection.execute(query).all()))
    database.close()
    assert seen == {"ivy": day(1), "sam": day(3), "tom": day(4), "named": None}
    assert losses(before, contents(url)) == []
