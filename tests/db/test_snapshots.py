"""Backups of a SQLite database: complete, durable, limited in number, and with space for them."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ngshare.db import snapshots
from ngshare.db.snapshots import DiskFull, backup_before_upgrade, backup_sqlite, list_backups


def make(path: Path, mode: str = "DELETE", value: str = "a") -> Path:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA journal_mode={mode}")
        connection.execute("CREATE TABLE t (x, y)")
        connection.execute("INSERT INTO t VALUES (?, 0)", [value])
    return path


def query(path: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return make(tmp_path / "ngshare.db")


def test_a_copy_has_the_content_of_the_database(database: Path, tmp_path: Path) -> None:
    size = backup_sqlite(database, tmp_path / "copy")
    assert query(tmp_path / "copy", "SELECT * FROM t") == [("a", 0)]
    assert size == (tmp_path / "copy").stat().st_size
    assert sorted(os.listdir(tmp_path)) == ["copy", "ngshare.db"]


def test_a_copy_includes_the_wal(tmp_path: Path) -> None:
    database = make(tmp_path / "wal.db", "WAL")
    with closing(sqlite3.connect(database, isolation_level=None)) as writer:
        writer.execute("INSERT INTO t VALUES ('in the wal', 1)")
        backup_sqlite(database, tmp_path / "copy")
    alone = tmp_path / "elsewhere"
    alone.mkdir()
    shutil.copy(tmp_path / "copy", alone)
    assert query(alone / "copy", "SELECT x FROM t") == [("a",), ("in the wal",)]


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_the_database_keeps_its_journal_mode(tmp_path: Path, mode: str) -> None:
    database = make(tmp_path / "ngshare.db", mode)
    backup_sqlite(database, tmp_path / "copy")
    assert query(database, "PRAGMA journal_mode") == [(mode,)]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o777])
def test_only_its_owner_can_read_the_copy(database: Path, tmp_path: Path, mode: int) -> None:
    database.chmod(mode)
    backup_sqlite(database, tmp_path / "copy")
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600
    assert database.stat().st_mode & 0o777 == mode


def test_a_copy_under_load_is_consistent(tmp_path: Path) -> None:
    database = make(tmp_path / "ngshare.db", "WAL")
    stop = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(database, isolation_level=None, timeout=60)) as writer:
            while not stop.is_set():
                writer.execute("BEGIN IMMEDIATE")
                for y in (1, 2):
                    writer.execute("INSERT INTO t SELECT max(rowid), ? FROM t", [y])
                writer.execute("COMMIT")

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for number in range(3):
            copy = tmp_path / f"copy{number}"
            backup_sqlite(database, copy)
            assert len(set(query(copy, "SELECT count(*) FROM t WHERE y > 0 GROUP BY y"))) <= 1
            assert query(copy, "PRAGMA integrity_check") == [("ok",)]
    finally:
        stop.set()
        thread.join()


def test_copying_a_missing_database_fails(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        backup_sqlite(tmp_path / "absent.db", tmp_path / "copy")
    assert os.listdir(tmp_path) == []


def test_a_full_disk(database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=snapshots.SPARE_BYTES)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(DiskFull, match=r"a copy needs 2 MiB in .*, and 1 are free"):
        backup_sqlite(database, tmp_path / "copy")
    assert os.listdir(tmp_path) == ["ngshare.db"]


def test_an_unfinished_copy_is_replaced(database: Path, tmp_path: Path) -> None:
    (tmp_path / "copy.part").write_bytes(b"half of it")
    backup_sqlite(database, tmp_path / "copy")
    assert sorted(os.listdir(tmp_path)) == ["copy", "ngshare.db"]


# Before upgrades


def change(database: Path, number: int) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("INSERT INTO t VALUES ('more', ?)", [number])


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that advances by a second at every call."""
    real = snapshots.datetime
    seconds = iter(range(60))

    class Clock:
        @staticmethod
        def now(zone: Any) -> Any:
            return real(2026, 1, 31, 18, 5, next(seconds), 123456, zone)

    monkeypatch.setattr(snapshots, "datetime", Clock)


@pytest.mark.usefixtures("ticking")
def test_the_name_has_the_revision_and_the_time(database: Path) -> None:
    path = backup_before_upgrade(database, "1921a169739b")
    assert path.name == "ngshare.db.backup-20260131T180500.123Z-1921a169739b"
    (backup,) = list_backups(database)
    assert (backup.path, backup.revision) == (path, "1921a169739b")


@pytest.mark.usefixtures("ticking")
def test_the_last_five_are_kept(database: Path, tmp_path: Path) -> None:
    mine = tmp_path / "ngshare.db.backup-mine"
    mine.write_bytes(b"an administrator's own")
    made = []
    for number in range(8):
        change(database, number)
        made.append(backup_before_upgrade(database, "aa00db20c10a"))
    assert [backup.path for backup in list_backups(database)] == made[:2:-1]
    assert mine.exists()
    assert query(made[-1], "SELECT count(*) FROM t") == [(9,)]


@pytest.mark.usefixtures("ticking")
def test_repeated_attempts_leave_one_backup(database: Path) -> None:
    old = backup_before_upgrade(database, "aa00db20c10a")
    change(database, 1)
    for _ in range(9):
        last = backup_before_upgrade(database, "1921a169739b")
    assert [backup.path for backup in list_backups(database)] == [last, old]


@pytest.mark.usefixtures("ticking")
def test_unfinished_backups_are_deleted_first(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = "ngshare.db.backup-20260130T000000.00{}Z-1921a169739b.part"
    others = {"ngshare.db.backup-mine.part", f"other-{left.format(1)}"}
    for name in (left.format(1), left.format(2), f"{left.format(2)}-journal", *others):
        (tmp_path / name).write_bytes(b"half of it")

    def disk_usage(folder: Path) -> Any:
        full = any(".00" in name and name.startswith(left[:28]) for name in os.listdir(folder))
        return usage._replace(free=0 if full else 1 << 40)

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    made = backup_before_upgrade(database, "1921a169739b")
    assert set(os.listdir(tmp_path)) == {"ngshare.db", made.name, *others}


@pytest.mark.usefixtures("ticking")
def test_older_backups_are_kept_when_the_disk_is_full(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    for number in range(5):
        change(database, number)
        made.append(backup_before_upgrade(database, None))
    monkeypatch.setattr(snapshots, "SPARE_BYTES", 1 << 60)
    with pytest.raises(DiskFull):
        backup_before_upgrade(database, None)
    assert [backup.path for backup in list_backups(database)] == made[::-1]


def test_an_empty_database_has_no_rows(tmp_path: Path, migrated: Path) -> None:
    assert not snapshots.has_rows(tmp_path / "absent.db")
    assert not (tmp_path / "absent.db").exists()
    assert not snapshots.has_rows(migrated)
    assert snapshots.has_rows(make(tmp_path / "other.db"))
