"""Reads on their way to the audit log: nothing is lost but what could not be written."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timezone
from typing import Any

import pytest

from ngshare.actions.audit import ReadEvent
from ngshare.errors import OutcomeUnknown, Unavailable
from ngshare.web import read_log as module
from ngshare.web.read_log import ReadLog

pytestmark = pytest.mark.gen_test

NOW = datetime(2026, 11, 23, tzinfo=timezone.utc)


def read(number: int) -> ReadEvent:
    return ReadEvent(NOW, f"s{number}", "assignment fetched", "c", "ps1", None, None)


class Database:
    """Takes reads, unless it is told not to, and counts those it was given up for."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.batches: list[int] = []
        self.dropped = 0
        self.error: Unavailable | None = None
        self.failures = 0
        self.answering = asyncio.Event()
        self.answering.set()
        self.took = asyncio.Event()

    async def write(self, batch: Sequence[ReadEvent]) -> None:
        await self.answering.wait()
        if self.error is not None:
            self.failures += 1
            raise self.error
        self.written += [read.actor for read in batch]
        self.batches.append(len(batch))
        self.took.set()

    def drop(self, count: int) -> None:
        self.dropped += count


async def started(monkeypatch: pytest.MonkeyPatch, **limits: float) -> tuple[Database, ReadLog]:
    for name, value in limits.items():
        monkeypatch.setattr(module, name, value)
    database = Database()
    return database, ReadLog(database.write, database.drop)


Start = Callable[..., Awaitable[tuple[Database, ReadLog]]]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    return lambda **limits: started(monkeypatch, **limits)


def names(count: int) -> list[str]:
    return [f"s{number}" for number in range(count)]


async def test_reads_are_written_by_themselves(start: Start) -> None:
    database, log = await start(FLUSH_SECONDS=0.001)
    for number in range(3):
        log.add(read(number))
    assert database.written == []
    await database.took.wait()
    assert database.written == names(3)


async def test_many_are_written_at_once_in_batches(start: Start) -> None:
    database, log = await start(FLUSH_SECONDS=3600, BATCH_SIZE=4)
    for number in range(10):
        log.add(read(number))
    await database.took.wait()
    await log.flush()
    assert database.written == names(10)
    assert database.batches == [4, 4, 2]


async def test_those_that_come_while_others_are_written_follow(start: Start) -> None:
    database, log = await start(FLUSH_SECONDS=0.001, BATCH_SIZE=2)
    database.answering.clear()
    for number in range(2):
        log.add(read(number))
    await asyncio.sleep(0)
    for number in range(2, 5):
        log.add(read(number))
    database.answering.set()
    while len(database.written) < 5:  # noqa: ASYNC110  # it has no event for that
        await asyncio.sleep(0.001)
    assert database.written == names(5)


async def test_a_database_that_comes_back_gets_all_of_them_in_order(start: Start) -> None:
    database, log = await start(FLUSH_SECONDS=0.001, BATCH_SIZE=2)
    database.error = Unavailable("The database does not answer")
    for number in range(5):
        log.add(read(number))
    while database.failures < 3:  # noqa: ASYNC110  # it has no event for that
        await asyncio.sleep(0.001)
    assert database.written == []
    database.error = None
    while len(database.written) < 5:  # noqa: ASYNC110  # it has no event for that
        await asyncio.sleep(0.001)
    assert database.written == names(5)
    assert database.dropped == 0


async def test_memory_is_bounded_and_what_is_dropped_is_counted(start: Start) -> None:
    database, log = await start(FLUSH_SECONDS=3600, BUFFER_LIMIT=10)
    for number in range(25):
        log.add(read(number))
    assert database.dropped == 15
    await log.flush()
    assert database.written == names(25)[15:]


async def test_what_may_be_in_the_log_already_is_not_written_again(start: Start) -> None:
    database, log = await start(FLUSH_SECONDS=3600)
    log.add(read(0))
    database.error = OutcomeUnknown()
    await log.flush()
    database.error = None
    log.add(read(1))
    await log.flush()
    assert database.written == ["s1"]
    assert database.dropped == 0


async def test_at_the_end_nothing_is_left_behind(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    database, log = await start(FLUSH_SECONDS=3600)
    log.add(read(0))
    await log.flush()
    await log.flush()
    assert database.written == names(1)
    database.error = Unavailable("The database does not answer")
    log.add(read(1))
    await log.flush()
    assert database.dropped == 1
    assert "Reads that are missing from the audit log: 1" in caplog.text


async def test_the_end_waits_for_what_is_being_written(start: Start) -> None:
    database, log = await start(FLUSH_SECONDS=3600, BATCH_SIZE=1)
    database.answering.clear()
    log.add(read(0))
    await asyncio.sleep(0)
    end: Any = asyncio.ensure_future(log.flush())
    await asyncio.sleep(0)
    assert not end.done()
    database.answering.set()
    await end
    assert database.written == names(1)
