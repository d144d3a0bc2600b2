"""A PostgreSQL of our own, as durable as it is out of the box: every commit waits for the disk."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg

from tests.postgres import as_server_user, find_programs

SETTINGS = "-c listen_addresses='' -c max_connections=50"


def available() -> bool:
    """Whether PostgreSQL's server is installed."""
    return find_programs() is not None


@contextlib.contextmanager
def running() -> Iterator[Path]:
    """A server, known by the folder of its socket; it ends, and all is removed, at the end."""
    programs = find_programs()
    if programs is None:
        raise RuntimeError("PostgreSQL's server is missing: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="ngshare-bench-postgres-", dir="/tmp"))
    try:
        if os.getuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        data = folder / "data"
        as_server_user(
            *(programs / "initdb", "-A", "trust", "-U", "postgres"),
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


def new_database(cluster: Path, name: str) -> str:
    """The URL of an empty database."""
    with psycopg.connect(
        host=str(cluster), user="postgres", dbname="postgres", autocommit=True
    ) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return f"postgresql://postgres@/{name}?host={cluster}"
