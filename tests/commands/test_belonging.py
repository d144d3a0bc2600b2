"""``ngshare storage gc`` works with the database that a storage belongs to, and with no other."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ngshare import belonging, migrate, snapshots
from ngshare.actions import submissions
from ngshare.blobs import LocalBlobs, sha256
from ngshare.blobs.sweep import SHARDS, entries
from ngshare.database import Database, parse_url
from tests.commands.conftest import COURSE, SAM, Run, stored
from tests.databases import Databases, only_postgresql, only_sqlite
from tests.process.site import Site

NEW = b"handed in after the move"


@pytest.fixture
def other_url(databases: Databases, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """Another database, of the other kind; there is none yet."""
    if databases.kind == "sqlite":
        cluster = request.getfixturevalue("postgres_cluster")
        return str(cluster.url(cluster.create()))
    return f"sqlite:///{tmp_path / 'other.db'}"


@pytest.fixture
def moved(run: Run, course: str, other_url: str, tmp_path: Path) -> Iterator[Database]:
    """The site's other database, by the recipe of docs/backup.md."""
    run("db", "backup", str(tmp_path / "backup"))
    run("db", "restore", str(tmp_path / "backup"), "--database", other_url)
    database = Database(parse_url(other_url))
    yield database
    database.close()


def age(store: LocalBlobs) -> None:
    """Let every blob have been put two days ago."""
    moment = time.time() - 2 * 86400
    for shard in range(SHARDS):
        for entry in entries(store, shard):
            os.utime(entry.path, (moment, moment))


def test_the_old_database_after_a_move_removes_nothing(
    run: Run, moved: Database, blobs: LocalBlobs, database_url: str, other_url: str
) -> None:
    moved.write(submissions.submit, SAM, COURSE, "ps1", stored(blobs, a=NEW))
    age(blobs)
    refused = run("storage", "gc", "--yes", code=1)
    assert refused.stderr.count("\n") == 1
    assert f"the files in {blobs.folder} belong to the database " in refused.stderr
    assert "start ngshare with it once, or add --take-over" in refused.stderr
    assert blobs.read(sha256(NEW)) == NEW
    assert "Nothing to remove" in run("storage", "gc", "--yes", "--database", other_url).stdout


def test_a_start_takes_the_storage_over(
    run: Run, site: Site, moved: Database, blobs: LocalBlobs, database_url: str, other_url: str
) -> None:
    age(blobs)
    server = site.start("--database", database_url)
    assert "belonged to the database " in server.output
    assert server.stop() == 0
    run("storage", "gc", "--yes")
    run("storage", "gc", "--yes", "--database", other_url, code=1)
    assert "belonged to" not in site.start("--database", database_url).output


def test_with_a_flag_it_is_taken_over_without_a_start(
    run: Run, moved: Database, blobs: LocalBlobs, other_url: str
) -> None:
    moved.write(submissions.submit, SAM, COURSE, "ps1", stored(blobs, a=NEW))
    age(blobs)
    told = run("storage", "gc", "--yes", "--take-over").stdout
    assert told.endswith(f"Removed 1 file, {len(NEW)} bytes.\n")
    run("storage", "gc", "--yes")
    run("storage", "gc", "--yes", "--database", other_url, code=1)


def test_an_upgrade_takes_over_only_what_belongs_to_none(
    run: Run, moved: Database, blobs: LocalBlobs, other_url: str
) -> None:
    run("db", "upgrade")
    run("storage", "gc", "--yes", code=1)
    blobs.belongs_to.unlink()
    run("db", "upgrade")
    run("storage", "gc", "--yes")
    run("storage", "gc", "--yes", "--database", other_url, code=1)


@only_sqlite
def test_a_sqlite_file_under_another_name(
    run: Run, site: Site, course: str, blobs: LocalBlobs
) -> None:
    run("db", "upgrade")
    link = site.folder / "linked"
    link.symlink_to(site.folder)
    for database in ("sqlite:///ngshare.db", f"sqlite:///{link}/ngshare.db"):
        run("storage", "gc", "--yes", "--database", database)
        run("storage", "gc", "--yes", "--database", database, "--storage", str(link / "files"))


@only_sqlite
def test_moved_together_they_belong_together_and_copies_only_to_each_other(
    site: Site, tmp_path: Path, course: str, blobs: LocalBlobs
) -> None:
    url = parse_url(site.database)
    belonging.leave_mark(url, blobs)
    for name in ("files", "ngshare.db"):
        (site.folder / "elsewhere").mkdir(exist_ok=True)
        (site.folder / name).rename(site.folder / "elsewhere" / name)
    store = LocalBlobs(site.folder / "elsewhere" / "files")
    there = parse_url(f"sqlite:///{site.folder}/elsewhere/ngshare.db")
    assert belonging.read_mark(store) == belonging.mark_of(there, store)
    assert belonging.mark_of(url, store) != belonging.mark_of(there, store)


