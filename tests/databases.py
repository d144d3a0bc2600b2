"""The two kinds of database that ngshare works with, as templates that each test gets a copy of.

A test that touches a database asks for ``database_url``, ``database`` or what stands on
them, and gets SQLite. Where the kind matters, as :data:`BOTH` says, it runs twice, with the ids
``sqlite`` and ``postgresql``. What is about one of them only says so: ``@only_sqlite`` or
``@only_postgresql``.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from ngshare.db import migrate
from ngshare.db.urls import parse_url
from tests.postgres import Cluster, Stock

only_sqlite = pytest.mark.databases("sqlite")
only_postgresql = pytest.mark.databases("postgresql")
with_both = pytest.mark.databases("sqlite", "postgresql")

BOTH = {
    "actions/": "every query and every rule",
    "db/test_database.py": "transactions and their retries",
    "db/test_migrate.py": "migrations",
    "db/test_safe_upgrades.py": "migrations",
    "db/test_schema.py": "models equal to migrations",
    "db/test_revision": "migrations",
    "commands/": "long transactions of administrators",
    "hub/test_cycle.py": "a whole assignment, with nbgrader and a real Hub",
    "process/test_crash.py": "what was acknowledged survives",
    "process/test_races.py": "concurrent requests",
    "process/test_starts_together.py": "concurrent upgrades",
    "process/test_storm.py": "concurrent requests",
    "web/test_file_parts.py": "uploads in parts: locks, sums and deletions",
    "web/test_lists.py": "the order of lists, and their pages",
    "web/test_overview.py": "queries of their own",
    "web/test_permissions.py": "one pass over every route",
    "web/test_statements.py": "how many statements each route sends",
    "web/test_write_batches.py": "savepoints",
}
"""Which tests run with both kinds of database, by the beginning of their path, and why."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "databases(*kinds): the kinds of database to run with")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "databases" not in metafunc.fixturenames:
        return
    path = metafunc.definition.path.relative_to(Path(__file__).parent).as_posix()
    kinds = ("sqlite", "postgresql") if path.startswith(tuple(BOTH)) else ("sqlite",)
    mark = metafunc.definition.get_closest_marker("databases")
    metafunc.parametrize("databases", mark.args if mark else kinds, indirect=True, scope="session")


class Databases(Protocol):
    """Makes databases of one kind. What it makes is named by its URL."""

    kind: str

    def template(self, name: str, fill: Callable[[str], None], of: str | None = None) -> str:
        """A database that ``fill`` wrote, empty before or a copy of ``of``; copy it, never use it.

        It is made once for each ``name``. ``fill`` must close its connections.
        """

    def copy(self, template: str | None, folder: Path) -> contextlib.AbstractContextManager[str]:
        """A copy for one test, or an empty database. ``folder`` is that test's own."""


class SqliteDatabases:
    """SQLite databases, each a file."""

    kind = "sqlite"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def template(self, name: str, fill: Callable[[str], None], of: str | None = None) -> str:
        path = self._folder / f"{name}.db"
        if not path.exists():
            if of is not None:
                shutil.copy(of.removeprefix("sqlite:///"), path)
            fill(f"sqlite:///{path}")
        return f"sqlite:///{path}"

    @contextlib.contextmanager
    def copy(self, template: str | None, folder: Path) -> Iterator[str]:
        path = folder / "ngshare.db"
        if template is not None:
            shutil.copy(template.removeprefix("sqlite:///"), path)
        yield f"sqlite:///{path}"


class PostgresDatabases:
    """PostgreSQL databases, all of one server."""

    kind = "postgresql"

    def __init__(self, cluster: Cluster, stock: Stock) -> None:
        self._cluster = cluster
        self._stock = stock
        self._templates: dict[str, str] = {}

    def template(self, name: str, fill: Callable[[str], None], of: str | None = None) -> str:
        if name not in self._templates:
            url = self._cluster.url(self._cluster.create(_name(of)))
            fill(url)
            self._templates[name] = url
        return self._templates[name]

    @contextlib.contextmanager
    def copy(self, template: str | None, folder: Path) -> Iterator[str]:
        name = self._stock.take(_name(template))
        yield self._cluster.url(name)
        self._stock.give_back(name)


def _name(url: str | None) -> str:
    """The name of a database; of none, that of an empty one."""
    return (parse_url(url).database if url else None) or "template1"


@pytest.fixture(scope="session")
def sqlite_databases(tmp_path_factory: pytest.TempPathFactory) -> SqliteDatabases:
    """SQLite databases of this session."""
    return SqliteDatabases(tmp_path_factory.mktemp("databases"))


@pytest.fixture(scope="session")
def postgres_databases(postgres_cluster: Cluster, postgres_stock: Stock) -> PostgresDatabases:
    """PostgreSQL databases of this session."""
    return PostgresDatabases(postgres_cluster, postgres_stock)


@pytest.fixture(scope="session")
def databases(request: pytest.FixtureRequest) -> Databases:
    """The kind of database that the test runs with."""
    name = "sqlite_databases" if request.param == "sqlite" else "postgres_databases"
    found: Databases = request.getfixturevalue(name)
    return found


def make_database(url: str) -> None:
    """Have the migrations make a database."""
    migrate.upgrade(parse_url(url))


@pytest.fixture(scope="session")
def migrated_template(databases: Databases) -> str:
    """An empty database that the migrations made; copy it, never open it."""
    return databases.template("migrated", make_database)


@pytest.fixture
def empty_database_url(databases: Databases, tmp_path: Path) -> Iterator[str]:
    """The URL of a database of this test's own that no migration ever saw."""
    with databases.copy(None, tmp_path) as url:
        yield url


@pytest.fixture
def database_url(databases: Databases, migrated_template: str, tmp_path: Path) -> Iterator[str]:
    """The URL of a database of this test's own, empty and up to date."""
    with databases.copy(migrated_template, tmp_path) as url:
        yield url


@pytest.fixture(scope="session")
def migrated(sqlite_databases: SqliteDatabases) -> Path:
    """The SQLite database among these, as a file."""
    return Path(sqlite_databases.template("migrated", make_database).removeprefix("sqlite:///"))
