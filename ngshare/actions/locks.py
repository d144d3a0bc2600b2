"""Lock rows, so that transactions which read before they write run one after the other.

On PostgreSQL each statement sees what was committed before it began. A transaction that holds the
lock of a row therefore sees the changes of those that held it before. SQLite runs one
writing transaction at a time, and needs no row locks.

To avoid deadlocks, locks are taken in one order: course, assignment, submission, user.
"""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, select

from ngshare.db.models import Assignment, Course, Submission, User

Lockable = type[Course] | type[Assignment] | type[Submission] | type[User]

# FOR NO KEY UPDATE: other transactions can still insert rows that refer to the locked one.
_LOCK = {
    table: select(table.id).where(table.id == bindparam("id")).with_for_update(key_share=True)
    for table in (Course, Assignment, Submission, User)
}


def lock_row(connection: Connection, table: Lockable, row_id: int) -> bool:
    """Lock a row until the transaction ends.

    Return True if the transaction may have waited for the lock. Rows that it read before may then
    be out of date, and must be read again.
    """
    if connection.dialect.name == "sqlite":
        return False
    connection.execute(_LOCK[table], {"id": row_id})
    return True
