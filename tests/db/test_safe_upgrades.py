"""Safe upgrades: a backup first, atomicity, and refusals that say how to go back."""

from __future__ import annotations

import logging
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import URL

from alembic import command
from ngshare.db import migrate, snapshots
from ngshare.db.engine import make_engine
from ngshare.db.urls import parse_url
from ngshare.errors import MigrationError
from tests.databases import Databases, only_postgresql, only_sqlite
from tests.db.test_schema import described
from tests.migrations import (
    LATER,
    LATER_BACK,
    contents,
    fill,
    losses,
    migrate_to,
    rows,
    without,
)
from tests.process.forked import run_forked
from tests.require import require

ROOT = Path(__file__).parents[2]
PATIENCE = 60
FIRST = "7c1f0a52d3e8"
"""The first revision that is ours; those before it are sites of ngshare 0.6."""

HEAD = migrate.head()
"""The last revision, before any that a test adds."""

INTENDED: dict[str, set[str]] = {"3b9e5d70c146": {"trees.replaced_at"}}
"""What a revision changes on purpose of what was there, as ``table`` or ``table.column``."""


def later_revisions() -> list[str]:
    """Every revision after our first; there must be one, else a test of them tests nothing."""
    known = [revision for revision, _ in migrate.list_revisions()]
    found = known[known.index(FIRST) + 1 :]
    assert found
    return found


@pytest.fixture
def url(databases: Databases, migrated_template: str, tmp_path: Path) -> Iterator[URL]:
    """A current database with rows in every table."""
    with databases.copy(migrated_template, tmp_path) as text:
        url = parse_url(text)
        fill(url)
        yield url


# With rows in every table


def test_every_table_has_rows(url: URL) -> None:
    for table, found in contents(url).items():
        assert len(found) >= 3 or table == "alembic_version"


def test_an_upgrade_keeps_every_row(url: URL, more_migrations: Callable[[str], str]) -> None:
    before = contents(url)
    later = more_migrations(LATER)
    assert migrate.upgrade(url) == (HEAD, later)
    after = contents(url)
    assert without(after, "title", "locale") == without(before)
    assert [row["title"] for row in after["courses"]] == [
        f"The course Ökonomie {number}" for number in (1, 2, 3)
    ]
    assert {row["locale"] for row in after["users"]} == {"en"}


@pytest.fixture
def empty_url(databases: Databases, tmp_path: Path) -> Iterator[URL]:
    """A current database without rows."""
    with databases.copy(None, tmp_path) as text:
        yield parse_url(text)


def assert_upgrades_keep_everything(url: URL) -> None:
    """Go through every revision, one after the other, with rows in all the tables of each."""
    migrate_to(url, FIRST)
    for revision in later_revisions():
        fill(url)
        before = contents(url)
        assert all(before.values())
        migrate_to(url, revision)
        assert losses(before, contents(url), INTENDED.get(revision, ())) == [], revision


def test_every_revision_from_now_on_keeps_everything(
    empty_url: URL, more_migrations: Callable[..., str]
) -> None:
    more_migrations(LATER)  # there may be no other yet
    more_migrations("op.create_table('more', sa.Column('id', sa.Integer, primary_key=True))")
    more_migrations("op.create_index('ix_more', 'more', ['id'])")
    assert_upgrades_keep_everything(empty_url)


@pytest.mark.parametrize(
    ("statement", "lost"),
    [
        ("op.execute(\"UPDATE users SET name = 'x' WHERE id = 2\")", "values of users"),
        ("op.execute('UPDATE files SET size = size + 1')", "values of files"),
        ("op.execute('UPDATE audit_log SET detail = NULL')", "values of audit_log"),
        ("op.execute('DELETE FROM audit_log WHERE id = 3')", "3 rows of audit_log became 2"),
        ("op.drop_column('memberships', 'email')", "the column memberships.email"),
        ("op.drop_table('audit_log')", "the table audit_log"),
    ],
)
def test_the_test_of_revisions_finds_a_lost_row(
    empty_url: URL, more_migrations: Callable[..., str], statement: str, lost: str
) -> None:
    more_migrations(statement)
    with pytest.raises(AssertionError, match=lost):
        assert_upgrades_keep_everything(empty_url)


