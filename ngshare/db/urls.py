"""Database URLs: parse the administrator's, and format them without secrets."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote

from sqlalchemy import URL, make_url


def parse_url(text: str) -> URL:
    """Parse a database URL. Raises ValueError with a predicate, as in "names mysql; ...".

    ``postgresql:`` selects psycopg 3, the only driver that ngshare is tested with. The name of
    the database, for SQLite a path, is not percent-decoded. A path that is a symbolic link is
    resolved.
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
        if Path(url.database).is_symlink():  # backups and locks are kept beside the file itself
            url = url.set(database=os.path.realpath(url.database))
        return url.set(drivername="sqlite")
    if backend in ("postgresql", "postgres"):
        if "@" in f"{url.host}{url.database}":
            # The text before the second @ would be parsed as the host, and be logged.
            raise ValueError("has more than one @; in a user name or password write %40 for it")
        return url.set(drivername="postgresql+psycopg")
    raise ValueError(f"names {backend}; ngshare works with sqlite and postgresql")


_BEFORE_DATABASE = re.compile(r"[^:]+://(?:[^:/]*(?::[^@]*)?@)?[^/?]*/")


def _with_literal_database(url: URL, text: str) -> URL:
    """Return ``url`` with the name of the database exactly as written in ``text``.

    SQLAlchemy 2.1 percent-decodes it and 2.0 does not, so the file that a URL names would
    depend on the installed version.
    """
    prefix = _BEFORE_DATABASE.match(text)
    if prefix is None or url.database is None:
        return url
    return url.set(database=text[prefix.end() :].partition("?")[0])


def _path_of(file_url: str) -> str:
    """Return the path that SQLite would open for a ``file:`` URL."""
    path = unquote(file_url.removeprefix("file:"))
    return "/" + path[2:].partition("/")[2] if path.startswith("//") else path


_PUBLIC_PARAMETERS = ("host", "port", "service")
"""Parameters after the ? of a URL that say where the database is. The others may be secret."""


def show_url(url: URL) -> str:
    """Format a URL without its secrets. :func:`parse_url` accepts the result."""
    hidden = [name for name in url.query if name not in _PUBLIC_PARAMETERS]
    if url.get_backend_name() == "sqlite":
        hidden = []
    url = url.difference_update_query(hidden)
    if url.database is None:
        return url.render_as_string(hide_password=True)
    # SQLAlchemy 2.1 would percent-encode the name of the database; see _with_literal_database.
    before, mark, query = url.set(database="").render_as_string(hide_password=True).partition("?")
    return f"{before}{url.database}{mark}{query}"
