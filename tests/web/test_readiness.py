"""Readiness: it names what does not answer, in time, and asks seldom."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ngshare.blobs import LocalBlobs
from ngshare.db import migrate
from ngshare.web.service import Service
from tests.conftest import Api

pytestmark = pytest.mark.gen_test


class Question:
    """Asked instead of a part of the service; can fail, and keep whoever asks waiting."""

    def __init__(self) -> None:
        self.asked = 0
        self.error: Exception | None = None
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self) -> None:
        self.asked += 1
        self.go_on.wait()
        if self.error is not None:
            raise self.error


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The clock of readiness, which stands still until it is told."""

    class Clock:
        now = 1000.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr("ngshare.web.monitoring.readiness.time", clock)
    return clock


@pytest.fixture
def questions(service: Service) -> Iterator[tuple[Question, Question]]:
    """What is asked instead of the database and of the storage."""
    asked = Question(), Question()
    for check, question in zip(service.readiness._checks, asked, strict=True):
        check._function = question
        check._patience = 0.05
    yield asked
    for question in asked:
        question.go_on.set()


@pytest.mark.parametrize("path", ["/readyz", "/api/readyz"])
async def test_all_is_well(api: Api, path: str) -> None:
    for headers in ({}, {"Accept": "text/html"}, {"Authorization": "token unknown"}):
        assert (await api.send_to("GET", path, headers=headers)).success() == {"success": True}


async def test_what_is_ill_is_named_and_nothing_else(
    api: Api, questions: tuple[Question, Question], now: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "ngshare")
    database, storage = questions
    for ill, message in (
        ((database,), "Not ready: database"),
        ((storage,), "Not ready: storage"),
        ((database, storage), "Not ready: database and storage"),
    ):
        for question in questions:
            question.error = OSError("a detail") if question in ill else None
        now.now += 1
        assert (await api.get("readyz")).failure == (503, message)
    assert "a detail" in caplog.text
    for question in questions:
        question.error = None
    now.now += 1
    (await api.get("readyz")).success()
    assert "The storage answers again" in caplog.text


async def test_what_stays_ill_is_logged_once(
    api: Api, questions: tuple[Question, Question], now: Any, caplog: pytest.LogCaptureFixture
) -> None:
    questions[0].error = OSError("a detail")
    for _ in range(3):
        now.now += 1
        assert (await api.get("readyz")).status == 503
    assert caplog.text.count("a detail") == 1
    assert questions[0].asked == 3


async def test_however_often_it_is_asked_each_part_is_asked_once_a_second(
    api: Api, questions: tuple[Question, Question], now: Any
) -> None:
    for seconds in (0, 0.5, 0.4, 0.2, 0.9):
        now.now += seconds
        for reply in await asyncio.gather(*(api.get("readyz") for _ in range(10))):
            reply.success()
    assert [question.asked for question in questions] == [2, 2]


@pytest.mark.parametrize("stuck", [0, 1])
async def test_a_part_that_does_not_answer_is_ill_and_asked_no_second_time(
    api: Api, questions: tuple[Question, Question], stuck: int
) -> None:
    questions[stuck].go_on.clear()
    for _ in range(3):
        reply = await api.get("readyz")
        assert reply.failure == (503, f"Not ready: {('database', 'storage')[stuck]}")
        (await api.get("healthz")).success()
    assert questions[stuck].asked == 1
    questions[stuck].go_on.set()
    while (await api.get("readyz")).status != 200:
        pass


async def test_it_answers_when_all_threads_of_the_database_are_stuck(
    api: Api, service: Service
) -> None:
    go_on = threading.Event()
    wait: Callable[[Any], bool] = lambda connection: go_on.wait()  # noqa: E731  # an action
    stuck = asyncio.ensure_future(service.read(wait))
    try:
        (await api.get("readyz")).success()
    finally:
        go_on.set()
        await stuck


async def test_a_storage_that_cannot_be_written_is_ill(
    api: Api, blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blobs, "incoming", Path("/proc/self"))
    assert (await api.get("readyz")).failure == (503, "Not ready: storage")


async def test_a_database_of_another_revision_is_ill(
    api: Api, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    """One of ngshare 0.6 that somebody put in its place has a table courses too."""
    (await api.get("readyz")).success()
    for statement in (
        "UPDATE alembic_version SET version_num = '1921a169739b'",
        "DELETE FROM alembic_version",
    ):
        await service.write(
            lambda connection, statement=statement: connection.exec_driver_sql(statement)
        )
        while (await api.get("readyz")).status == 200:
            pass
        assert (await api.get("readyz")).failure == (503, "Not ready: database")
    assert f"it is at revision 1921a169739b, this ngshare needs {migrate.head()}" in caplog.text


async def test_a_database_without_its_tables_is_ill(api: Api, service: Service) -> None:
    await service.write(lambda connection: connection.exec_driver_sql("DROP TABLE audit_log"))
    (await api.get("readyz")).success()
    await service.write(
        lambda connection: connection.exec_driver_sql("ALTER TABLE courses RENAME TO gone")
    )
    while (await api.get("readyz")).status == 200:
        pass
    assert (await api.get("readyz")).failure == (503, "Not ready: database")
