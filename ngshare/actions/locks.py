"""Waiting for each other, where two transactions that both look first would both be wrong.

PostgreSQL shows each statement what others have committed before it, so whoever
holds the lock of a row looks at what the one before left. SQLite lets one
transaction write at a time, and needs none of this.

Locks are taken in one order: a course, an assignment, a submission, a user.
"""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, select

from ngshare.db.models import Assignment, Course, Submission, User

Lockable = type[Course] | type[Assignment] | type[Submission] | type[User]

# NO KEY: rows that point to the locked one can be inserted meanwhile.
_LOCK = {
    table: select(table.id).where(table.id == bindparam("id")).with_for_update(key_share=True)
    for table in (Course, Assignment, Submission, User)
}


def lock(connection: Connection, table: Lockable, row_id: int) -> bool:
    """Make others who lock this row wait until this transaction ends.

    Return whether this one may have waited itself, so that what it knows may be out of date.
    """
    if connection.dialect.name == "sqlite":
        return False
    connection.execute(_LOCK[table], {"id": row_id})
    return True
