"""A throwaway PostgreSQL, with a new database for each test that asks for one."""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import shutil
import subprocess
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.require import require

FAST = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
"""Nothing of these databases is missed when the machine loses power."""

SETTINGS = {
    "listen_addresses": "",
    "deadlock_timeout": "50ms",
    "max_connections": "200",
    "autovacuum": "off",
    "max_wal_size": "4GB",
}


LOCKED = "locked"
"""The one user whom a server of the tests asks for a password; a test that wants it makes it."""


PLACE = "/dev/shm" if os.path.ismount("/dev/shm") else "/tmp"
"""Where clusters are kept: in memory if that is possible, for they are thrown away."""

PREFIX = "ngshare-postgres-"
"""What the folder of a cluster begins with; the id of the process that made it comes after."""


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


class Cluster:
    """A PostgreSQL server of the tests' own, reached by a Unix socket."""

    def __init__(self, **settings: str) -> None:
        programs = find_programs()
        require(programs is not None, "PostgreSQL's server", "apt-get install postgresql")
        try:
            import psycopg  # noqa: F401
        except ImportError:
            require(False, "psycopg", "pip install '.[test]'")
        assert programs is not None
        self._programs = programs
        self._counter = itertools.count()
        # Not below pytest's own folders, which only their owner can enter.
        self.folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=PLACE))
        if os.getuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        self._data = self.folder / "data"
        self._settings = {**SETTINGS, "unix_socket_directories": str(self.folder), **settings}
        as_server_user(
            *(programs / "initdb", "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8"),
            # Sorts as people do, so that whatever wants another order has to say so.
            *("--locale", "C.UTF-8", "--locale-provider", "icu", "--icu-locale", "en-US"),
            *("-D", self._data),
        )
        self._version = int((self._data / "PG_VERSION").read_text())
        rules = self._data / "pg_hba.conf"
        rules.write_text(f"local all {LOCKED} scram-sha-256\n" + rules.read_text())

    def keep(self, name: str, content: bytes) -> Path:
        """Write a file that only the server may read."""
        path = self.folder / name
        path.write_bytes(content)
        path.chmod(0o600)
        if os.getuid() == 0:
            shutil.chown(path, "postgres", "postgres")
        return path

    def set(self, **settings: str) -> None:
        """Change settings, for the next start."""
        self._settings.update(settings)

    @property
    def log(self) -> str:
        """What the server wrote so far."""
        return (self.folder / "log").read_text()

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        options = " ".join(f"-c {name}='{value}'" for name, value in self._settings.items())
        self._control("-o", options, "-l", self.folder / "log", "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: ``fast`` ends every connection first, ``immediate`` is a crash."""
        self._control("-m", mode, "stop")

    def close(self) -> None:
        """End it, and remove all that it held."""
        with contextlib.suppress(subprocess.CalledProcessError):  # it does not run
            self.stop("immediate")
        shutil.rmtree(self.folder)

    def url(self, database: str) -> str:
        """The URL of a database."""
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def execute(self, statement: str, database: str = "postgres") -> list[Any]:
        """Run one statement, outside of a transaction. Return its rows, if it has any."""
        import psycopg

        with psycopg.connect(
            host=str(self.folder), user="postgres", dbname=database, autocommit=True
        ) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def end_connections(self, database: str) -> None:
        """End every connection to a database, as a server does that fails over."""
        self.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
        )

    def create(self, template: str = "template1") -> str:
        """Make a database, as a copy of another that nobody has open. Return its name."""
        name = f"test_{next(self._counter)}"
        # Through the log, which is the default, it takes twice the time.
        strategy = " STRATEGY file_copy" if self._version >= 15 else ""
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}{strategy}")
        return name

    def drop(self, database: str) -> None:
        """Remove a database, whoever has it open."""
        self.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")

    def _control(self, *arguments: str | Path) -> None:
        as_server_user(self._programs / "pg_ctl", "-D", self._data, "-w", *arguments)


class Stock:
    """Copies of templates, made ahead and removed behind, while the tests run."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._ready: dict[str, queue.SimpleQueue[str]] = defaultdict(queue.SimpleQueue)
        self._work: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def take(self, template: str) -> str:
        """The name of a copy that nobody else has."""
        self._work.put(("copy", template))
        try:
            return self._ready[template].get_nowait()
        except queue.Empty:
            return self._cluster.create(template)

    def give_back(self, name: str) -> None:
        """Remove a copy soon."""
        self._work.put(("drop", name))

    def close(self) -> None:
        self._work.put(("end", ""))
        self._thread.join()

    def _run(self) -> None:
        while True:
            what, name = self._work.get()
            if what == "end":
                return
            if what == "copy":
                self._ready[name].put(self._cluster.create(name))
            else:
                self._cluster.drop(name)


def end_orphans() -> None:
    """End the servers whose tests were killed, and remove what they left."""
    programs = find_programs()
    for folder in Path(PLACE).glob(f"{PREFIX}[0-9]*-*"):
        process = Path("/proc") / folder.name.removeprefix(PREFIX).partition("-")[0]
        if programs and not process.exists() and folder.is_dir():
            with contextlib.suppress(subprocess.CalledProcessError):  # it does not run
                as_server_user(
                    programs / "pg_ctl", "-D", folder / "data", "-w", "-m", "immediate", "stop"
                )
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def running_cluster(**settings: str) -> Iterator[Cluster]:
    """A server that runs as long as this lasts."""
    cluster = Cluster(**settings)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Cluster]:
    """A PostgreSQL server which the whole session shares. It does not survive a loss of power."""
    end_orphans()
    with running_cluster(**FAST) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def postgres_stock(postgres_cluster: Cluster) -> Iterator[Stock]:
    """Databases of that server, ready for tests."""
    stock = Stock(postgres_cluster)
    yield stock
    stock.close()


@pytest.fixture(scope="module")
def new_postgres_database(postgres_cluster: Cluster) -> Iterator[Callable[[], str]]:
    """Makes an empty database, and returns its URL."""
    made = []

    def make() -> str:
        made.append(postgres_cluster.create())
        return postgres_cluster.url(made[-1])

    yield make
    for name in made:
        postgres_cluster.drop(name)


@pytest.fixture
def postgres_url(postgres_cluster: Cluster, postgres_stock: Stock) -> Iterator[str]:
    """The URL of an empty database."""
    name = postgres_stock.take("template1")
    yield postgres_cluster.url(name)
    postgres_stock.give_back(name)
