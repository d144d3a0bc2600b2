"""A time read from the database as text equals the formatted time."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from sqlalchemy import Connection, literal_column, select, text, type_coerce, update

from ngshare.actions import assignments, submissions
from ngshare.db.models import Submission, UtcText
from ngshare.protocol.times import format_time
from tests.actions.conftest import COURSE, INSTRUCTOR, STUDENT, Act
from tests.databases import only_postgresql, only_sqlite

MOMENTS = [
    datetime(2026, 3, 29, 1, 30, tzinfo=timezone.utc),
    datetime(2026, 11, 26, 23, 58, 59, 999_999, timezone.utc),
    datetime(2026, 1, 1, 1, 0, 0, 1, timezone(timedelta(hours=2))),
    datetime(833, 1, 1, tzinfo=timezone.utc),
]


@pytest.mark.parametrize("moment", MOMENTS, ids=str)
def test_the_text_has_the_format_that_clients_compare(act: Act, moment: datetime) -> None:
    act(assignments.release_assignment, INSTRUCTOR, COURSE, "ps1", [])
    act(submissions.submit, STUDENT, COURSE, "ps1", [])

    def hand_in_then(connection: Connection) -> None:
        connection.execute(update(Submission).values(submitted_at=moment))

    act(hand_in_then)
    [submission] = act(submissions.list_submissions, INSTRUCTOR, COURSE, "ps1")
    assert submission.timestamp == format_time(moment)
    assert act(submissions.collect, INSTRUCTOR, COURSE, "ps1", STUDENT.name, None)[0] == moment


def test_null_is_none(act: Act) -> None:
    def read(connection: Connection) -> object:
        return connection.scalar(select(type_coerce(literal_column("NULL"), UtcText)))

    assert act(read) is None


@only_sqlite
def test_a_time_that_another_program_stored_without_microseconds(act: Act) -> None:
    def read(connection: Connection) -> object:
        written = literal_column("'2026-01-01 10:00:00'")
        return connection.scalar(select(type_coerce(written, UtcText)))

    assert act(read) == "2026-01-01 10:00:00.000000 UTC"


@only_postgresql
def test_a_time_that_postgresql_returns_in_another_zone(act: Act) -> None:
    def read(connection: Connection) -> object:
        connection.execute(text("SET LOCAL TIME ZONE 'America/New_York'"))
        written = literal_column("TIMESTAMPTZ '2026-01-01 10:00:00.5+00'")
        return connection.scalar(select(type_coerce(written, UtcText)))

    assert act(read) == "2026-01-01 10:00:00.500000 UTC"