@only_sqlite
def test_an_upgrade_that_violates_a_foreign_key_is_rolled_back(
    url: URL, more_migrations: Callable[[str], str]
) -> None:
    before = contents(url)
    more_migrations("op.execute('DELETE FROM trees WHERE id = 1')")
    with pytest.raises(MigrationError, match=r"a row of .* would point to nothing"):
        migrate.upgrade(url)
    assert contents(url) == before


@only_sqlite
def test_foreign_keys_are_enforced_after_an_upgrade(
    url: URL, more_migrations: Callable[[str], str]
) -> None:
    more_migrations(LATER)
    migrate.upgrade(url)
    assert rows(url, "PRAGMA foreign_key_check") == []
    assert rows(url, "PRAGMA foreign_keys") == [(1,)]


# All or nothing


def test_killed_at_any_statement(
    url: URL, more_migrations: Callable[[str], str], tmp_path: Path
) -> None:
    before = contents(url)
    later = more_migrations(LATER)
    reached = 0
    for number in sorted(random.sample(range(1, 60), 8)):
        ended = run_forked(
            [
                url.render_as_string(hide_password=False),
                str(migrate.migrations_folder()),
                str(number),
            ],
            module="tests.killed_upgrade",
            folder=ROOT,
            environment=os.environ,
            timeout=PATIENCE,
        )
        assert ended.returncode in (0, -signal.SIGKILL), ended
        reached += ended.returncode != 0
        [(revision,)] = rows(url, "SELECT version_num FROM alembic_version")
        assert revision in (HEAD, later)
        if revision == HEAD:
            assert contents(url) == before
    assert reached
    # A lock that a dead process held is in nobody's way.
    migrate.upgrade(url)
    assert without(contents(url), "title", "locale") == without(before)


# The backup before