@only_postgresql
def test_a_postgresql_database_by_any_address(
    database_url: str, blobs: LocalBlobs, tmp_path: Path
) -> None:
    """Several services name it each in a way of their own, and as a user of their own."""
    url = parse_url(database_url)
    site = Site(tmp_path, database_url)
    other = url.set(database="postgres")
    spelled = url.set(username="plain").update_query_dict({"application_name": "x"})
    site.execute("CREATE ROLE plain LOGIN")
    try:
        key = belonging.mark_of(url, blobs).key
        assert belonging.mark_of(spelled, blobs).key == key
        assert belonging.mark_of(other, blobs).key != key
        # Where that is not to be known, the address stands for the server.
        site.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
        address = belonging.mark_of(spelled, blobs).key
        assert address not in (key, belonging.mark_of(other, blobs).key)
        belonging.leave_mark(spelled, blobs)
        mark = belonging.read_mark(blobs)
        assert mark is not None
        assert mark.key == address
    finally:
        site.execute("DROP ROLE plain")


@only_postgresql
def test_the_mark_holds_no_password(database: Database, blobs: LocalBlobs) -> None:
    belonging.leave_mark(database.url.set(password="wind-rose"), blobs)
    assert "://" in blobs.belongs_to.read_text()
    assert "wind-rose" not in blobs.belongs_to.read_text()


@pytest.mark.parametrize("damaged", ['{"database": ', "[" * 100_000], ids=["cut", "deep"])
def test_a_mark_that_was_damaged_is_that_of_no_database(
    run: Run, site: Site, course: str, blobs: LocalBlobs, database_url: str, damaged: str
) -> None:
    blobs.belongs_to.write_text(damaged)
    assert "before it was damaged" in run("storage", "gc", "--yes", code=1).stderr
    site.start("--database", database_url).stop()
    run("storage", "gc", "--yes")


def test_one_old_leftover_beside_young_work_is_simply_removed(
    run: Run, course: str, blobs: LocalBlobs
) -> None:
    """The database names files, if only young ones, so it is the right one."""
    [digest] = blobs.put([b"nobody's"])
    os.utime(blobs.path(digest), (0, 0))
    assert run("storage", "gc", "--yes").stdout.endswith("Removed 1 file, 8 bytes.\n")


def test_a_leftover_of_an_upload_to_a_site_without_files(run: Run, blobs: LocalBlobs) -> None:
    cut_off = blobs.incoming / "cut-off"
    cut_off.touch()
    os.utime(cut_off, (0, 0))
    assert "Removed 1 file" in run("storage", "gc", "--yes").stdout


# Backups beside the database


def way_back(told: str) -> str:
    """The backup that ``db revert`` names to undo it."""
    return shlex.split(told.rpartition("ngshare db revert ")[2])[0]


@only_sqlite
def test_what_a_backup_beside_the_database_names_is_kept(
    run: Run, site: Site, course: str, database: Database, blobs: LocalBlobs
) -> None:
    """``db revert`` says how it is undone, and that must remain true."""
    early = snapshots.backup_before_upgrade(site.database_file, "older")
    database.write(submissions.submit, SAM, COURSE, "ps1", stored(blobs, a=NEW))
    told = run("db", "revert", str(early), "--yes").stdout
    undo = way_back(told)
    run("db", "upgrade")
    age(blobs)
    told = run("storage", "gc", "--yes").stdout
    assert f"1 file ({len(NEW)} bytes) older than 24 hours is kept for databases that" in told
    assert f"  {undo}\n" in told
    told = run("db", "revert", undo, "--yes").stdout
    back = way_back(told)
    assert "no damage" in run("storage", "check").stdout
    assert blobs.read(sha256(NEW)) == NEW

    run("db", "revert", back, "--yes")
    for backup in snapshots.list_backups(site.database_file):
        backup.path.unlink()
    assert f"Removed 1 file, {len(NEW)} bytes." in run("storage", "gc", "--yes").stdout


@only_sqlite
def test_a_backup_that_cannot_be_read(run: Run, site: Site, course: str, blobs: LocalBlobs) -> None:
    broken = Path(f"{site.database_file}.backup-20260131T180500.123Z-{migrate.head()}")
    broken.write_bytes(b"no database at all" * 100)
    refused = run("storage", "gc", "--yes", code=1).stderr
    assert refused.startswith(f"ngshare: {broken} cannot be read (")
    assert refused.endswith("mend or remove it\n")
