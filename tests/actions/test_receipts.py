"""The key that signs receipts: made once, and carried along wherever the rows go."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from ngshare.actions import receipts
from ngshare.admin import copy_rows
from ngshare.db.models import SigningKey
from ngshare.db.transactions import Database
from ngshare.db.urls import parse_url
from tests.databases import SqliteDatabases, make_database


def keys(connection: Connection) -> list[bytes]:
    return list(connection.scalars(select(SigningKey.private_key)))


def test_processes_that_make_the_key_at_once_make_one(database: Database) -> None:
    both = threading.Barrier(2)
    made: list[bytes] = []

    def make(connection: Connection) -> bytes:
        receipts.make_key(connection)
        return receipts.get_public_key(connection)

    def run() -> None:
        both.wait()
        made.append(database.write(make))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(database.read(keys)) == 1
    assert made == [database.read(receipts.get_public_key)] * 2


def test_a_key_that_another_process_made_meanwhile_is_used(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first attempt does not see the key, as on PostgreSQL before the other commits."""
    database.write(receipts.make_key)
    before = database.read(keys)
    queries = iter([select(SigningKey.private_key).where(SigningKey.id == 0)])
    real = receipts._KEY

    def make(connection: Connection) -> None:
        monkeypatch.setattr(receipts, "_KEY", next(queries, real))
        receipts.make_key(connection)

    database.write(make)
    assert next(queries, None) is None
    assert database.read(keys) == before


def test_a_copy_of_the_rows_has_the_key(
    database: Database, sqlite_databases: SqliteDatabases, tmp_path: Path
) -> None:
    """From SQLite to either kind of database, where another key was in use."""
    template = sqlite_databases.template("migrated", make_database)
    (tmp_path / "source").mkdir()
    with sqlite_databases.copy(template, tmp_path / "source") as url:
        source = Database(parse_url(url))
        source.write(receipts.make_key)
        database.write(receipts.make_key)

        def copy(rows: Connection) -> None:
            database.write(copy_rows.replace_rows, rows)

        assert database.read(keys) != source.read(keys)
        source.read(copy)
        assert database.read(keys) == source.read(keys)
        source.close()
