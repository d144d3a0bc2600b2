"""URLs of databases: parse what an administrator wrote, and show it without secrets."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote

from sqlalchemy import URL, make_url


def parse_url(text: str) -> URL:
    """Return the SQLAlchemy URL that ``text`` stands for. Raises ValueError with what is wrong.

    ``postgresql:`` means psycopg 3, the one driver that ngshare is tested with. The name of
    the database, a path for SQLite, is taken literally: a ``%`` in it is a ``%``.
    """
    try:
        url = _with_literal_database(make_url(text), text)
        backend = url.get_backend_name()
    except Exception:
        raise ValueError(
            "is not a database URL; write sqlite:////folder/ngshare.db "
            "or postgresql://user:password@host/name"
        ) from None
    if backend == "sqlite":
        if url.host:
            where = f"{url.host}/{url.database or ''}".rstrip("/")
            raise ValueError(
                f"has two slashes; write sqlite:////{where} for /{where}, "
                f"or sqlite:///{where} for {where} in the folder where ngshare starts"
            )
        if not url.database or url.database == ":memory:" or "mode=memory" in text:
            raise ValueError(
                "is a database in memory, which is lost at every stop; "
                "name a file, as in sqlite:////srv/ngshare/ngshare.db"
            )
        if url.database.startswith("file:"):
            raise ValueError(
                "is a file: URL inside of a database URL; write the path alone: "
                f"sqlite:///{_path_of(url.database)}"
            )
        if Path(url.database).is_symlink():  # backups, locks and reports lie beside the file itself
            url = url.set(database=os.path.realpath(url.database))
        return url.set(drivername="sqlite")
    if backend in ("postgresql", "postgres"):
        if "@" in f"{url.host}{url.database}":
            # What stands before the second @ would be taken for a host, and be shown.
            raise ValueError("has more than one @; in a user name or password write %40 for it")
        return url.set(drivername="postgresql+psycopg")
    raise ValueError(f"names {backend}; ngshare works with sqlite and postgresql")


_BEFORE_DATABASE = re.compile(r"[^:]+://(?:[^:/]*(?::[^@]*)?@)?[^/?]*/")


def _with_literal_database(url: URL, text: str) -> URL:
    """Return ``url`` with the name of the database as it is written in ``text``.

    SQLAlchemy 2.1 decodes ``%41`` there, 2.0 and those before do not: one URL would name two
    files, depending on what is installed.
    """
    before = _BEFORE_DATABASE.match(text)
    if before is None or url.database is None:
        return url
    return url.set(database=text[before.end() :].partition("?")[0])


def _path_of(file_url: str) -> str:
    """The path that SQLite takes such a URL for."""
    path = unquote(file_url.removeprefix("file:"))
    return "/" + path[2:].partition("/")[2] if path.startswith("//") else path


_SHOWN = ("host", "port", "service")
"""What stands after the ? of a URL and tells where the database is. The rest may be secret."""


def show_url(url: URL) -> str:
    """Return the URL as text for people to read, without any password.

    :func:`parse_url` reads the same database from it.
    """
    hidden = [name for name in url.query if name not in _SHOWN]
    if url.get_backend_name() == "sqlite":
        hidden = []
    url = url.difference_update_query(hidden)
    if url.database is None:
        return url.render_as_string(hide_password=True)
    # SQLAlchemy 2.1 would encode the name of the database, which is taken literally.
    before, mark, query = url.set(database="").render_as_string(hide_password=True).partition("?")
    return f"{before}{url.database}{mark}{query}"
