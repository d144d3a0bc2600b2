"""Upgrade the database's schema to the revision of this program, with Alembic.

One process at a time upgrades, in a single transaction, on SQLite too. A SQLite database that
has rows is backed up first. Tables are created by the files in ``alembic/versions`` only.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NoReturn

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, inspect
from sqlalchemy.exc import DBAPIError

from alembic import command
from ngshare.db import snapshots, sqlite
from ngshare.db.engine import (
    connection_failure,
    explain_error,
    is_lost_race,
    make_engine,
    read_only_engine,
)
from ngshare.db.progress_bar import ProgressBar
from ngshare.db.upgrade_lock import upgrade_lock
from ngshare.errors import MigrationError

log = logging.getLogger("ngshare")

LEGACY_REVISIONS = (None, "aa00db20c10a", "1921a169739b")
"""The revisions before ngshare 1.0."""

LOCKED = "locked"
"""Returned instead of a revision when the database is locked."""


def migrations_folder() -> Path:
    """Return Alembic's script folder: inside the package in a wheel, else in the checkout."""
    package = Path(__file__).parents[1]
    for folder in (package / "_alembic", package.parent / "alembic"):
        if (folder / "env.py").exists():
            return folder
    raise MigrationError(
        f"The migrations are missing from {package / '_alembic'}: install ngshare again"
    )


def alembic_config(connection: Connection | None = None) -> Config:
    """Return Alembic's configuration. It does not use ``alembic.ini``, which a wheel lacks."""
    config = Config()
    # The underlying ConfigParser interpolates percent signs.
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    if connection is not None:
        config.attributes["connection"] = connection
    return config


def head() -> str:
    """Return the head revision: the one that this program needs."""
    revision = ScriptDirectory.from_config(alembic_config()).get_current_head()
    assert revision is not None, "there is always a first revision"
    return revision


def list_revisions() -> list[tuple[str, str]]:
    """Return every revision that this program knows with its title, oldest first."""
    scripts = ScriptDirectory.from_config(alembic_config()).walk_revisions()
    return [(script.revision, script.doc.partition("\n")[0]) for script in scripts][::-1]


def current_revision(connection: Connection) -> str | None:
    """Return a database's revision; None when it was never migrated."""
    return MigrationContext.configure(connection).get_current_revision()


def upgrade(
    url: URL, storage: Path | None = None, *, files_may_be_lost: bool = False
) -> tuple[str | None, str]:
    """Upgrade the database to the head revision; return the revisions before and after.

    Wait while another process upgrades. A process that is killed leaves the old revision or the
    new one.

    storage: the folder of the files, needed to adopt a site of ngshare 0.6.
    files_may_be_lost: adopt such a site even when none of its files exists.

    Raises MigrationError when the database is newer than this program, cannot be opened or
    cannot be upgraded. It is unchanged then.
    """
    with _open_engine(url) as engine:
        before = _known_revision_or_locked(engine)
        if before == head() and not _needs_wal(engine):
            return before, before
        with upgrade_lock(url, engine):
            # Another process may have upgraded while this one waited.
            before = _known_revision(engine)
            if before != head():
                _require_own_tables(engine, before)
                _back_up(url, before)
                _apply_migrations(
                    engine, {"storage": storage, "files_may_be_lost": files_may_be_lost}
                )
            if _needs_wal(engine):
                _enable_wal(url)
        return before, head()


def read_revision(url: URL) -> str | None:
    """Return a database's revision; None when it was never migrated.

    Raises MigrationError when it cannot be opened, or this program does not know the revision.
    """
    with _open_engine(url) as engine:
        return _known_revision(engine)


def require_head(url: URL) -> str:
    """Return the head revision. Raises MigrationError unless the database is at it."""
    with _open_engine(url) as engine:
        revision = _known_revision_or_locked(engine)
        if revision == LOCKED:
            with upgrade_lock(url, engine):
                revision = _known_revision(engine)
    if revision != head():
        raise MigrationError(
            f"The database is at revision {revision or 'none'}, this ngshare needs {head()}, and "
            "--no-upgrade-db is given. Start it once without --no-upgrade-db to upgrade it, or run "
            "ngshare db upgrade with the same --database and --storage"
        )
    return head()


