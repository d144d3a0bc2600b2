"""What tests of upgrades share: migrations of their own, and a look at what they made."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import URL, Column, MetaData, Table, inspect, text

from alembic import command
from ngshare import migrate
from ngshare.database import make_engine


@pytest.fixture
def more_migrations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Adds a migration after the last, of these statements, and returns its revision."""
    folder = tmp_path / "migrations"

    def add(statements: str) -> str:
        latest = migrate.head()
        if not folder.exists():
            shutil.copytree(migrate.scripts(), folder, ignore=shutil.ignore_patterns("__pycache__"))
            monkeypatch.setattr(migrate, "scripts", lambda: folder)
        revision = f"{len(list((folder / 'versions').iterdir())):012x}"
        body = "\n".join(f"    {line}" for line in statements.splitlines())
        (folder / "versions" / f"{revision}_later.py").write_text(
            "import sqlalchemy as sa\nfrom alembic import op\n"
            f"revision = {revision!r}\ndown_revision = {latest!r}\n\n"
            f"def upgrade():\n{body}\n"
        )
        return revision

    return add


def migrate_to(url: URL, revision: str) -> None:
    """Make a database as it was at an older revision."""
    engine = make_engine(url).execution_options(ngshare_writes=True)
    with engine.begin() as connection:
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


def fill(url: URL, count: int = 3) -> None:
    """Put rows into every table, whatever the schema is, that point to each other."""
    engine = make_engine(url).execution_options(ngshare_writes=True)
    metadata = MetaData()
    with engine.begin() as connection:
        metadata.reflect(connection)
        for table in metadata.sorted_tables:
            if table.name != "alembic_version":
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
