"""Upgrades: from every schema that exists, one process at a time, all or nothing."""

from __future__ import annotations

import ast
import hashlib
import logging
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import URL, text

import ngshare
from ngshare.db import migrate, sqlite
from ngshare.db.engine import make_engine
from ngshare.db.models import Base
from ngshare.db.upgrade_lock import sqlite_upgrade_lock
from ngshare.db.urls import parse_url
from ngshare.errors import MigrationError
from tests.migrations import migrate_to, rows, schema

ROOT = Path(__file__).parents[2]
LEGACY_SITE = ROOT / "tests" / "legacy06" / "legacy-0.6"
LEGACY_REVISIONS = ["aa00db20c10a", "1921a169739b"]
PATIENCE = 60


@pytest.fixture
def sqlite_url(tmp_path: Path) -> URL:
    """A database that does not exist yet."""
    return parse_url(f"sqlite:///{tmp_path / 'new.db'}")


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, sqlite_url: URL) -> URL:
    """An empty database of either kind."""
    if request.param == "sqlite":
        return sqlite_url
    return parse_url(request.getfixturevalue("postgres_url"))


def current_schema() -> dict[str, list[str]]:
    tables = {
        name: sorted(column.name for column in table.columns)
        for name, table in Base.metadata.tables.items()
    }
    return {**tables, "alembic_version": ["version_num"]}


def dump(path: Path) -> list[str]:
    """All that a SQLite database holds, as sorted SQL: indexes are made in any order."""
    connection = sqlite3.connect(path)
    lines = sorted(connection.iterdump())
    connection.close()
    return lines


# From every schema


def test_from_nothing(url: URL) -> None:
    assert migrate.upgrade(url) == (None, migrate.head())
    assert schema(url) == current_schema()
    assert rows(url, "SELECT version_num FROM alembic_version") == [(migrate.head(),)]


def test_a_second_upgrade_changes_nothing(url: URL) -> None:
    migrate.upgrade(url)
    before = schema(url)
    assert migrate.upgrade(url) == (migrate.head(), migrate.head())
    assert schema(url) == before
    assert migrate.require_head(url) == migrate.head()


@pytest.mark.parametrize("revision", LEGACY_REVISIONS)
def test_from_an_empty_legacy_schema(sqlite_url: URL, revision: str) -> None:
    migrate_to(sqlite_url, revision)
    assert "student_assoc_table" in schema(sqlite_url)
    assert migrate.upgrade(sqlite_url) == (revision, migrate.head())
    assert schema(sqlite_url) == current_schema()


def test_the_legacy_revision_is_the_schema_that_ngshare_0_6_made(
    sqlite_url: URL, legacy_site: Path
) -> None:
    migrate_to(sqlite_url, "1921a169739b")
    assert schema(sqlite_url) == schema(parse_url(f"sqlite:///{legacy_site}/ngshare.db"))


@pytest.mark.parametrize("revision", LEGACY_REVISIONS)
def test_upgraded_and_new_databases_are_alike(
    sqlite_url: URL, tmp_path: Path, revision: str
) -> None:
    other = parse_url(f"sqlite:///{tmp_path / 'other.db'}")
    migrate_to(sqlite_url, revision)
    migrate.upgrade(sqlite_url)
    migrate.upgrade(other)
    assert dump(tmp_path / "new.db") == dump(tmp_path / "other.db")


@pytest.fixture
def legacy_site(tmp_path: Path) -> Path:
    """A copy of a real site of ngshare 0.6."""
    copy = tmp_path / "legacy"
    shutil.copytree(LEGACY_SITE, copy, copy_function=shutil.copyfile)
    for folder in (copy, copy / "files"):
        folder.chmod(0o700)
    return copy


def test_a_legacy_site_is_unchanged_without_its_storage(
    legacy_site: Path,
) -> None:
    def state() -> tuple[list[str], dict[str, str]]:
        files = {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (legacy_site / "files").iterdir()
        }
        return dump(legacy_site / "ngshare.db"), files

    before = state()
    url = parse_url(f"sqlite:///{legacy_site}/ngshare.db")
    with pytest.raises(MigrationError, match=r"records of an ngshare 0\.6 site") as error:
        migrate.upgrade(url)
    assert "Start ngshare once with its --database and --storage" in str(error.value)
    assert "\n" not in str(error.value)
    assert state() == before


