"""``ngshare storage gc`` and ``restore-quarantine``: only unreferenced files go, and come back."""

from __future__ import annotations

import io
import os
import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import Connection, update

from ngshare.actions import audit, submissions
from ngshare.admin.garbage_collection import collect_garbage
from ngshare.blobs import LocalBlobs, sha256
from ngshare.commands.gc import LOCK_FILE
from ngshare.db.models import File
from ngshare.db.transactions import Database
from ngshare.errors import OutOfSpace
from ngshare.files import file_lock
from ngshare.protocol.times import format_time
from tests.commands.conftest import ADMIN, COURSE, SAM, Run, make_old, stored
from tests.process.site import Site, files_field, together
from tests.require import require

CONTENTS = (b"the release", b"the same for all", b"the work of sam", b"the feedback")


def record_event(database: Database) -> None:
    """Add an entry to the audit log, so that it is newer than every blob."""
    database.write(audit.record, ADMIN, "test")


def quarantined(blobs: LocalBlobs) -> set[bytes]:
    return {blob.digest for blob in blobs.quarantined()}


def make_expired(blobs: LocalBlobs) -> None:
    """Date the move of the blobs in the quarantine back by eight days."""
    moment = datetime.now(timezone.utc) - timedelta(days=8, hours=1)
    for blob in list(blobs.quarantined()):
        folder = blobs.folder / "quarantine" / moment.strftime("%Y-%m-%dT%HZ")
        (blobs.folder / "quarantine" / blob.folder).rename(folder)
        break


def test_what_nothing_names_is_moved_away_and_deleted_days_later(
    run: Run, database: Database, blobs: LocalBlobs, course: str
) -> None:
    blobs.put([b"old and nobody's", b"young and nobody's"])
    make_old(blobs, b"old and nobody's", b"the work of sam")
    record_event(database)
    cut_off = blobs.incoming / "cut-off"
    cut_off.write_bytes(b"half")
    os.utime(cut_off, (0, 0))
    told = run("storage", "gc", "--yes").stdout
    assert "1 file (16 bytes) older than 24 hours is named by nothing in " in told
    assert "and will be moved to the quarantine." in told
    assert "1 file (4 bytes) of interrupted uploads will be removed." in told
    assert told.endswith(
        "Moved 1 file, 16 bytes to the quarantine; "
        "removed 1 file, 4 bytes of interrupted uploads.\n"
    )
    assert not cut_off.exists()
    assert quarantined(blobs) == {sha256(b"old and nobody's")}
    assert blobs.path(sha256(b"young and nobody's")).exists()
    assert blobs.path(sha256(b"the work of sam")).exists()
    assert "no damage" in run("storage", "check").stdout
    assert "Nothing to collect" in run("storage", "gc", "--yes").stdout

    make_expired(blobs)
    assert "Nothing to collect" in run("storage", "gc", "--yes", "--days", "9").stdout
    told = run("storage", "gc", "--yes").stdout
    assert "1 file (16 bytes) has been in the quarantine for 7 days and will be deleted" in told
    assert told.endswith("Deleted 1 file, 16 bytes.\n")
    assert quarantined(blobs) == set()
    assert "no damage" in run("storage", "check").stdout


def test_what_is_named_again_is_moved_back_and_not_deleted(
    run: Run, blobs: LocalBlobs, course: str
) -> None:
    assert blobs.quarantine(sha256(b"the work of sam"), "2026-01-31T18Z")
    told = run("storage", "gc", "--yes").stdout
    assert "1 file (15 bytes) in the quarantine is named again and will be moved back." in told
    assert told.endswith("Moved 1 file, 15 bytes back.\n")
    assert blobs.path(sha256(b"the work of sam")).exists()


def test_all_that_was_moved_goes_back(run: Run, blobs: LocalBlobs, course: str) -> None:
    for content in (b"the release", b"the work of sam", b"the feedback"):
        blobs.quarantine(sha256(content), "2026-01-31T18Z")
    assert run("storage", "restore-quarantine").stdout == "Moved 3 files, 38 bytes, back.\n"
    assert "though" not in run("storage", "check").stdout
    assert run("storage", "restore-quarantine").stdout == "Moved 0 files, 0 bytes, back.\n"


def test_one_command_at_a_time_moves_files_to_or_from_the_quarantine(
    run: Run, blobs: LocalBlobs, course: str
) -> None:
    blobs.put([b"nobody's"])
    make_old(blobs, b"nobody's", b"the work of sam")
    running = f"another gc or restore-quarantine is running in {blobs.folder}: wait for it\n"
    with file_lock(blobs.folder / LOCK_FILE):
        assert run("storage", "gc", "--yes", code=1).stderr == f"ngshare: {running}"
        assert run("storage", "restore-quarantine", code=1).stderr == f"ngshare: {running}"
        assert quarantined(blobs) == set()
    assert "Moved 1 file" in run("storage", "gc", "--yes").stdout
    assert "Moved 1 file" in run("storage", "restore-quarantine").stdout


