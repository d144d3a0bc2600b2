"""Check that the database answers and has the schema revision that this program needs."""

from __future__ import annotations

from sqlalchemy import Connection, select, text

from ngshare.db.models import Course

_REVISION = text("SELECT version_num FROM alembic_version")


class WrongRevision(Exception):
    """The database has another revision than this program needs. The message names both."""


def check_revision(connection: Connection, revision: str) -> None:
    """Read from the database, and raise WrongRevision unless it is at ``revision``.

    The revision is compared because another database, whose tables have the same names, may have
    been put in the place of the first while the service runs.
    """
    connection.execute(select(Course.id).limit(1)).all()
    current = connection.scalar(_REVISION)
    if current != revision:
        raise WrongRevision(f"it is at revision {current or 'none'}, this ngshare needs {revision}")
