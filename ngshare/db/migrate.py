"""Bring the database to the schema of this program, before the service starts.

One process at a time, all or nothing: the whole way from the old revision to the
new one is a single transaction, on SQLite too, and a SQLite database that holds
anything is copied before. Nothing here ever makes a table by itself; the files in
``alembic/versions`` do.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, inspect
from sqlalchemy.exc import DBAPIError

from alembic import command
from ngshare.db import snapshots
from ngshare.db.engine import lost_race, make_engine, reading, reason_and_advice, why_not_open
from ngshare.db.progress import Progress
from ngshare.db.upgrade_lock import MigrationError as MigrationError
from ngshare.db.upgrade_lock import alone

log = logging.getLogger("ngshare")

LEGACY = (None, "aa00db20c10a", "1921a169739b")
"""The revisions of a database that ngshare 1.0 has not made its own yet."""

LOCKED = "locked"
"""Stands for the revision of a database that cannot be looked at now."""


def scripts() -> Path:
    """Return the folder of the migrations: inside the package in a wheel, else in the checkout."""
    package = Path(__file__).parents[1]
    for folder in (package / "_alembic", package.parent / "alembic"):
        if (folder / "env.py").exists():
            return folder
    raise MigrationError(
        f"The migrations are missing from {package / '_alembic'}: install ngshare again"
    )


def alembic_config(connection: Connection | None = None) -> Config:
    """Return Alembic's configuration, without ``alembic.ini``, which a wheel does not carry."""
    config = Config()
    # Percent signs mean interpolation to the parser behind it.
    config.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    if connection is not None:
        config.attributes["connection"] = connection
    return config


def head() -> str:
    """Return the revision of this program."""
    revision = ScriptDirectory.from_config(alembic_config()).get_current_head()
    assert revision is not None, "there is always a first revision"
    return revision


def revisions() -> list[tuple[str, str]]:
    """List every revision, the oldest first, each with its title."""
    walked = ScriptDirectory.from_config(alembic_config()).walk_revisions()
    return [(script.revision, script.doc.partition("\n")[0]) for script in walked][::-1]


def current(connection: Connection) -> str | None:
    """Return the revision of a database; None when it was never migrated."""
    return MigrationContext.configure(connection).get_current_revision()


def upgrade(
    url: URL, storage: Path | None = None, *, files_may_be_lost: bool = False
) -> tuple[str | None, str]:
    """Bring the database to this program's revision. Return the revisions before and after.

    Only a site of ngshare 0.6 needs ``storage``, the folder of its files and blobs;
    ``files_may_be_lost`` adopts one even when not one of its files is there. While
    another process upgrades, this waits. Killed at any moment, it leaves the old
    revision or the new one.

    Raises MigrationError when the database is newer than this program, cannot be
    opened, or cannot be upgraded; then it is as it was.
    """
    with _opened(url) as engine:
        before = _revision_unless_locked(engine)
        if before == head() and not _wants_wal(engine):
            return before, before
        with alone(url, engine):
            # Another process may have upgraded while this one waited.
            before = _revision(engine)
            if before != head():
                _refuse_others_tables(engine, before)
                _back_up(url, before)
                _run(engine, {"storage": storage, "files_may_be_lost": files_may_be_lost})
            if _wants_wal(engine):
                _use_wal(url)
        return before, head()


def _wants_wal(engine: Engine) -> bool:
    """Whether a SQLite database is not in WAL mode: new, adopted, reverted, or killed before."""
    if engine.dialect.name != "sqlite":
        return False
    with reading(engine).connect() as connection:
        return connection.exec_driver_sql("PRAGMA journal_mode").scalar() != "wal"


def _use_wal(url: URL) -> None:
    """Put a SQLite database into WAL mode. Call it under the upgrade lock."""
    engine = make_engine(url)
    engine.connect().close()
    engine.dispose()


def revision_of(url: URL) -> str | None:
    """Return the revision of a database; None if never migrated. Raises MigrationError."""
    with _opened(url) as engine:
        return _revision(engine)


def check(url: URL) -> str:
    """Return the database's revision if it is this program's, else raise MigrationError."""
    with _opened(url) as engine:
        revision = _revision_unless_locked(engine)
        if revision == LOCKED:
            with alone(url, engine):
                revision = _revision(engine)
    if revision != head():
        raise MigrationError(
            f"The database is at revision {revision or 'none'}, this ngshare needs {head()}, and "
            "--no-upgrade-db is given. Start it once without --no-upgrade-db to upgrade it, or run "
            "ngshare db upgrade with the same --database and --storage"
        )
    return head()


def refuse_downgrade(connection: Connection, revision: str, why: str) -> NoReturn:
    """Refuse a downgrade to ``revision``, and name the backup to restore. Raises CommandError."""
    raise CommandError(
        f"{why}. Nothing was changed. To go back, {_way_back(connection.engine.url, [revision])}"
    )


