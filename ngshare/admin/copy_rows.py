"""Copy all rows of a site from one database into another, SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Table, delete, func, insert, select, text

from ngshare.db.engine import make_engine
from ngshare.db.models import Base

BATCH_SIZE = 1000
"""The number of rows that are read and written at once."""

TABLES: list[Table] = list(Base.metadata.sorted_tables)
"""All tables, in the order of their foreign keys: a table comes after those it refers to."""


@contextmanager
def open_sqlite_copy(path: Path) -> Iterator[Connection]:
    """Open a SQLite file that no other process uses, in one read transaction.

    Creates no file beside it, so the file may be on a read-only disk.
    """
    engine = make_engine(sqlite_url(path), wal=False)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def sqlite_url(path: Path) -> URL:
    """Return the URL of a SQLite file; its name may hold any character."""
    return URL.create("sqlite", database=str(path))


def count_rows(connection: Connection) -> dict[str, int]:
    """Return the number of rows in each table, by the table's name."""
    return {
        table.name: connection.scalar(select(func.count()).select_from(table)) or 0
        for table in TABLES
    }


def lock_tables(connection: Connection) -> None:
    """Block the writes of other transactions until this write transaction ends.

    Does nothing on SQLite, where a write transaction excludes others from its start.
    """
    if connection.dialect.name == "postgresql":
        tables = ", ".join(table.name for table in TABLES)
        connection.execute(text(f"LOCK TABLE {tables} IN EXCLUSIVE MODE"))


def replace_rows(target: Connection, source: Connection) -> None:
    """Replace all rows of ``target`` by those of ``source``, and keep their ids.

    Both databases must be at the same revision. The replacement is part of the transaction of
    ``target``: other transactions see the old rows until it commits. Call :func:`lock_tables`
    first when others may write to ``target``.
    """
    postgres = target.dialect.name == "postgresql"
    for table in reversed(TABLES):
        # Not TRUNCATE: on PostgreSQL older snapshots would see an empty table.
        target.execute(delete(table))
    for table in TABLES:
        with source.execution_options(yield_per=BATCH_SIZE).execute(select(table)) as rows:
            for batch in rows.mappings().partitions():
                target.execute(insert(table), [dict(row) for row in batch])
        if postgres and "id" in table.c:
            # Otherwise the sequence would hand out an id that a copied row has.
            highest = select(func.max(table.c.id)).scalar_subquery()
            target.execute(
                select(
                    func.setval(
                        func.pg_get_serial_sequence(table.name, "id"),
                        func.coalesce(highest, 0) + 1,
                        False,  # the next id is this one, not the one after it
                    )
                )
            )
