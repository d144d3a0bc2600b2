"""A SQLite database whose file is deleted or replaced while it is open."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DisconnectionError

from ngshare.db import outage, sqlite
from ngshare.db.transactions import Database
from ngshare.db.urls import parse_url
from ngshare.errors import Unavailable


@pytest.fixture
def path(tmp_path: Path, migrated: Path) -> Path:
    path = tmp_path / "ngshare.db"
    shutil.copy(migrated, path)
    return path


@pytest.fixture
def database(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """An open database, with a connection that was used."""
    monkeypatch.setattr(outage, "REFUSE_SECONDS", 0)
    database = Database(parse_url(f"sqlite:///{path}"))
    database.write(add_user, "ada")
    yield database
    database.close()


def add_user(connection: Connection, name: str) -> None:
    connection.execute(text("INSERT INTO users (name) VALUES (:name)"), {"name": name})


def names(connection: Connection) -> list[str]:
    return list(connection.scalars(text("SELECT name FROM users ORDER BY name")))


def files(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}*"))


def test_no_write_to_a_deleted_file_is_acknowledged(
    database: Database, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for file in files(path):
        file.unlink()
    for _ in range(2):
        with pytest.raises(Unavailable):
            database.write(add_user, "grace")
        with pytest.raises(Unavailable):
            database.read(names)
    assert files(path) == [], "an empty one in its place would be taken for a new site"
    assert "unable to open database file" in caplog.text


def test_requests_succeed_when_the_file_is_back(database: Database, path: Path) -> None:
    away = path.rename(path.with_name("away.db"))
    with pytest.raises(Unavailable):
        database.write(add_user, "grace")
    away.rename(path)
    database.write(add_user, "linus")
    assert database.read(names) == ["ada", "linus"]


def test_requests_use_a_replacing_file(database: Database, path: Path, migrated: Path) -> None:
    for file in files(path):
        file.unlink()
    shutil.copy(migrated, path)
    database.write(add_user, "grace")
    assert database.read(names) == ["grace"]
    with sqlite3.connect(path) as other:
        assert other.execute("SELECT name FROM users").fetchall() == [("grace",)]
    other.close()


def test_a_replacing_file_beside_the_old_wal_is_not_opened(
    database: Database, path: Path, migrated: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fresh = path.with_name("fresh.db")
    shutil.copy(migrated, fresh)
    fresh.rename(path)
    with pytest.raises(Unavailable):
        database.write(add_user, "grace")
    assert f"{path}-wal is still that of the one before" in caplog.text
    # What the message says works.
    database.close()
    for file in files(path):
        if file != path:
            file.unlink()
    again = Database(database.url)
    again.write(add_user, "linus")
    assert again.read(names) == ["linus"]
    again.close()


def test_a_wal_file_created_later_is_recognized(tmp_path: Path) -> None:
    file, log, fresh = (tmp_path / name for name in ("site.db", "site.db-wal", "fresh.db"))
    known: dict[str, Any] = {}
    file.touch()
    sqlite._check_file(str(file), known)
    log.touch()
    sqlite._check_file(str(file), known)
    fresh.touch()
    fresh.rename(file)
    with pytest.raises(sqlite3.OperationalError, match="still that of the one before"):
        sqlite._check_file(str(file), known)
    log.unlink()
    with pytest.raises(DisconnectionError):
        sqlite._check_file(str(file), known)
