"""``ngshare db``: which revision the database is at, and bringing it up to date."""

from __future__ import annotations

from alembic import command
from ngshare.db import migrate
from ngshare.db.engine import make_engine
from ngshare.db.urls import parse_url
from tests.commands.conftest import Run
from tests.databases import only_sqlite
from tests.process.site import Site

pytestmark = only_sqlite


def make_old(site: Site, revision: str = "1921a169739b") -> None:
    """Make the site's database one of an older program, empty."""
    site.database_file.unlink()
    engine = make_engine(parse_url(f"sqlite:///{site.database_file}"))
    with engine.execution_options(ngshare_writes=True).begin() as connection:
        command.upgrade(migrate.alembic_config(connection), revision)
    engine.dispose()


def test_current(run: Run, site: Site) -> None:
    told = run("db", "current").stdout
    assert told == (
        f"Database: sqlite:///{site.database_file}\nRevision: {migrate.head()}\nIt is up to date.\n"
    )


def test_behind_then_upgraded(run: Run, site: Site) -> None:
    make_old(site)
    told = run("db", "current", code=1).stdout
    assert "Revision: 1921a169739b" in told
    assert f"This ngshare needs {migrate.head()}: run ngshare db upgrade" in told
    told = run("db", "upgrade").stdout
    assert f"is upgraded from 1921a169739b to {migrate.head()}." in told
    run("db", "current")
    assert f"is up to date, at revision {migrate.head()}." in run("db", "upgrade").stdout


def test_other_commands_want_a_database_that_is_up_to_date(run: Run, site: Site) -> None:
    make_old(site)
    (site.storage / "blobs").mkdir(parents=True)
    refused = run("storage", "check", code=1).stderr
    assert "is at revision 1921a169739b, this ngshare needs" in refused
    assert "run ngshare db upgrade" in refused


def test_a_database_of_a_newer_program(run: Run, site: Site) -> None:
    with site.sql() as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'f00d1e5'")
        connection.commit()
    for words in (("current",), ("upgrade",), ("history",)):
        refused = run("db", *words, code=1).stderr
        assert refused.count("\n") == 1
        assert "f00d1e5, which this ngshare does not know" in refused


def test_history(run: Run, site: Site) -> None:
    backup = site.folder / "ngshare.db.backup-20260131T180501.123Z-1921a169739b"
    backup.touch()
    lines = run("db", "history").stdout.splitlines()
    assert lines[0].startswith("aa00db20c10a  ")
    assert f"{migrate.head()}  " in lines[-2]
    assert lines[-2].endswith("  <- the database is here")
    assert lines[-1] == f"Backup of revision 1921a169739b: {backup}"


def test_a_group_says_what_its_commands_are(run: Run) -> None:
    refused = run("db", code=1).stderr
    assert "say what to do: current, upgrade, backup, restore, revert, history" in refused
    assert "'nonsense' is not understood; see ngshare db --help" in (
        run("db", "nonsense", code=1).stderr
    )