@only_sqlite
def test_a_backup_is_made_before(
    url: URL,
    more_migrations: Callable[[str], str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = contents(url)
    more_migrations(LATER)
    with caplog.at_level(logging.INFO, "ngshare"):
        migrate.upgrade(url)
    [backup] = snapshots.list_backups(Path(url.database or ""))
    assert backup.revision == HEAD
    assert f"Backup of the database before its upgrade: {backup.path}" in caplog.messages
    assert contents(parse_url(f"sqlite:///{backup.path}")) == before
    migrate.upgrade(url)
    assert len(snapshots.list_backups(Path(url.database or ""))) == 1


@only_sqlite
def test_no_backup_is_made_without_an_upgrade(url: URL) -> None:
    migrate.upgrade(url)
    assert snapshots.list_backups(Path(url.database or "")) == []


@only_sqlite
def test_no_upgrade_is_made_without_space_for_the_backup(
    url: URL, more_migrations: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(url)
    more_migrations(LATER)
    monkeypatch.setattr(snapshots, "SPARE_BYTES", 1 << 60)
    with pytest.raises(MigrationError) as error:
        migrate.upgrade(url)
    message = str(error.value)
    assert message.startswith("The database was not upgraded, because no backup of it can be made:")
    assert "a copy needs" in message
    assert "\n" not in message
    assert contents(url) == before


@only_postgresql
def test_the_log_says_whose_the_backup_of_postgresql_is(
    url: URL, more_migrations: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    more_migrations(LATER)
    migrate.upgrade(url)
    [said] = [message for message in caplog.messages if "backup" in message]
    assert f"Upgrading a PostgreSQL database from revision {HEAD}" in said
    assert "that is its administrator's" in said


# A full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    mounted = os.getuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0
    require(mounted, "the right to mount a small disk", "run the tests as root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@only_sqlite
def test_a_disk_that_is_full_in_the_middle_of_an_upgrade(
    url: URL, more_migrations: Callable[[str], str], small_disk: Path
) -> None:
    shutil.copy(url.database or "", small_disk / "ngshare.db")
    there = parse_url(f"sqlite:///{small_disk}/ngshare.db")
    before = contents(there)
    more_migrations(
        "op.create_table('big', sa.Column('x', sa.LargeBinary))\n"
        "op.execute('INSERT INTO big VALUES (zeroblob(4000000))')"
    )
    with pytest.raises(MigrationError) as error:
        migrate.upgrade(there)
    assert str(error.value) == (
        "The upgrade of the database failed, and all is as it was before: database or disk is full"
    )
    assert contents(there) == before


@only_sqlite
def test_a_disk_that_is_full_in_the_middle_of_a_backup(
    url: URL,
    more_migrations: Callable[[str], str],
    small_disk: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copy(url.database or "", small_disk / "ngshare.db")
    there = parse_url(f"sqlite:///{small_disk}/ngshare.db")
    before = contents(there)
    free = shutil.disk_usage(small_disk)
    (small_disk / "other").write_bytes(bytes(free.free - 50_000))
    # It was free when somebody looked.
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: free)
    more_migrations(LATER)
    with pytest.raises(MigrationError, match=r"can be made: the disk of .* is full"):
        migrate.upgrade(there)
    (small_disk / "other").unlink()
    assert contents(there) == before
    left = {path.name for path in small_disk.iterdir()}
    assert {name for name in left if "backup" in name or "part" in name} == set()


# Refusals


def test_tables_of_another_program(tmp_path: Path) -> None:
    database = tmp_path / "hub.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE users (id INTEGER, admin BOOLEAN)")
    before = database.read_bytes()
    with pytest.raises(MigrationError, match="has a table users but no revision of ngshare"):
        migrate.upgrade(parse_url(f"sqlite:///{database}"))
    assert database.read_bytes() == before


@only_sqlite
def test_a_database_locked_by_another_program(
    url: URL, more_migrations: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ngshare.db.sqlite.BUSY_SECONDS", 0.01)
    more_migrations(LATER)
    with closing(sqlite3.connect(url.database or "", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(MigrationError, match="database is locked") as error:
            migrate.upgrade(url)
    assert "stop what else works with it" in str(error.value)
    assert "\n" not in str(error.value)


@only_sqlite
def test_a_newer_database_names_the_backup(
    url: URL, more_migrations: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    later = more_migrations(LATER)
    migrate.upgrade(url)
    monkeypatch.undo()
    [backup] = snapshots.list_backups(Path(url.database or ""))
    with pytest.raises(MigrationError, match=f"at revision {later}, which") as error:
        migrate.upgrade(url)
    assert str(backup.path) in str(error.value)


@pytest.mark.parametrize("action", ["require_head", "upgrade"])
def test_a_refusal_keeps_the_journal_mode(
    tmp_path: Path, more_migrations: Callable[[str], str], action: str
) -> None:
    url = parse_url(f"sqlite:///{tmp_path}/old.db")
    migrate_to(url, "1921a169739b")
    with closing(sqlite3.connect(tmp_path / "old.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("INSERT INTO users VALUES ('ada')")
    with pytest.raises(MigrationError):
        getattr(migrate, action)(url)
    with closing(sqlite3.connect(tmp_path / "old.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)


# The way back


def downgrade(url: URL, revision: str) -> subprocess.CompletedProcess[str]:
    """Alembic's own command, in the checkout."""
    where = f"database={url.render_as_string(hide_password=False)}"
    return subprocess.run(
        [sys.executable, "-m", "alembic", "-x", where, "downgrade", revision],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def test_a_downgrade_is_refused_in_one_line_that_names_the_backup(tmp_path: Path) -> None:
    url = parse_url(f"sqlite:///{tmp_path}/old.db")
    migrate_to(url, "1921a169739b")
    with closing(sqlite3.connect(tmp_path / "old.db")) as connection, connection:
        connection.execute("INSERT INTO users VALUES ('ada')")
    migrate.upgrade(url, tmp_path / "files")
    [backup] = snapshots.list_backups(tmp_path / "old.db")
    before = contents(url)
    refused = downgrade(url, "1921a169739b")
    assert refused.returncode != 0
    assert "Traceback" not in refused.stderr + refused.stdout
    [line] = [line for line in refused.stdout.splitlines() if line.startswith("FAILED")]
    assert "ngshare 0.6 cannot hold what ngshare 1.0 holds. Nothing was changed" in line
    assert str(backup.path) in line
    assert contents(url) == before


def test_a_downgrade_below_the_first_schema_of_ours_is_refused(url: URL) -> None:
    before = contents(url)
    refused = downgrade(url, "base")
    assert refused.returncode != 0
    assert "Traceback" not in refused.stderr + refused.stdout
    assert "FAILED: ngshare 0.6 cannot hold" in refused.stdout
    assert contents(url) == before


def assert_every_revision_has_a_way_back(url: URL) -> None:
    """Back to the schema and contents of before, or a refusal that names the backup."""
    before = FIRST
    for revision in later_revisions():
        migrate_to(url, before)
        fill(url)
        expected, held = described(shown(url)), contents(url)
        migrate_to(url, revision)
        fill(url)
        upgraded = described(shown(url)), contents(url)
        engine = make_engine(url, writes=True)
        try:
            with migrate.begin_upgrade(engine) as connection:
                command.downgrade(migrate.alembic_config(connection), before)
        except migrate.CommandError as refusal:
            assert "backup" in str(refusal), revision
            assert (described(shown(url)), contents(url)) == upgraded, revision
        else:
            assert described(shown(url)) == expected, revision
            assert losses(held, contents(url), INTENDED.get(revision, ())) == [], revision
        finally:
            engine.dispose()
        before = revision


def shown(url: URL) -> str:
    return url.render_as_string(hide_password=False)


def test_every_revision_from_now_on_has_a_way_back(
    empty_url: URL, more_migrations: Callable[..., str]
) -> None:
    more_migrations(LATER, LATER_BACK)  # there may be no other yet
    first = more_migrations(
        "op.create_table('more', sa.Column('id', sa.Integer, primary_key=True))",
        "from ngshare.db.migrate import refuse_downgrade\n"
        "refuse_downgrade(op.get_bind(), down_revision, 'It cannot')",
    )
    more_migrations("op.create_index('ix_more', 'more', ['id'])", "op.drop_index('ix_more')")
    assert first in later_revisions()
    assert_every_revision_has_a_way_back(empty_url)


@pytest.mark.parametrize(
    ("forth", "back"),
    [
        ("op.drop_index('uq_courses_live_name', 'courses')", "pass"),
        (
            "op.drop_index('uq_courses_live_name', 'courses')",
            "op.create_index('uq_courses_live_name', 'courses', ['name'], unique=True)",
        ),
        ("op.add_column('users', sa.Column('locale', sa.String))", "pass"),
        (
            "op.add_column('users', sa.Column('locale', sa.String))",
            "from ngshare.db.migrate import CommandError\nraise CommandError('No')",
        ),
        ("pass", "op.execute('UPDATE files SET size = 0')"),
    ],
    ids=["an index", "a condition", "a column", "a refusal", "values"],
)
def test_the_test_of_downgrades_finds_a_wrong_one(
    empty_url: URL, more_migrations: Callable[..., str], forth: str, back: str
) -> None:
    more_migrations(
        forth, back.replace("op.CommandError", "__import__('alembic').util.CommandError")
    )
    with pytest.raises(AssertionError):
        assert_every_revision_has_a_way_back(empty_url)