@pytest.fixture
def small_storage(site: Site) -> Iterator[Path]:
    """The site's storage on a file system of 2 MiB."""
    folder = Path(site.storage)
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    mounted = os.getuid() == 0 and subprocess.run(command, timeout=60).returncode == 0
    require(mounted, "the right to mount a tmpfs", "run the tests as root of a machine or a VM")
    yield folder
    subprocess.run(["umount", str(folder)], check=True, timeout=60)


def test_a_disk_without_a_free_byte_is_when_it_is_needed(
    run: Run, database: Database, small_storage: Path, course: str, blobs: LocalBlobs
) -> None:
    blobs.put([b"left by a request"])
    make_old(blobs, b"left by a request")
    record_event(database)
    with (
        (small_storage / "of-others").open("wb", buffering=0) as others,
        pytest.raises(OSError, match="No space left"),
    ):
        while True:
            others.write(bytes(4096))
    with pytest.raises(OutOfSpace):
        blobs.put([b"more"])
    assert "no damage" in run("storage", "check").stdout
    assert "Moved 1 file, 17 bytes to the quarantine" in run("storage", "gc", "--yes").stdout
    make_expired(blobs)
    assert "Deleted 1 file, 17 bytes" in run("storage", "gc", "--yes").stdout
    assert quarantined(blobs) == set()


def test_nobody_is_there_to_be_asked(run: Run, blobs: LocalBlobs, course: str) -> None:
    blobs.put([b"nobody's"])
    make_old(blobs, b"nobody's", b"the work of sam")
    result = run("storage", "gc", code=1)
    assert "1 file (8 bytes) older than 24 hours" in result.stdout
    assert result.stderr == (
        "ngshare: nothing was done: this needs --yes where nobody can be asked\n"
    )
    assert quarantined(blobs) == set()


@pytest.fixture
def at_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lets somebody at a terminal answer a question."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    return lambda answer: monkeypatch.setattr("sys.stdin", Terminal(answer))


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("Yes\n", 0), ("\n", 1), ("n\n", 1)])
def test_somebody_at_a_terminal_is_asked(
    run: Run,
    blobs: LocalBlobs,
    course: str,
    at_terminal: Callable[[str], None],
    answer: str,
    code: int,
) -> None:
    blobs.put([b"nobody's"])
    make_old(blobs, b"nobody's", b"the work of sam")
    at_terminal(answer)
    told = run("storage", "gc", code=code)
    assert "Go on? [y/N]" in told.stdout
    assert blobs.path(sha256(b"nobody's")).exists() is (code == 1)
    if code:
        assert told.stderr == "ngshare: nothing was done\n"


def test_another_age(run: Run, database: Database, blobs: LocalBlobs, course: str) -> None:
    blobs.put([b"nobody's", b"young"])
    make_old(blobs, b"nobody's", b"the work of sam")
    assert "Nothing to collect" in run("storage", "gc", "--yes", "--hours=72").stdout
    assert "Moved 1 file" in run("storage", "gc", "--yes", "--hours", "1").stdout
    record_event(database)
    assert "Moved 1 file" in run("storage", "gc", "--yes", "--hours=0").stdout
    assert quarantined(blobs) == {sha256(b"nobody's"), sha256(b"young")}


# With the wrong database


def test_a_database_that_names_nothing_there(
    run: Run, blobs: LocalBlobs, course: str, database: Database, at_terminal: Callable[[str], None]
) -> None:
    def forget(connection: Connection) -> None:
        connection.execute(update(File).values(sha256=None))

    database.write(forget)
    make_old(blobs, *CONTENTS)
    refused = run("storage", "gc", "--yes", code=1)
    assert "names not one file in" in refused.stderr
    assert "If so, run this without --yes, and confirm" in refused.stderr
    assert quarantined(blobs) == set()
    at_terminal("y\n")
    told = run("storage", "gc").stdout
    assert "is it the database of these files?" in told
    assert "Moved 4 files" in told


def test_an_empty_database(run: Run, blobs: LocalBlobs) -> None:
    blobs.put([b"of another site"])
    make_old(blobs, b"of another site")
    told = run("storage", "gc", "--yes").stdout
    assert "1 file (15 bytes) older than 24 hours is kept, though named by nothing" in told
    assert "Is it an old copy of the site's database?" in told
    assert blobs.path(sha256(b"of another site")).exists()


