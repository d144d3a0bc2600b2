"""The tables that the migrations make are those of the models, to the last detail.

Alembic's own comparison passes over collations, conditions of indexes and checks.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, inspect, text

from ngshare.actions import assignments, courses, roster, roster_import
from ngshare.actions.access import Caller
from ngshare.db.engine import make_engine
from ngshare.db.models import Base
from ngshare.db.transactions import Database
from ngshare.db.urls import parse_url
from ngshare.protocol.trees import StoredFile
from tests.databases import Databases

POSTGRES = (
    "SELECT table_name, column_name, data_type, collation_name, is_nullable, column_default "
    "FROM information_schema.columns WHERE table_schema = 'public'",
    "SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "SELECT CAST(conrelid AS regclass), conname, pg_get_constraintdef(oid) FROM pg_constraint "
    "WHERE connamespace = CAST('public' AS regnamespace)",
)


def described(url: str) -> list[str]:
    """Every column, index and constraint of a database, as lines."""
    engine = make_engine(parse_url(url))
    try:
        lines = _postgres(engine) if engine.dialect.name == "postgresql" else _sqlite(engine)
    finally:
        engine.dispose()
    return sorted(line for line in lines if "alembic_version" not in line)


def _postgres(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return [str(row) for query in POSTGRES for row in connection.execute(text(query))]


def _sqlite(engine: Engine) -> list[str]:
    found = inspect(engine)
    parts = {
        "column": found.get_columns,
        "key": lambda table: [found.get_pk_constraint(table)],
        "foreign key": found.get_foreign_keys,
        "unique": found.get_unique_constraints,
        "check": found.get_check_constraints,
        "index": found.get_indexes,
    }
    return [
        f"{table} {kind} {_plain(one)}"
        for table in found.get_table_names()
        for kind, get in parts.items()
        for one in get(table)
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in sorted(value.items())}
    return value if isinstance(value, (list, bool, type(None))) else str(value)


def made_from_models(url: str) -> list[str]:
    engine = make_engine(parse_url(url), writes=True)
    with engine.begin() as connection:
        Base.metadata.create_all(connection)
    engine.dispose()
    return described(url)


def test_migrations_create_the_tables_of_the_models(
    databases: Databases, database_url: str, tmp_path: Path
) -> None:
    (tmp_path / "models").mkdir()
    with databases.copy(None, tmp_path / "models") as other:
        expected = made_from_models(other)
    assert described(database_url) == expected
    assert len(expected) > 50


@pytest.mark.parametrize(
    "change",
    [
        "DROP INDEX uq_courses_live_name",
        "DROP INDEX uq_courses_live_name; "
        "CREATE UNIQUE INDEX uq_courses_live_name ON courses (name)",
        "ALTER TABLE users ADD COLUMN more INTEGER",
    ],
)
def test_a_difference_is_found(database_url: str, change: str) -> None:
    before = described(database_url)
    engine = make_engine(parse_url(database_url), writes=True)
    with engine.begin() as connection:
        for statement in change.split(";"):
            connection.execute(text(statement))
    engine.dispose()
    assert described(database_url) != before


# What the tables sort


NAMES = ["b", "B", "a", "Ä", "ä", "_", "10", "9", "Z", "é", "e", "z b", "zb", "🎓", "\uffee"]


def test_names_and_paths_are_sorted_as_python_sorts(database: Database) -> None:
    """Whatever the language of the database: that of the tests' PostgreSQL is English."""
    admin = Caller("root", admin=True)
    for name in NAMES:
        database.write(courses.create_course, admin, name, [])
    people = [roster.Person(name) for name in NAMES]
    database.write(roster_import.import_students, admin, "a", people)
    files = [StoredFile(name, b"\0" * 32, b"\0" * 16, 1) for name in NAMES]
    database.write(assignments.release_assignment, admin, "a", "ps1", files)
    listed = database.read(roster.list_students, admin, "a")
    fetched = database.read(assignments.fetch_assignment, admin, "a", "ps1")
    assert database.read(courses.list_courses, admin) == sorted(NAMES)
    assert [person.username for person in listed] == sorted(NAMES)
    assert [file.path for file in fetched] == sorted(NAMES)


def test_the_longest_names_and_paths_are_kept(database: Database) -> None:
    """An index of PostgreSQL holds 2,704 bytes, and no pattern in these shortens them."""
    admin = Caller("root", admin=True)
    at_random = random.Random(1)
    name = "".join(chr(at_random.randrange(0x20000, 0x2A000)) for _ in range(255))
    path = "".join(chr(at_random.randrange(0x20000, 0x2A000)) for _ in range(2048 // 4))
    files = [StoredFile(path, b"\0" * 32, b"\0" * 16, 1)]
    database.write(courses.create_course, admin, name, [name])
    database.write(assignments.release_assignment, Caller(name), name, name, files)
    assert database.read(courses.list_courses, Caller(name)) == [name]
    assert database.read(assignments.list_assignments, Caller(name), name) == [name]
    assert database.read(assignments.fetch_assignment, Caller(name), name, name) == files
