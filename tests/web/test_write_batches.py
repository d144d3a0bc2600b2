"""Writes that wait at the same time share a transaction, and each succeeds or fails by itself."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, func, insert, select, text
from sqlalchemy.exc import OperationalError

from ngshare.db.batches import run_together
from ngshare.db.models import User
from ngshare.db.transactions import Database
from ngshare.errors import Conflict, OutOfSpace, Unavailable
from ngshare.web.service import Service
from ngshare.web.write_batches import MAX_BATCH, WriteBatches

pytestmark = pytest.mark.gen_test


@pytest.fixture
def batches(service: Service) -> WriteBatches:
    """Batches as the service makes them on SQLite; here on PostgreSQL as well."""
    return WriteBatches(service.database, service._in_database_thread)


@contextlib.contextmanager
def counted_commits() -> Iterator[list[Connection]]:
    commits: list[Connection] = []

    def note(connection: Connection) -> None:
        commits.append(connection)

    event.listen(Engine, "commit", note)
    try:
        yield commits
    finally:
        event.remove(Engine, "commit", note)


def add_user(connection: Connection, name: str) -> str:
    connection.execute(insert(User), {"name": name})
    return name


def names(database: Database) -> set[str]:
    query = select(User.name).where(User.name.like("b-%"))
    return database.read(lambda connection: set(connection.scalars(query)))


async def test_writes_of_one_moment_share_a_commit(
    batches: WriteBatches, database: Database
) -> None:
    users = [f"b-{number:03}" for number in range(2 * MAX_BATCH)]
    with counted_commits() as commits:
        results = await asyncio.gather(
            *(batches.write(lambda connection, n=n: add_user(connection, n)) for n in users)
        )
    assert results == users
    assert names(database) == set(users)
    assert len(commits) == 2


async def test_a_service_on_sqlite_uses_them(service: Service, database: Database) -> None:
    with counted_commits() as commits:
        await asyncio.gather(*(service.write(add_user, f"b-{number}") for number in range(8)))
    assert len(names(database)) == 8
    is_sqlite = database.url.get_backend_name() == "sqlite"
    assert len(commits) == (1 if is_sqlite else 8)


async def test_a_refused_action_undoes_its_own_changes_only(
    batches: WriteBatches, database: Database
) -> None:
    def refuse(connection: Connection) -> None:
        add_user(connection, "b-refused")
        raise Conflict("no")

    first, refused, last = await asyncio.gather(
        batches.write(lambda connection: add_user(connection, "b-first")),
        batches.write(refuse),
        batches.write(lambda connection: add_user(connection, "b-last")),
        return_exceptions=True,
    )
    assert (first, last) == ("b-first", "b-last")
    assert isinstance(refused, Conflict)
    assert names(database) == {"b-first", "b-last"}


async def test_an_action_that_lost_a_race_is_run_again_by_itself(
    batches: WriteBatches, database: Database
) -> None:
    attempts: list[int] = []

    def collide_once(connection: Connection) -> int:
        attempts.append(len(attempts))
        add_user(connection, "b-first" if len(attempts) == 1 else "b-again")
        return len(attempts)

    results = await asyncio.gather(
        batches.write(lambda connection: add_user(connection, "b-first")),
        batches.write(collide_once),
        batches.write(lambda connection: add_user(connection, "b-last")),
    )
    assert results == ["b-first", 2, "b-last"]
    assert names(database) == {"b-first", "b-again", "b-last"}


async def test_when_the_disk_is_full_for_one_the_others_are_stored(
    batches: WriteBatches, database: Database
) -> None:
    def fill(connection: Connection) -> None:
        add_user(connection, "b-full")
        raise OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))

    first, full, last = await asyncio.gather(
        batches.write(lambda connection: add_user(connection, "b-first")),
        batches.write(fill),
        batches.write(lambda connection: add_user(connection, "b-last")),
        return_exceptions=True,
    )
    assert (first, last) == ("b-first", "b-last")
    assert isinstance(full, OutOfSpace)
    assert names(database) == {"b-first", "b-last"}


async def test_a_commit_that_fails_fails_all_of_them(
    batches: WriteBatches, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> Any:
        raise Unavailable("The exchange's database does not answer; please try again")

    monkeypatch.setattr(database, "write_attempts", refuse)
    results = await asyncio.gather(
        *(batches.write(lambda connection: add_user(connection, "b")) for _ in range(3)),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [Unavailable] * 3
    monkeypatch.undo()
    assert await batches.write(lambda connection: add_user(connection, "b-next")) == "b-next"


def test_nothing_is_stored_when_the_transaction_of_all_fails(database: Database) -> None:
    def count(connection: Connection) -> int:
        return connection.scalar(select(func.count()).select_from(User)) or 0

    def both(connection: Connection) -> None:
        outcomes = run_together(connection, [lambda connection: add_user(connection, "b-1"), count])
        assert outcomes[1] is not None and outcomes[1].result > 0
        connection.execute(text("SELECT no_such_column FROM users"))

    with pytest.raises(Exception, match=r"no_such_column|does not answer"):
        database.write(both)
    assert names(database) == set()
