"""Which database a storage belongs to, kept in the storage itself.

``ngshare storage gc`` removes what a database does not name, so with the wrong one it
removes everybody's work, and a database of yesterday names much of what is there: only
who wrote last into the storage tells the right one from it. So a service leaves the mark
of its database there when it starts, and so does a restore when it is complete.

The mark must be the same however the database is spelled. A SQLite file is known by
where it lies seen from the storage: moved or mounted elsewhere together they still
belong together, and a copy of both is a pair of its own. A PostgreSQL database is known
by what its server calls itself, and by its own number there.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, text

from ngshare.blobs import LocalBlobs
from ngshare.database import make_engine, show_url
from ngshare.durable import sync

log = logging.getLogger("ngshare")

_SQLITE = "sqlite "


@dataclass(frozen=True, slots=True)
class Mark:
    """A database as a storage knows it: ``key`` is compared, ``shown`` is for people."""

    key: str
    shown: str


def mark_of(url: URL, store: LocalBlobs) -> Mark:
    """The mark of a database, which must be there. Raises DBAPIError."""
    if url.get_backend_name() == "sqlite":
        path = Path((url.database or "").removeprefix("file:")).resolve()
        return _sqlite_mark(os.path.relpath(path, store.folder.resolve()), store)
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            server = f"{url.host}:{url.port}"
            # Anybody may call it, unless an administrator of the server thought otherwise.
            if connection.scalar(
                text("SELECT has_function_privilege('pg_control_system()', 'EXECUTE')")
            ):
                server = connection.scalar(
                    text("SELECT CAST(system_identifier AS text) FROM pg_control_system()")
                )
            number, schema = connection.execute(
                text(
                    "SELECT oid, current_schema() FROM pg_database "
                    "WHERE datname = current_database()"
                )
            ).one()
    finally:
        engine.dispose()
    return Mark(f"postgresql {server} {number} {schema}", show_url(url))


def read_mark(store: LocalBlobs) -> Mark | None:
    """The mark in a storage; None when there is none, as in one of an ngshare before 1.0.

    One that cannot be understood is that of no database. Raises OSError.
    """
    try:
        said = json.loads(store.belongs_to.read_text(encoding="utf8"))
        key, shown = str(said["key"]), str(said["database"])
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, RecursionError):
        return Mark("", f"the one that {store.belongs_to} named before it was damaged")
    if key.startswith(_SQLITE):
        return _sqlite_mark(key.removeprefix(_SQLITE), store)
    return Mark(key, shown)


def leave_mark(url: URL, store: LocalBlobs) -> None:
    """From now on, the storage belongs to this database. Raises DBAPIError or OSError."""
    mark, before = mark_of(url, store), read_mark(store)
    if before is not None and before.key == mark.key:
        return
    # Several services of one site may do this at once.
    part = store.incoming / secrets.token_hex(16)
    try:
        with part.open("x", encoding="utf8") as file:
            json.dump({"database": mark.shown, "key": mark.key}, file)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        part.rename(store.belongs_to)
        sync(store.folder)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    if before is not None:
        log.warning(
            "The files in %s belonged to the database %s, and belong to %s from now on: "
            "ngshare storage gc works with that one only",
            store.folder,
            before.shown,
            mark.shown,
        )


def _sqlite_mark(relative: str, store: LocalBlobs) -> Mark:
    path = os.path.normpath(store.folder.resolve() / relative)
    return Mark(f"{_SQLITE}{relative}", f"sqlite:///{path}")