def _way_back(url: URL, revisions: Sequence[str]) -> str:
    if url.get_backend_name() != "sqlite":
        return "restore the backup that you made before the upgrade"
    backups = [
        backup
        for backup in snapshots.list_backups(Path(url.database or ""))
        if backup.revision in revisions
    ]
    if not backups:
        return "restore a backup that was made before the upgrade; none lies beside it"
    return f"run ngshare db revert, which restores {backups[0].path}"


def _run(engine: Engine, attributes: dict[str, Any]) -> None:
    """Upgrade in one transaction. Raises MigrationError when that fails and is undone."""
    try:
        with _checking_keys_at_the_end(engine) as connection:
            config = alembic_config(connection)
            config.attributes["progress"] = Progress
            config.attributes.update(
                {name: value for name, value in attributes.items() if value is not None}
            )
            command.upgrade(config, "head")
    except (DBAPIError, OSError) as error:
        if isinstance(error, DBAPIError):
            reason = reason_and_advice(engine.url, error)
        else:
            reason = str(error)
        raise MigrationError(
            f"The upgrade of the database failed, and all is as it was before: {reason}"
        ) from error
    if adopted := config.attributes.get("adopted"):
        for line in adopted.summary():
            log.info("%s", line)
        log.info("All of it, name by name: %s", adopted.path)


@contextlib.contextmanager
def _checking_keys_at_the_end(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that checks foreign keys at its end only.

    SQLite alters a table by making a new one, and with its checks on, dropping the old one
    would delete the rows that point to it.
    """
    if engine.dialect.name != "sqlite":
        with engine.begin() as connection:
            yield connection
        return
    with engine.connect() as connection:
        driver: Any = connection.connection.dbapi_connection
        # Not possible within a transaction, so SQLAlchemy may not begin one for it.
        driver.execute("PRAGMA foreign_keys=OFF")
        broken_before = len(driver.execute("PRAGMA foreign_key_check").fetchall())
        with connection.begin():
            yield connection
            broken = driver.execute("PRAGMA foreign_key_check").fetchall()
            if len(broken) > broken_before:
                raise MigrationError(
                    "The upgrade of the database failed, and all is as it was before: a row of "
                    f"{broken[0][0]} would point to nothing. Please report this"
                )


def _refuse_others_tables(engine: Engine, revision: str | None) -> None:
    """Raise MigrationError when there are tables of another program."""
    if revision is not None:
        return
    with reading(engine).connect() as connection:
        taken = {"users", "courses", "files"} & set(inspect(connection).get_table_names())
    if taken:
        raise MigrationError(
            f"The database has a table {sorted(taken)[0]} but no revision of ngshare: it is "
            "another program's, or a part of a backup. Name another database"
        )


def _back_up(url: URL, revision: str | None) -> None:
    """Copy a SQLite database that holds anything, or warn that there is no backup."""
    if url.get_backend_name() != "sqlite":
        if revision is not None:
            log.warning(
                "Upgrading a PostgreSQL database from revision %s. ngshare makes no backup of it: "
                "that is its administrator's",
                revision,
            )
        return
    database = Path(url.database or "")
    try:
        if snapshots.holds_rows(database):
            backup = snapshots.backup_before_upgrade(database, revision)
            log.info("Backup of the database before its upgrade: %s", backup)
    except (snapshots.NoRoom, snapshots.DamagedCopy, OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MigrationError(
            f"The database was not upgraded, because no backup of it can be made: {reason}"
        ) from error


def _revision(engine: Engine) -> str | None:
    # Only looks, so that it need not wait for another process that upgrades: that can take long.
    with reading(engine).connect() as connection:
        revision = current(connection)
    _refuse_unknown(engine.url, revision)
    return revision


def _revision_unless_locked(engine: Engine) -> str | None:
    """Return the revision; LOCKED when SQLite cannot read it, as while an upgrade writes."""
    try:
        return _revision(engine)
    except DBAPIError as error:
        if not lost_race(error):
            raise
        return LOCKED


def _refuse_unknown(url: URL, revision: str | None) -> None:
    known = {
        script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()
    }
    if revision is not None and revision not in known:
        raise MigrationError(
            f"The database is at revision {revision}, which this ngshare does not know: a newer "
            f"ngshare wrote it. Start that version, or {_way_back(url, sorted(known))}"
        )


@contextlib.contextmanager
def _opened(url: URL) -> Iterator[Engine]:
    """Open an engine whose transactions write. Raises MigrationError, of one line."""
    try:
        # Two connections: one holds the lock while the other upgrades.
        engine = make_engine(url, connections=2, wal=False, writes=True)
    except ImportError as error:
        raise MigrationError(
            f"The driver of the database is missing ({error}): pip install 'ngshare[postgres]'"
        ) from error
    except ValueError as error:
        raise MigrationError(f"The database's URL has a wrong parameter: {error}") from error
    try:
        yield engine
    except DBAPIError as error:
        raise MigrationError(why_not_open(url, error)) from error
    except CommandError as error:
        raise MigrationError(f"The database cannot be upgraded: {error}") from error
    finally:
        engine.dispose()
