"""A throwaway PostgreSQL, with a new database for each test that asks for one.

A test file loads it with ``pytest_plugins = ["tests.postgres"]``, and imports nothing from it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.require import require

SETTINGS = "-c listen_addresses='' -c fsync=off -c deadlock_timeout=50ms -c max_connections=200"


def find_programs() -> Path | None:
    """The folder of PostgreSQL's server programs; Debian has it outside of the PATH."""
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return debian[-1].parent if debian else None


def as_server_user(*command: str | Path) -> None:
    """Run this as a user that PostgreSQL agrees to run as: any but root."""
    prefix = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    subprocess.run(
        [*prefix, *command],
        cwd="/",
        # A server that is started here would hold the pipes of whoever waits for this to end.
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
        timeout=60,
    )


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Path]:
    """The folder of the Unix socket of a PostgreSQL server, which the whole session shares."""
    programs = find_programs()
    require(programs is not None, "PostgreSQL's server", "apt-get install postgresql")
    try:
        import psycopg  # noqa: F401
    except ImportError:
        require(False, "psycopg", "pip install '.[test]'")
    assert programs is not None
    # Directly under /tmp: pytest's own folders can be entered by their owner only.
    folder = Path(tempfile.mkdtemp(prefix="ngshare-postgres-", dir="/tmp"))
    try:
        if os.getuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        data = folder / "data"
        as_server_user(
            *(programs / "initdb", "-A", "trust", "-U", "postgres", "--no-sync"),
            *("-E", "UTF8", "--locale", "C.UTF-8", "-D", data),
        )
        control = (programs / "pg_ctl", "-D", data, "-w")
        as_server_user(*control, "-o", f"{SETTINGS} -k {folder}", "-l", folder / "log", "start")
        try:
            yield folder
        finally:
            as_server_user(*control, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def new_postgres_database(postgres_cluster: Path) -> Callable[[], str]:
    """Makes an empty database, and returns its URL."""
    import psycopg

    def make() -> str:
        name = f"test_{uuid4().hex}"
        with psycopg.connect(
            host=str(postgres_cluster), user="postgres", dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql://postgres@/{name}?host={postgres_cluster}"

    return make


@pytest.fixture
def postgres_url(new_postgres_database: Callable[[], str]) -> str:
    """The URL of an empty database."""
    return new_postgres_database()
