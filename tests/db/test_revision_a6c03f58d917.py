"""Revision a6c03f58d917 adds keys of requests to submissions, and tables for uploads."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select

from ngshare.db import migrate
from ngshare.db.models import Submission
from ngshare.db.transactions import Database
from ngshare.db.urls import parse_url
from tests.databases import Databases
from tests.migrations import contents, fill_at_revision, losses

BEFORE = "84e1b6f3a2d5"


def day(number: int) -> datetime:
    return datetime(2026, 1, number, tzinfo=timezone.utc)


def rows() -> Iterator[tuple[str, dict[str, Any]]]:
    yield "users", {"id": 1, "name": "sam"}
    yield "courses", {"id": 1, "name": "Physics 101", "created_at": day(1)}
    yield "trees", {"id": 1, "course_id": 1, "size": 0}
    assignment = {"id": 1, "course_id": 1, "name": "ps1", "tree_id": 1, "released_at": day(1)}
    yield "assignments", assignment
    for number in (1, 2):
        submission = {"id": number, "assignment_id": 1, "student_id": 1, "tree_id": 1}
        yield "submissions", {**submission, "submitted_at": day(number + 1)}


def test_submissions_from_before_have_no_key(databases: Databases, tmp_path: Path) -> None:
    with databases.copy(None, tmp_path) as text:
        url = parse_url(text)
        fill_at_revision(url, BEFORE, rows())
        before = contents(url)
        assert migrate.upgrade(url) == (BEFORE, migrate.head())
        assert losses(before, contents(url)) == []
        database = Database(url)
        query = select(Submission.idempotency_key).order_by(Submission.id)
        keys = database.read(lambda connection: list(connection.scalars(query)))
        more = {"assignment_id": 1, "student_id": 1, "submitted_at": day(9), "tree_id": 1}
        database.write(lambda connection: connection.execute(insert(Submission), more).rowcount)
        database.close()
    assert keys == [None, None]