# Refusals


def test_unknown_revision(url: URL) -> None:
    migrate.upgrade(url)
    engine = make_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'f00d1e5'"))
    engine.dispose()
    for start in (migrate.upgrade, migrate.require_head):
        with pytest.raises(MigrationError, match="f00d1e5, which this ngshare does not know"):
            start(url)
    assert rows(url, "SELECT version_num FROM alembic_version") == [("f00d1e5",)]
    assert schema(url) == current_schema()


@pytest.mark.parametrize("revision", ["none", *LEGACY_REVISIONS])
def test_checking_never_upgrades(sqlite_url: URL, revision: str) -> None:
    if revision != "none":
        migrate_to(sqlite_url, revision)
    before = schema(sqlite_url)
    with pytest.raises(MigrationError, match=f"at revision {revision}, this ngshare needs"):
        migrate.require_head(sqlite_url)
    assert schema(sqlite_url) == before


def test_checking_an_empty_postgres(postgres_url: str) -> None:
    url = parse_url(postgres_url)
    with pytest.raises(MigrationError, match="Start it once without --no-upgrade-db"):
        migrate.require_head(url)
    assert schema(url) == {}


# All or nothing


def test_a_failing_migration_rolls_back_those_before_it(
    url: URL, more_migrations: Callable[[str], str]
) -> None:
    # Three revisions back on SQLite; PostgreSQL starts from nothing.
    legacy = url.get_backend_name() == "sqlite"
    if legacy:
        migrate_to(url, LEGACY_REVISIONS[0])
    before = schema(url)
    more_migrations("op.create_table('extra', sa.Column('id', sa.Integer))")
    more_migrations("op.add_column('extra', sa.Column('x', sa.Integer))\nraise ZeroDivisionError")
    with pytest.raises(ZeroDivisionError):
        migrate.upgrade(url)
    assert schema(url) == before
    if legacy:
        assert rows(url, "SELECT version_num FROM alembic_version") == [(LEGACY_REVISIONS[0],)]


