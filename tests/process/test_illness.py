"""What the service stands on falls ill: the disk full or read-only, the database held or gone.

Each time the clients are told so, nothing is half-stored, the log says what to do, and
all is well again, without a restart, when the cause is gone.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.site import Server, Site, Trees, wait_for
from tests.require import require

MIB = 2**20


def mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True).returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    require(
        os.geteuid() == 0 and mount("-t", "tmpfs", "-o", "size=16m", "none", str(folder)),
        "the right to mount a small disk",
        "run the tests as root, outside a container that forbids mount",
    )
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


class Class:
    """A course on a service, and what it acknowledged of one student's submissions."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.acknowledged: dict[str, Trees] = {}
        with server.client() as ada:
            assert ada.post("course", "c", instructors='["ada"]').status == 200
            assert ada.release("c", "a", {"a.txt": b"a"}).status == 200

    def submit(self, size: int = MIB // 2) -> tuple[int, str]:
        """Hand in new bytes. Return the status and the message."""
        files = {"a.bin": os.urandom(size)}
        with self.server.client() as ada:
            reply = ada.submit("c", "a", files)
        if reply.status == 200:
            self.acknowledged[reply.json["timestamp"]] = files
        return reply.status, reply.json.get("message", "")

    def submit_until_refused(self) -> tuple[int, str]:
        for _ in range(100):
            status, message = self.submit()
            if status != 200:
                return status, message
        raise AssertionError("it was never refused")

    def assert_kept(self) -> None:
        """What was acknowledged is there, and nothing else is."""
        with self.server.client() as ada:
            listed = ada.get("submissions", "c", "a").json["submissions"]
            assert [one["timestamp"] for one in listed] == list(self.acknowledged)
            for moment, files in self.acknowledged.items():
                assert ada.collect("c", "a", "ada", moment) == files

    def recovers(self) -> bool:
        return self.submit()[0] == 200


def fill(folder: Path, leave: int) -> Path:
    """Take up the room of a disk, but for so many bytes."""
    filler = folder / "filler"
    with filler.open("wb") as file:
        file.truncate(0)
        left = shutil.disk_usage(folder).free - leave
        while left > 0:
            left -= file.write(b"x" * min(left, MIB))
            file.flush()
    return filler


def test_the_disk_of_the_files_is_full(site: Site, disk: Path) -> None:
    course = Class(site.start("--storage", str(disk / "files")))
    assert course.submit()[0] == 200
    filler = fill(disk, leave=2 * MIB)
    status, message = course.submit_until_refused()
    assert (status, "disk is full" in message) == (507, True)
    assert "No room in" in course.server.output
    assert list((disk / "files" / "incoming").iterdir()) == []
    assert course.server.healthy()
    course.assert_kept()
    filler.unlink()
    assert course.recovers()
    course.assert_kept()


def test_the_disk_of_the_database_is_full(site: Site, disk: Path) -> None:
    course = Class(site.start("--database", f"sqlite:///{disk}/ngshare.db"))
    filler = fill(disk, leave=256 * 1024)
    for _ in range(300):
        status, message = course.submit(size=10)
        if status != 200:
            break
    assert (status, "disk is full" in message) == (507, True)
    assert "No room for the database" in course.server.output
    course.assert_kept()
    filler.unlink()
    assert course.recovers()
    course.assert_kept()


def test_the_storage_is_read_only(site: Site, disk: Path) -> None:
    course = Class(site.start("--storage", str(disk / "files")))
    assert course.submit()[0] == 200
    assert mount("-o", "remount,ro", str(disk))
    status, message = course.submit()
    assert (status, "cannot store files" in message) == (503, True)
    assert "Check that it is mounted, writable" in course.server.output
    course.assert_kept()  # which can be read
    assert mount("-o", "remount,rw", str(disk))
    assert course.recovers()
    course.assert_kept()


@contextlib.contextmanager
def held(site: Site) -> Iterator[None]:
    """Another program holds the database and lets nobody write."""
    other = sqlite3.connect(site.database_file, isolation_level=None)
    with contextlib.closing(other):
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def test_another_program_holds_the_database(site: Site) -> None:
    course = Class(site.start())
    done: list[tuple[int, str]] = []
    with held(site):
        writers = [
            threading.Thread(target=lambda: done.append(course.submit(10))) for _ in range(3)
        ]
        for writer in writers:
            writer.start()
        blobs = site.folder / "files" / "blobs"
        wait_for(
            "three that have only their rows to write", lambda: len(list(blobs.glob("*/*"))) == 4
        )
        reads = 0
        while not done:
            course.assert_kept()
            reads += 1
            time.sleep(0.2)
        assert reads > 10, "whoever reads does not wait for those who write"
        assert course.server.healthy()
    for writer in writers:
        writer.join(120)
    refusals = [message for status, message in done if status == 503]
    assert refusals
    for message in refusals:
        assert re.fullmatch(r"The exchange is busy; please try again \(error \w{8}\)", message)
    assert {status for status, _ in done} <= {200, 503}
    assert "Is another program holding the database?" in course.server.output
    wait_for("recovery", course.recovers)
    assert len(course.acknowledged) == [status for status, _ in done].count(200) + 1


def test_the_database_file_is_gone(site: Site) -> None:
    course = Class(site.start())
    assert course.submit()[0] == 200
    aside = site.folder / "aside"
    aside.mkdir()
    for file in site.folder.glob("ngshare.db*"):
        file.rename(aside / file.name)
    status, message = course.submit()
    assert (status, "database" in message) == (503, True)
    with course.server.client() as ada:
        assert ada.get("courses").status == 503  # not what somebody still remembers of it
    assert not site.database_file.exists(), "an empty database took its place"
    assert "unable to open database file" in course.server.output
    assert course.server.healthy()
    for file in aside.iterdir():
        file.rename(site.folder / file.name)
    wait_for("recovery", course.recovers)
    course.assert_kept()


def test_a_backup_takes_the_place_of_the_database(site: Site) -> None:
    """An administrator who moves a backup there need not stop the service to have it used."""
    course = Class(site.start())
    assert course.submit()[0] == 200
    backup = site.folder / "backup.db"
    with site.sql() as connection, contextlib.closing(sqlite3.connect(backup)) as copy:
        connection.backup(copy)
    kept = dict(course.acknowledged)
    assert course.submit()[0] == 200
    for name in ("ngshare.db-wal", "ngshare.db-shm"):
        (site.folder / name).unlink(missing_ok=True)
    backup.replace(site.database_file)
    course.acknowledged = kept
    course.assert_kept()
    assert course.recovers()
    course.assert_kept()
