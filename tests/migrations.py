"""What tests of upgrades share: migrations of their own, and a look at what they made."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable, Collection, Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import URL, Column, MetaData, Table, inspect, text

from alembic import command
from ngshare.db import migrate
from ngshare.db.engine import make_engine

LATER = """
op.create_table('extra', sa.Column('id', sa.Integer, primary_key=True), sa.Column('x', sa.String))
op.execute("INSERT INTO extra (id, x) SELECT id, name FROM users")
with op.batch_alter_table('courses', recreate='always' if IS_SQLITE else 'never') as table:
    table.add_column(sa.Column('title', sa.String))
with op.batch_alter_table('users', recreate='always' if IS_SQLITE else 'never') as table:
    table.add_column(sa.Column('locale', sa.String, server_default='en', nullable=False))
op.execute("UPDATE courses SET title = 'The course ' || name")
op.drop_table('extra')
""".replace("IS_SQLITE", "(op.get_bind().dialect.name == 'sqlite')")
"""A migration as they come: a table made anew that others point to, and rows changed."""


LATER_BACK = """
op.drop_column('users', 'locale')
op.drop_column('courses', 'title')
"""
"""The way back from LATER."""


@pytest.fixture
def more_migrations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Adds a migration after the last, of these statements, and returns its revision.

    The second argument, if any, is the way back from it.
    """
    folder = tmp_path / "migrations"

    def add(statements: str, back: str = "raise NotImplementedError") -> str:
        latest = migrate.head()
        if not folder.exists():
            shutil.copytree(
                migrate.migrations_folder(), folder, ignore=shutil.ignore_patterns("__pycache__")
            )
            monkeypatch.setattr(migrate, "migrations_folder", lambda: folder)
        revision = f"{len(list((folder / 'versions').iterdir())):012x}"
        body, way_back = (textwrap.indent(text, "    ") for text in (statements, back))
        (folder / "versions" / f"{revision}_later.py").write_text(
            "import sqlalchemy as sa\nfrom alembic import op\n"
            f"revision = {revision!r}\ndown_revision = {latest!r}\n\n"
            f"def upgrade():\n{body}\n\ndef downgrade():\n{way_back}\n"
        )
        return revision

    return add


def migrate_to(url: URL, revision: str) -> None:
    """Make a database as it was at an older revision, or upgrade it to this one."""
    engine = make_engine(url, writes=True)
    with migrate.begin_upgrade(engine) as connection:
        command.upgrade(migrate.alembic_config(connection), revision)
    engine.dispose()


def schema(url: URL) -> dict[str, list[str]]:
    """The columns of each table."""
    engine = make_engine(url)
    found = inspect(engine)
    columns = {
        table: sorted(column["name"] for column in found.get_columns(table))
        for table in found.get_table_names()
    }
    engine.dispose()
    return columns


def rows(url: URL, query: str) -> list[Any]:
    engine = make_engine(url)
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(text(query))]
    engine.dispose()
    return found


def contents(url: URL) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table, whatever the schema is."""
    engine = make_engine(url)
    metadata = MetaData()
    with engine.connect() as connection:
        metadata.reflect(connection)
        found = {
            name: [dict(row) for row in connection.execute(table.select()).mappings()]
            for name, table in metadata.tables.items()
        }
    engine.dispose()
    return found


def without(found: dict[str, Any], *columns: str) -> dict[str, Any]:
    """Rows without what a migration adds."""
    return {
        table: [{name: row[name] for name in row if name not in columns} for row in rows]
        for table, rows in found.items()
        if table != "alembic_version"
    }


def losses(
    before: dict[str, list[dict[str, Any]]],
    after: dict[str, list[dict[str, Any]]],
    intended: Collection[str] = (),
) -> list[str]:
    """What of the contents is not there any more as it was: tables, columns, rows, values.

    ``intended`` are those of which that is meant, as ``table`` or ``table.column``.
    """
    lost = []
    for table, rows in before.items():
        if table == "alembic_version" or table in intended or not rows:
            continue
        if table not in after:
            lost.append(f"the table {table}")
            continue
        if len(after[table]) != len(rows):
            lost.append(f"{len(rows)} rows of {table} became {len(after[table])}")
            continue
        columns = [column for column in rows[0] if f"{table}.{column}" not in intended]
        kept = [column for column in columns if column in after[table][0]]
        lost += [f"the column {table}.{column}" for column in columns if column not in kept]
        old, new = (
            sorted(repr([row[column] for column in kept]) for row in found)
            for found in (rows, after[table])
        )
        if old != new:
            lost.append(f"values of {table}")
    return lost


def fill(url: URL, count: int = 3) -> None:
    """Put rows that point to each other into every empty table, whatever the schema is."""
    engine = make_engine(url, writes=True)
    metadata = MetaData()
    with engine.begin() as connection:
        metadata.reflect(connection)
        for table in metadata.sorted_tables:
            if connection.execute(table.select().limit(1)).first() is None:
                for number in range(1, count + 1):
                    connection.execute(table.insert(), _row(table, number))
    engine.dispose()


def _row(table: Table, number: int) -> dict[str, Any]:
    return {column.name: _value(column, number) for column in table.columns}


def _value(column: Column[Any], number: int) -> Any:
    if column.name == "role":
        return "student"
    if column.name == "removed_at" and number == 1:
        return None
    kind = column.type
    if isinstance(kind, sa.JSON):
        return {"number": number}
    if isinstance(kind, sa.Integer):
        return number
    if isinstance(kind, sa.LargeBinary):
        return bytes([number]) * 32
    if isinstance(kind, sa.DateTime):
        zone = timezone.utc if kind.timezone else None
        return datetime(2026, 1, number, tzinfo=zone)
    return f"Ökonomie {number}"


def fill_at_revision(url: URL, revision: str, rows: Iterable[tuple[str, dict[str, Any]]]) -> None:
    """Bring an empty database to a revision, and insert these rows, each with its table's name."""
    migrate_to(url, revision)
    engine = make_engine(url, writes=True)
    metadata = MetaData()
    with engine.begin() as connection:
        metadata.reflect(connection)
        for table, row in rows:
            connection.execute(metadata.tables[table].insert(), row)
    engine.dispose()