def test_an_upgrade_succeeds_after_one_that_failed(
    url: URL, more_migrations: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    more_migrations("raise ZeroDivisionError")
    with pytest.raises(ZeroDivisionError):
        migrate.upgrade(url)
    monkeypatch.undo()
    assert migrate.upgrade(url) == (None, migrate.head())


def test_an_upgrade_keeps_the_rows(url: URL, more_migrations: Callable[[str], str]) -> None:
    migrate.upgrade(url)
    engine = make_engine(url)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO users (name) VALUES ('Ökonomie')"))
    engine.dispose()
    before = migrate.head()
    later = more_migrations("op.add_column('users', sa.Column('x', sa.Integer))")
    assert migrate.upgrade(url) == (before, later)
    assert rows(url, "SELECT name, x FROM users") == [("Ökonomie", None)]


# One process at a time


def test_several_processes_at_once(url: URL, tmp_path: Path) -> None:
    go = tmp_path / "go"
    code = (
        "import sys, os, time\nfrom ngshare.db import migrate\n"
        "from ngshare.db.urls import parse_url\nprint('ready', flush=True)\n"
        f"while not os.path.exists({str(go)!r}): time.sleep(0.001)\n"
        "print(*migrate.upgrade(parse_url(sys.argv[1])))"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, url.render_as_string(hide_password=False)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        go.touch()
        ends = [process.communicate(timeout=PATIENCE) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    head = migrate.head()
    assert sorted(ends) == sorted([*[(f"{head} {head}\n", "")] * 7, (f"None {head}\n", "")])
    assert schema(url) == current_schema()


def test_a_long_upgrade_is_waited_for(
    sqlite_url: URL,
    tmp_path: Path,
    more_migrations: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "ngshare")
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.01)
    migrate_to(sqlite_url, LEGACY_REVISIONS[1])
    under_way, go_on = tmp_path / "under-way", tmp_path / "go-on"
    later = more_migrations(
        f"import pathlib, time\npathlib.Path({str(under_way)!r}).touch()\n"
        f"while not pathlib.Path({str(go_on)!r}).exists(): time.sleep(0.01)"
    )
    with ThreadPoolExecutor(2) as threads:
        try:
            first = threads.submit(migrate.upgrade, sqlite_url)
            wait_for(under_way.exists)
            second = threads.submit(migrate.upgrade, sqlite_url)
            lock = Path(f"{sqlite_url.database}.upgrade-lock").stat().st_ino
            waiting = re.compile(rf"-> FLOCK .*:{lock} ")
            wait_for(lambda: second.done() or waiting.search(Path("/proc/locks").read_text()))
        finally:
            go_on.touch()
        assert first.result(PATIENCE) == (LEGACY_REVISIONS[1], later)
        assert second.result(PATIENCE) == (later, later)
    assert (
        caplog.messages.count("Another process upgrades the database; waiting until it is done")
        == 1
    )


def test_the_lock_is_the_same_by_different_paths(tmp_path: Path) -> None:
    file, link = tmp_path / "real" / "ngshare.db", tmp_path / "link.db"
    file.parent.mkdir()
    link.symlink_to(file)
    began = threading.Event()

    def second() -> None:
        with sqlite_upgrade_lock(link):
            began.set()

    with ThreadPoolExecutor(1) as threads:
        with sqlite_upgrade_lock(file):
            waiting = threads.submit(second)
            lock = Path(f"{file}.upgrade-lock").stat().st_ino
            pattern = re.compile(rf"-> FLOCK .*:{lock} ")
            wait_for(lambda: began.is_set() or pattern.search(Path("/proc/locks").read_text()))
            assert not began.is_set()
        waiting.result(PATIENCE)


def wait_for(condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


# The migrations and the models


def test_models_and_migrations_do_not_drift(url: URL) -> None:
    migrate.upgrade(url)
    engine = make_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def test_the_drift_test_finds_drift(sqlite_url: URL) -> None:
    migrate.upgrade(sqlite_url)
    engine = make_engine(sqlite_url)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE users ADD COLUMN more INTEGER"))
        context = MigrationContext.configure(connection)
        assert [change[0] for change in compare_metadata(context, Base.metadata)] == [
            "remove_column"
        ]
    engine.dispose()


def alembic(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Alembic's own command, in the checkout."""
    return subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def test_alembics_own_command_works_in_the_checkout(sqlite_url: URL) -> None:
    where = f"database={sqlite_url.render_as_string()}"
    behind = alembic("-x", where, "check")
    assert behind.returncode != 0
    upgraded = alembic("-x", where, "upgrade", "head")
    assert upgraded.returncode == 0, upgraded
    assert schema(sqlite_url) == current_schema()
    checked = alembic("-x", where, "check")
    assert checked.returncode == 0, checked
    assert "No new upgrade operations detected" in checked.stdout


def test_alembics_own_command_adopts_with_the_storage(
    legacy_site: Path,
) -> None:
    where = f"database=sqlite:///{legacy_site}/ngshare.db"
    refused = alembic("-x", where, "upgrade", "head")
    assert refused.returncode != 0
    assert "Traceback" not in refused.stdout + refused.stderr
    [line] = [line for line in refused.stdout.splitlines() if line.startswith("FAILED")]
    assert "alembic -x database=URL -x storage=DIR upgrade head" in line
    done = alembic("-x", where, "-x", f"storage={legacy_site}/files", "upgrade", "head")
    assert done.returncode == 0, done
    assert (legacy_site / "ngshare.db.adoption-report.txt").exists()
    assert list((legacy_site / "files").glob("blobs/*/*"))


def test_alembics_own_command_reaches_postgres(postgres_url: str) -> None:
    upgraded = alembic("-x", f"database={postgres_url}", "upgrade", "head")
    assert upgraded.returncode == 0, upgraded
    assert migrate.require_head(parse_url(postgres_url)) == migrate.head()


def test_only_migrations_create_tables() -> None:
    for path in Path(ngshare.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = {
                getattr(node, "id", None),
                getattr(node, "attr", None),
                getattr(node, "value", None) if isinstance(node, ast.Constant) else None,
            }
            assert not names & {"create_all", "drop_all", "CreateTable"}, path


def test_an_upgrade_does_not_reconfigure_logging(
    sqlite_url: URL,
) -> None:
    log = logging.getLogger("ngshare")
    handlers, level = list(logging.getLogger().handlers), log.level
    migrate.upgrade(sqlite_url)
    assert (log.disabled, log.level, list(logging.getLogger().handlers)) == (False, level, handlers)
