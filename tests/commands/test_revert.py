"""``ngshare db revert``: the way back from an upgrade, and from an adoption."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ngshare.db import migrate, revert, snapshots
from ngshare.db.service_lock import exclusive_service_lock
from ngshare.db.urls import parse_url
from tests.commands.conftest import Run
from tests.databases import only_postgresql, only_sqlite
from tests.legacy06.conftest import REAL_SITE
from tests.legacy06.contents import dump, legacy_contents, our_contents, revision
from tests.process.site import COMMAND, PATIENCE, Site, wait_for


@pytest.fixture
def adopted(site: Site) -> Site:
    """A site of ngshare 0.6 that was adopted."""
    shutil.copyfile(REAL_SITE / "ngshare.db", site.database_file)
    shutil.copytree(REAL_SITE / "files", site.storage, copy_function=shutil.copyfile)
    migrate.upgrade(parse_url(f"sqlite:///{site.database_file}"), site.storage)
    return site


@only_sqlite
def test_back_to_0_6_and_forth_again(run: Run, adopted: Site) -> None:
    database, storage = adopted.database_file, adopted.storage
    ours = our_contents(database, storage)
    told = run("db", "revert", "--yes").stdout
    assert "of revision 1921a169739b, in place of sqlite:///" in told
    assert f"ngshare.db, of revision {migrate.head()}; what was stored since" in told
    # Exactly the records of 0.6, in its journal mode, and each of its files under its old name.
    assert dump(database) == dump(REAL_SITE / "ngshare.db")
    with adopted.sql() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchall() == [("delete",)]
    files = {path.name: path.read_bytes() for path in (REAL_SITE / "files").iterdir()}
    assert {path.name: path.read_bytes() for path in storage.glob("*.*")} == files
    assert legacy_contents(database, storage) == ours
    migrate.upgrade(parse_url(f"sqlite:///{database}"), storage)
    assert our_contents(database, storage) == ours


@only_sqlite
def test_without_the_old_names_there_is_no_way_back_to_0_6(run: Run, adopted: Site) -> None:
    before = dump(adopted.database_file)
    lost = sorted(adopted.storage.glob("*.*"))[0]
    lost.unlink()
    told = run("db", "revert", code=1)
    assert "1 of the 133 files that this backup names are not in" in told.stdout + told.stderr
    run("storage", "remove-legacy", "--yes")
    told = run("db", "revert", "--yes", code=1)
    assert "not one of the 133 files that" in told.stderr
    assert "there is no way back to ngshare 0.6" in told.stderr
    assert dump(adopted.database_file) == before


@only_sqlite
def test_the_backup_alone_is_adopted_again(run: Run, adopted: Site) -> None:
    """Somebody who only copies the backup back has lost nothing."""
    database, storage = adopted.database_file, adopted.storage
    ours = our_contents(database, storage)
    [backup] = snapshots.list_backups(database)
    for part in ("", "-wal", "-shm"):
        Path(f"{database}{part}").unlink(missing_ok=True)
    shutil.copyfile(backup.path, database)
    migrate.upgrade(parse_url(f"sqlite:///{database}"), storage)
    assert our_contents(database, storage) == ours


@only_sqlite
def test_it_can_be_undone(run: Run, adopted: Site) -> None:
    ours = dump(adopted.database_file)
    told = run("db", "revert", "--yes").stdout
    undo = shlex.split(told.rpartition("ngshare db revert ")[2])
    # Wherever it is pasted.
    (adopted.folder / "ngshare_config.py").unlink()
    run("db", "revert", *undo, "--yes")
    assert dump(adopted.database_file) == ours


@only_sqlite
def test_it_asks(run: Run, adopted: Site) -> None:
    before = dump(adopted.database_file)
    assert "this needs --yes" in run("db", "revert", code=1).stderr
    assert dump(adopted.database_file) == before


@only_sqlite
@pytest.mark.parametrize("workers", ["1", "2"])
def test_not_under_a_running_service(run: Run, adopted: Site, workers: str) -> None:
    server = adopted.start("--workers", workers)
    before = dump(adopted.database_file)
    told = run("db", "revert", code=1)
    assert told.stdout == ""  # nobody is asked in vain
    assert told.stderr.startswith(f"ngshare: ngshare serves from {adopted.database_file} now")
    told = run("db", "revert", "--yes", code=1)
    assert told.stderr == (
        f"ngshare: ngshare serves from {adopted.database_file} now: stop it first, then start this "
        "again. Nothing was changed\n"
    )
    assert dump(adopted.database_file) == before
    assert len(snapshots.list_backups(adopted.database_file)) == 1
    with server.client() as ada:
        assert ada.post("course", "acknowledged").status == 200
    # One that was killed is in nobody's way.
    server.kill()
    run("db", "revert", "--yes")
    assert revision(adopted.database_file) == "1921a169739b"


@only_sqlite
def test_not_while_a_worker_is_left(run: Run, adopted: Site) -> None:
    """The first process is stopped for good, so a worker does not hear that it should end."""
    server = adopted.start("--workers", "2")
    worker = min(server.workers())
    os.kill(worker, signal.SIGSTOP)
    os.kill(server.pid, signal.SIGKILL)
    server.ended()
    assert "ngshare serves from" in run("db", "revert", "--yes", code=1).stderr
    server.kill()
    run("db", "revert", "--yes")


@only_sqlite
def test_a_start_waits_for_a_revert_and_then_upgrades(adopted: Site) -> None:
    database = adopted.database_file
    url = parse_url(f"sqlite:///{database}")
    with exclusive_service_lock(database):
        command = [*COMMAND, *adopted.arguments()]
        log = adopted.folder / "waiting.txt"
        with log.open("w") as output:
            process = subprocess.Popen(
                command, cwd=adopted.folder, env=adopted.environment, stdout=output, stderr=output
            )
        try:
            wait_for("the start to wait", lambda: "waiting until it is done" in log.read_text())
            snapshots.restore_in_place(revert.find_backup(url).path, database)
            assert "listens on" not in log.read_text()
        except BaseException:
            process.kill()
            raise
    try:
        # The line about the database comes a moment after the address.
        wait_for("the upgrade", lambda: "upgraded from 1921a169739b" in log.read_text())
        assert "listens on" in log.read_text()
    finally:
        process.terminate()
        process.wait(PATIENCE)


@only_sqlite
def test_by_the_older_program(
    run: Run,
    site: Site,
    course: str,
    more_migrations: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = dump(site.database_file)
    with monkeypatch.context() as newer:
        folder = migrate.migrations_folder()
        later = more_migrations("op.create_table('extra', sa.Column('id', sa.Integer))")
        migrate.upgrade(parse_url(f"sqlite:///{site.database_file}"))
        newer.setattr(migrate, "migrations_folder", lambda: folder)
        assert f"{later}, which this ngshare does not know" in run("db", "current", code=1).stderr
        run("db", "revert", "--yes")
        assert "It is up to date." in run("db", "current").stdout
    assert dump(site.database_file) == before


@only_sqlite
def test_the_backup_that_is_put_back_is_kept(run: Run, adopted: Site) -> None:
    [oldest] = snapshots.list_backups(adopted.database_file)
    for number in range(snapshots.MAX_BACKUPS - 1):
        with adopted.sql() as connection:
            connection.execute("INSERT INTO users (name) VALUES (?)", [f"new {number}"])
            connection.commit()
        snapshots.backup_before_upgrade(adopted.database_file, migrate.head())
    run("db", "revert", str(oldest.path), "--yes")
    assert oldest.path.exists()
    assert revision(adopted.database_file) == "1921a169739b"


@only_sqlite
def test_without_a_backup(run: Run, site: Site) -> None:
    refused = run("db", "revert", "--yes", code=1).stderr
    assert f"no backup of another revision than {migrate.head()} lies beside" in refused
    refused = run("db", "revert", "/nowhere", "--yes", code=1).stderr
    assert "/nowhere is no backup of" in refused


@only_postgresql
def test_postgresql_has_its_administrators_backup(run: Run, site: Site) -> None:
    assert "restore the one that you made" in run("db", "revert", "--yes", code=1).stderr
