"""The two kinds of database that ngshare works with, as templates that each test gets a copy of.

A test that touches a database asks for ``database_url``, ``database`` or what stands on
them, and so runs twice: with the ids ``sqlite`` and ``postgresql``. What is about one of them
only says so: ``@only_sqlite`` or ``@only_postgresql``.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from ngshare import migrate
from ngshare.database import parse_url
from tests.postgres import Cluster, Stock

only_sqlite = pytest.mark.parametrize("databases", ["sqlite"], indirect=True)
only_postgresql = pytest.mark.parametrize("databases", ["postgresql"], indirect=True)


class Databases(Protocol):
    """Makes databases of one kind. What it makes is named by its URL."""

    kind: str

    def template(self, fill: Callable[[str], None], of: str | None = None) -> str:
        """A database that ``fill`` wrote, empty before or a copy of ``of``; copy it, never use it.

        ``fill`` must close its connections.
        """

    def copy(self, template: str | None, folder: Path) -> contextlib.AbstractContextManager[str]:
        """A copy for one test, or an empty database. ``folder`` is that test's own."""


class SqliteDatabases:
    """SQLite databases, each a file."""

    kind = "sqlite"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._counter = itertools.count()

    def template(self, fill: Callable[[str], None], of: str | None = None) -> str:
        path = self._folder / f"{next(self._counter)}.db"
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

    def template(self, fill: Callable[[str], None], of: str | None = None) -> str:
        url = self._cluster.url(self._cluster.create(_name(of)))
        fill(url)
        return url

    @contextlib.contextmanager
    def copy(self, template: str | None, folder: Path) -> Iterator[str]:
        name = self._stock.take(_name(template))
        yield self._cluster.url(name)
        self._stock.give_back(name)


def _name(url: str | None) -> str:
    """The name of a database; of none, that of an empty one."""
    return (parse_url(url).database if url else None) or "template1"


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def databases(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Databases:
    """Each of the two kinds of database."""
    if request.param == "sqlite":
        return SqliteDatabases(tmp_path_factory.mktemp("databases"))
    return PostgresDatabases(
        request.getfixturevalue("postgres_cluster"), request.getfixturevalue("postgres_stock")
    )


@pytest.fixture(scope="session")
def migrated_template(databases: Databases) -> str:
    """An empty database that the migrations made; copy it, never open it."""
    return databases.template(lambda url: migrate.upgrade(parse_url(url)) and None)


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