def test_an_old_copy_of_the_database_takes_away_nothing_that_came_since(
    run: Run, site: Site, blobs: LocalBlobs, course: str, database: Database, tmp_path: Path
) -> None:
    """As after a move to another database, or a copy of one that lies about."""
    run("db", "backup", str(tmp_path / "backup"))
    [copy] = (tmp_path / "backup").glob("*.db")
    newer = b"handed in after the copy"
    database.write(submissions.submit, SAM, COURSE, "ps1", stored(blobs, a=newer))
    blobs.put([b"nobody's"])
    for content in (newer, b"nobody's"):
        os.utime(blobs.path(sha256(content)), (time.time(),) * 2)
    told = run("storage", "gc", "--yes", "--hours=0", "--database", f"sqlite:///{copy}").stdout
    assert f"2 files ({len(newer) + 8} bytes) older than 0 hours are kept" in told
    assert quarantined(blobs) == set()
    record_event(database)
    assert "Moved 1 file, 8 bytes" in run("storage", "gc", "--yes", "--hours=0").stdout


def test_what_another_database_took_away_is_there_when_it_is_needed(
    run: Run,
    site: Site,
    blobs: LocalBlobs,
    course: str,
    database: Database,
    database_url: str,
    tmp_path: Path,
) -> None:
    run("db", "backup", str(tmp_path / "backup"))
    [copy] = (tmp_path / "backup").glob("*.db")
    tree = stored(blobs, a=b"the latest work")
    moment = format_time(database.write(submissions.submit, SAM, COURSE, "ps1", tree))
    make_old(blobs, *CONTENTS, b"the latest work")
    other = ("--yes", "--database", f"sqlite:///{copy}")
    assert "Moved 1 file, 15 bytes to the quarantine" in run("storage", "gc", *other).stdout
    server = site.start("--database", database_url)
    with server.client("ivy") as ivy:
        assert ivy.collect(COURSE, "ps1", "sam", moment) == {"a": b"the latest work"}
    assert f"{sha256(b'the latest work').hex()} was in the quarantine" in server.output
    assert server.stop() == 0
    assert quarantined(blobs) == set()
    run("storage", "gc", *other)
    run("storage", "restore-quarantine")
    assert "though" not in run("storage", "check").stdout


# Beside uploads


def test_collecting_beside_uploads(
    site: Site, run: Run, database: Database, database_url: str, blobs: LocalBlobs, course: str
) -> None:
    """Equal and new content is handed in at the very time at which what nothing names is moved."""
    rounds, clients = 40, 4
    contents = [b"content %d" % number for number in range(rounds * 5)]
    blobs.put(contents)
    make_old(blobs, *contents, b"the work of sam")
    server = site.start("--database", database_url)
    stop = threading.Event()
    times = [0]

    def collect(_: int) -> None:
        while not stop.is_set():
            # With the audit log's newest entry nothing is too new.
            collect_garbage(database, blobs, hours=0, days=0, advance=lambda steps: None)
            times[0] += 1

    def submit(number: int) -> list[tuple[str, dict[str, bytes]]]:
        order = random.Random(number)
        acknowledged = []
        with server.client("sam") as sam:
            while len(acknowledged) < rounds or times[0] < 4:
                chosen = [*order.sample(contents, 3), order.randbytes(100)]
                files = {f"{index}.txt": content for index, content in enumerate(chosen)}
                reply = sam.post("submission", COURSE, "ps1", files=files_field(files))
                assert reply.status == 200, reply
                acknowledged.append((reply.json["timestamp"], files))
        return acknowledged

    collecting = threading.Thread(target=collect, args=(0,))
    collecting.start()
    try:
        acknowledged = together(clients, submit)
    finally:
        stop.set()
        collecting.join()
    every = [one for many in acknowledged for one in many]
    named = {sha256(content) for _, files in every for content in files.values()}
    assert named & quarantined(blobs), "some were moved before their rows were committed"
    with server.client() as ada:
        for moment, files in every[::2]:  # the others are read after the deletion only
            assert ada.collect(COURSE, "ps1", "sam", moment) == files
        later = datetime.now(timezone.utc) + timedelta(days=30)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("ngshare.blobs.gc._now", lambda: later)
            collect_garbage(database, blobs, hours=0, days=0, advance=lambda steps: None)
            assert list(blobs.quarantined()) == []
        for moment, files in every:
            assert ada.collect(COURSE, "ps1", "sam", moment) == files
    assert "Traceback" not in server.output
    assert "no damage" in run("storage", "check").stdout
    assert server.stop() == 0
