"""Eight processes that start at the same moment: one upgrade, eight healthy services."""

from __future__ import annotations

import http.client
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pytest

from ngshare.actions import courses, roster
from ngshare.actions.access import Caller
from ngshare.db import migrate
from ngshare.db.transactions import Database
from ngshare.db.urls import parse_url
from tests.databases import Databases, only_sqlite
from tests.legacy06.conftest import REAL_SITE
from tests.migrations import LATER, contents, without
from tests.process.forked import ForkedProcess
from tests.process.site import PATIENCE, Client, Site, wait_for

COUNT = 5

LATER_PROGRAM = (
    "import pathlib, sys\n"
    "from ngshare import app\nfrom ngshare.db import migrate\n"
    "folder = pathlib.Path(sys.argv.pop(1))\n"
    "migrate.migrations_folder = lambda: folder\n"
    "app.main()"
)
"""ngshare with the migrations of a folder that stands first on its command line."""


@dataclass
class Starts:
    """Services on one database and one storage, each on a port of its own."""

    site: Site
    url: str
    processes: list[ForkedProcess | subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, command: Sequence[str] | None = None) -> None:
        """Start all of them, and wait until each listens."""
        arguments = [*self.site.arguments(), "--database", self.url]
        for number in range(COUNT):
            with self._log(number).open("w") as log:
                self.processes.append(self._begin(command, arguments, log))
        for number in range(COUNT):
            wait_for(f"service {number}", lambda number=number: self._listens(number))

    def _begin(
        self, command: Sequence[str] | None, arguments: list[str], log: IO[str]
    ) -> ForkedProcess | subprocess.Popen[bytes]:
        folder, environment = self.site.folder, self.site.environment
        if command is None:
            return ForkedProcess(
                arguments, folder=folder, environment=environment, stdout=log, stderr=log
            )
        return subprocess.Popen(
            [*command, *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )

    @property
    def outputs(self) -> list[str]:
        return [self._log(number).read_text() for number in range(COUNT)]

    @property
    def ports(self) -> list[int]:
        found = [re.search(r"listens on http://[^/]+:(\d+)/", output) for output in self.outputs]
        return [int(match[1]) for match in found if match]

    def assert_healthy(self) -> None:
        """Each answers, and each sees what another one has written."""
        assert len(set(self.ports)) == COUNT
        for port in self.ports:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
            with closing(connection):
                connection.request("GET", "/healthz")
                assert connection.getresponse().read() == b'{"success": true}'
        for number, port in enumerate(self.ports):
            with Client(port, "ada") as ada:
                assert ada.post("course", f"new {number}").status == 200
        for port in self.ports:
            with Client(port, "ada") as ada:
                courses = ada.get("courses").json["courses"]
                assert {f"new {number}" for number in range(COUNT)} <= set(courses)

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()

    def _log(self, number: int) -> Path:
        return self.site.folder / f"log{number}"

    def _listens(self, number: int) -> bool:
        output = self._log(number).read_text()
        assert self.processes[number].poll() is None, output
        return "Mode: stand-alone" in output


@pytest.fixture
def empty_url(databases: Databases, tmp_path: Path) -> Iterator[str]:
    """A database that nothing was ever written to."""
    with databases.copy(None, tmp_path) as url:
        yield url


@pytest.fixture
def starts(site: Site, empty_url: str) -> Iterator[Starts]:
    starts = Starts(site, empty_url)
    yield starts
    starts.close()
    for output in starts.outputs:
        assert "Traceback" not in output
        assert "Internal error" not in output


def upgrades(starts: Starts) -> list[str]:
    """What each says that it did to the database."""
    said = [re.search(r"revision \w+, (.*)\n", output) for output in starts.outputs]
    return sorted(match[1] for match in said if match)


def test_on_an_empty_database(starts: Starts) -> None:
    starts.start()
    assert upgrades(starts) == ["newly created"] + ["up to date"] * (COUNT - 1)
    starts.assert_healthy()


def test_on_a_current_database(starts: Starts) -> None:
    migrate.upgrade(parse_url(starts.url))
    starts.start()
    assert upgrades(starts) == ["up to date"] * COUNT
    starts.assert_healthy()


def test_on_a_database_one_revision_behind(
    starts: Starts, more_migrations: Callable[[str], str]
) -> None:
    """All of them start a later ngshare; one of them upgrades, and loses nothing."""
    url = parse_url(starts.url)
    migrate.upgrade(url)
    database = Database(url)
    ada = Caller("ada", admin=True)
    for name in ("one", "two"):
        database.write(courses.create_course, ada, name, ["ivy"])
        database.write(roster.put_student, ada, name, "sam", "Sam", "Sun", "")
    database.close()
    before = contents(url)
    behind, later = migrate.head(), more_migrations(LATER)
    starts.start([sys.executable, "-c", LATER_PROGRAM, str(migrate.migrations_folder())])
    assert upgrades(starts) == ["up to date"] * (COUNT - 1) + [f"upgraded from {behind}"]
    after = contents(url)
    assert after["alembic_version"] == [{"version_num": later}]
    assert without(after, "title", "locale") == without(before)
    assert sorted(row["title"] for row in after["courses"]) == ["The course one", "The course two"]
    starts.assert_healthy()


@only_sqlite
def test_on_a_site_of_0_6(starts: Starts) -> None:
    shutil.copytree(REAL_SITE / "files", starts.site.storage, copy_function=shutil.copyfile)
    shutil.copyfile(REAL_SITE / "ngshare.db", starts.site.database_file)
    assert starts.url == f"sqlite:///{starts.site.database_file}"
    starts.start()
    assert upgrades(starts) == ["up to date"] * (COUNT - 1) + ["upgraded from 1921a169739b"]
    assert "".join(starts.outputs).count("Adopted the site of ngshare 0.6") == 1
    assert "".join(starts.outputs).count("Backup of the database") == 1
    starts.assert_healthy()
    for port in starts.ports:
        with Client(port, "prof0") as prof:
            listed = prof.get("submissions", "Physics 101", "ps1").json["submissions"]
            assert len(listed) == 7
            for one in listed[1:]:
                where = ("Physics 101", "ps1", one["student_id"])
                files = prof.collect(*where, one["timestamp"])
                assert sorted(files) == ["data/données.csv", "empty.txt", "p1.ipynb"]
