"""All rows of a site, from one database into another, of the same or of the other kind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Table, delete, func, insert, select, text

from ngshare.db.engine import make_engine
from ngshare.db.models import Base

TOGETHER = 1000
"""How many rows are read and written at once."""

TABLES: list[Table] = list(Base.metadata.sorted_tables)
"""Every table, those that others point to first."""


@contextmanager
def open_file(path: Path) -> Iterator[Connection]:
    """A SQLite file that nobody else works with, in one transaction that changes nothing.

    Nothing is made beside it, so it may be on a disk that cannot be written.
    """
    engine = make_engine(file_url(path), wal=False)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def file_url(path: Path) -> URL:
    """The URL of a SQLite file, whatever its name."""
    return URL.create("sqlite", database=str(path))


def count_rows(connection: Connection) -> dict[str, int]:
    """How many rows each table has."""
    return {
        table.name: connection.scalar(select(func.count()).select_from(table)) or 0
        for table in TABLES
    }


def lock(connection: Connection) -> None:
    """Keep everybody else from writing until the end of this transaction, which writes itself.

    On SQLite that is so since it began.
    """
    if connection.dialect.name == "postgresql":
        tables = ", ".join(table.name for table in TABLES)
        connection.execute(text(f"LOCK TABLE {tables} IN EXCLUSIVE MODE"))


def replace_rows(target: Connection, source: Connection) -> None:
    """Put all rows of ``source`` in the place of all rows of ``target``, both of one revision.

    It is one transaction of ``target``: whoever else works with it sees the rows of
    before, and then those of after. Where others may write, :func:`lock` it first. Ids
    stay what they are.
    """
    postgres = target.dialect.name == "postgresql"
    for table in reversed(TABLES):
        # Not TRUNCATE: on PostgreSQL a state that was read before would become empty.
        target.execute(delete(table))
    for table in TABLES:
        with source.execution_options(yield_per=TOGETHER).execute(select(table)) as rows:
            for portion in rows.mappings().partitions():
                target.execute(insert(table), [dict(row) for row in portion])
        if postgres and "id" in table.c:
            # Else the next row would get an id that one of these has.
            highest = select(func.max(table.c.id)).scalar_subquery()
            target.execute(
                select(
                    func.setval(
                        func.pg_get_serial_sequence(table.name, "id"),
                        func.coalesce(highest, 0) + 1,
                        False,  # the next one is this
                    )
                )
            )