def refuse_downgrade(connection: Connection, revision: str, why: str) -> NoReturn:
    """Raise CommandError, with advice on how to return to ``revision`` by a backup.

    ``why`` begins the message. The migrations call this.
    """
    advice = _restore_advice(connection.engine.url, [revision])
    raise CommandError(f"{why}. Nothing was changed. To go back, {advice}")


def begin_upgrade(engine: Engine) -> AbstractContextManager[Connection]:
    """Begin the transaction of an upgrade, as a context manager that commits it."""
    if engine.dialect.name == "sqlite":
        return sqlite.foreign_keys_checked_at_end(engine)
    return engine.begin()


def _restore_advice(url: URL, revisions: Sequence[str]) -> str:
    """Return how to restore a backup of one of these revisions."""
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


def _apply_migrations(engine: Engine, attributes: Mapping[str, object]) -> None:
    """Upgrade in one transaction, and log the report of an adoption. Raises MigrationError.

    attributes: arguments of the migrations; None means absent.
    """
    try:
        with begin_upgrade(engine) as connection:
            config = alembic_config(connection)
            config.attributes["progress"] = ProgressBar
            config.attributes.update(
                {name: value for name, value in attributes.items() if value is not None}
            )
            command.upgrade(config, "head")
    except (DBAPIError, OSError) as error:
        reason = explain_error(engine.url, error) if isinstance(error, DBAPIError) else str(error)
        raise MigrationError(
            f"The upgrade of the database failed, and all is as it was before: {reason}"
        ) from error
    if adopted := config.attributes.get("adopted"):
        for line in adopted.summary():
            log.info("%s", line)
        log.info("All of it, name by name: %s", adopted.path)


def _needs_wal(engine: Engine) -> bool:
    """Return whether this is a SQLite database that is not in WAL mode.

    That is one that is new, adopted or reverted, or whose upgrade was killed.
    """
    if engine.dialect.name != "sqlite":
        return False
    with read_only_engine(engine).connect() as connection:
        return connection.exec_driver_sql("PRAGMA journal_mode").scalar() != "wal"


def _enable_wal(url: URL) -> None:
    """Put a SQLite database into WAL mode. Call it under the upgrade lock."""
    engine = make_engine(url)
    engine.connect().close()
    engine.dispose()


def _require_own_tables(engine: Engine, revision: str | None) -> None:
    """Raise MigrationError when a database without a revision has tables of our names."""
    if revision is not None:
        return
    with read_only_engine(engine).connect() as connection:
        taken = {"users", "courses", "files"} & set(inspect(connection).get_table_names())
    if taken:
        raise MigrationError(
            f"The database has a table {sorted(taken)[0]} but no revision of ngshare: it is "
            "another program's, or a part of a backup. Name another database"
        )


def _back_up(url: URL, revision: str | None) -> None:
    """Back up a SQLite database that has rows; for PostgreSQL, warn that there is no backup."""
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
        if snapshots.has_rows(database):
            backup = snapshots.backup_before_upgrade(database, revision)
            log.info("Backup of the database before its upgrade: %s", backup)
    except (snapshots.DiskFull, snapshots.CorruptDatabase, OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MigrationError(
            f"The database was not upgraded, because no backup of it can be made: {reason}"
        ) from error


def _known_revision(engine: Engine) -> str | None:
    """Return the database's revision. Raises MigrationError when this program does not know it."""
    # Read-only, so that it does not wait for an upgrade in progress, which can take long.
    with read_only_engine(engine).connect() as connection:
        revision = current_revision(connection)
    known = [script for script, _ in list_revisions()]
    if revision is not None and revision not in known:
        raise MigrationError(
            f"The database is at revision {revision}, which this ngshare does not know: a newer "
            f"ngshare wrote it. Start that version, or {_restore_advice(engine.url, known)}"
        )
    return revision


def _known_revision_or_locked(engine: Engine) -> str | None:
    """Return the revision; LOCKED when the database is locked, as while an upgrade commits."""
    try:
        return _known_revision(engine)
    except DBAPIError as error:
        if not is_lost_race(error):
            raise
        return LOCKED


@contextlib.contextmanager
def _open_engine(url: URL) -> Iterator[Engine]:
    """Open an engine whose transactions write; turn its errors into MigrationError."""
    try:
        # Two connections: one holds the upgrade lock, the other upgrades.
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
        raise MigrationError(connection_failure(url, error)) from error
    except CommandError as error:
        raise MigrationError(f"The database cannot be upgraded: {error}") from error
    finally:
        engine.dispose()
