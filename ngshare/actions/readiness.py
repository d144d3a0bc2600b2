"""Check that the database answers and has the revision of this program."""

from __future__ import annotations

from sqlalchemy import Connection, select, text

from ngshare.db.models import (
    Course,
)

_REVISION = text("SELECT version_num FROM alembic_version")


class WrongRevision(Exception):
    """The database is not of this program's revision. The message names both."""


def look(connection: Connection, revision: str) -> None:
    """Look something up, so one knows whether the database answers, and is of this revision.

    Somebody may have put another one in its place, whose tables have the same names.
    Raises WrongRevision.
    """
    connection.execute(select(Course.id).limit(1)).all()
    found = connection.scalar(_REVISION)
    if found != revision:
        raise WrongRevision(f"it is at revision {found or 'none'}, this ngshare needs {revision}")
