"""``ngshare db revert``: the way back from an upgrade, and from an adoption."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ngshare import migrate, snapshots
from ngshare.blobs import LocalBlobs
from ngshare.database import parse_url
from tests.adoption.conftest import REAL_SITE
from tests.adoption.contents import dump, legacy_contents, our_contents, revision
from tests.commands.conftest import Run
from tests.databases import only_postgresql, only_sqlite
from tests.process.site import Site


@pytest.fixture
def adopted(site: Site) -> Site:
    """A site of ngshare 0.6 that was adopted."""
    shutil.copyfile(REAL_SITE / "ngshare.db", site.database_file)
    shutil.copytree(REAL_SITE / "files", site.storage, copy_function=shutil.copyfile)
    migrate.upgrade(parse_url(f"sqlite:///{site.database_file}"), LocalBlobs(site.storage))
    return site


@only_sqlite
def test_back_to_0_6_and_forth_again(run: Run, adopted: Site) -> None:
    database, storage = adopted.database_file, adopted.storage
    ours = our_contents(database, storage)
    told = run("db", "revert", "--yes").stdout
    assert f"is at revision {migrate.head()}." in told
    assert "is of revision 1921a169739b." in told
    # Exactly the records of 0.6, in its journal mode, and each of its files under its old name.
    assert dump(database) == dump(REAL_SITE / "ngshare.db")
    with adopted.sql() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchall() == [("delete",)]
    files = {path.name: path.read_bytes() for path in (REAL_SITE / "files").iterdir()}
    assert {path.name: path.read_bytes() for path in storage.glob("*.*")} == files
    assert legacy_contents(database, storage) == ours
    migrate.upgrade(parse_url(f"sqlite:///{database}"), LocalBlobs(storage))
    assert our_contents(database, storage) == ours
    assert len(list(storage.glob("*.*"))) == 3


@only_sqlite
def test_the_backup_alone_is_adopted_again(run: Run, adopted: Site) -> None:
    """Somebody who only copies the backup back has lost nothing."""
    database, storage = adopted.database_file, adopted.storage
    ours = our_contents(database, storage)
    [backup] = snapshots.list_backups(database)
    for part in ("", "-wal", "-shm"):
        Path(f"{database}{part}").unlink(missing_ok=True)
    shutil.copyfile(backup.path, database)
    migrate.upgrade(parse_url(f"sqlite:///{database}"), LocalBlobs(storage))
    assert our_contents(database, storage) == ours


@only_sqlite
def test_it_can_be_undone(run: Run, adopted: Site) -> None:
    ours = dump(adopted.database_file)
    told = run("db", "revert", "--yes").stdout
    undo = told.rpartition("ngshare db revert ")[2].strip()
    run("db", "revert", undo, "--yes")
    assert dump(adopted.database_file) == ours


@only_sqlite
def test_it_asks(run: Run, adopted: Site) -> None:
    before = dump(adopted.database_file)
    assert "this needs --yes" in run("db", "revert", code=1).stderr
    assert dump(adopted.database_file) == before


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
        folder = migrate.scripts()
        later = more_migrations("op.create_table('extra', sa.Column('id', sa.Integer))")
        migrate.upgrade(parse_url(f"sqlite:///{site.database_file}"))
        newer.setattr(migrate, "scripts", lambda: folder)
        assert f"{later}, which this ngshare does not know" in run("db", "current", code=1).stderr
        run("db", "revert", "--yes")
        assert "It is up to date." in run("db", "current").stdout
    assert dump(site.database_file) == before


@only_sqlite
def test_the_backup_that_is_put_back_is_kept(run: Run, adopted: Site) -> None:
    [oldest] = snapshots.list_backups(adopted.database_file)
    for number in range(snapshots.KEPT - 1):
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
