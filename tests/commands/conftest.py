"""A site with a little course in it, and its commands, run as an administrator runs them."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from traitlets.config import Application

from ngshare.actions import assignments, courses, feedback, roster, submissions
from ngshare.actions.access import Caller
from ngshare.app import main
from ngshare.blobs import LocalBlobs, sha256
from ngshare.db.transactions import Database
from ngshare.protocol.times import format_time
from ngshare.protocol.trees import StoredFile, md5
from ngshare.runtime import logs
from tests.process.site import Site

ADMIN = Caller("ada", admin=True)
IVY = Caller("ivy")
SAM = Caller("sam")
COURSE = "Physics 101"

Run = Callable[..., "Told"]


@pytest.fixture
def site(tmp_path: Path, database_url: str) -> Iterator[Site]:
    """A site whose settings stand in the configuration file of its folder."""
    site = Site(tmp_path)
    (tmp_path / "ngshare_config.py").write_text(
        f"c.Ngshare.database = {database_url!r}\n"
        f"c.Ngshare.storage = {str(site.storage)!r}\n"
        "c.Ngshare.admins = ['ada']\n"
    )
    yield site
    site.close()
    for server in site.servers:
        assert "Traceback" not in server.output


@pytest.fixture
def blobs(site: Site) -> LocalBlobs:
    """The site's storage."""
    return LocalBlobs(site.storage)


@dataclass
class Told:
    """What a command printed."""

    stdout: str
    stderr: str


def forget_applications() -> None:
    """Let the next command be a new one: traitlets keeps one of each class."""
    kinds = [Application]
    while kinds:
        kind = kinds.pop()
        kind._instance = None
        kinds += kind.__subclasses__()


@pytest.fixture
def run(site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in the site's folder, in this process: ``run("storage", "check")``.

    Nobody is at a terminal. ``site.run`` runs one as a process, which takes a second.
    """
    monkeypatch.chdir(site.folder)
    monkeypatch.setattr(logs, "configure_logging", lambda *arguments: None)
    monkeypatch.setattr(sys, "stdin", io.StringIO())

    def run(*words: str, code: int = 0) -> Told:
        forget_applications()
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main(words)
        told = Told(*capsys.readouterr())
        assert end.value.code == code, told
        return told

    return run


def stored(blobs: LocalBlobs, **files: bytes) -> list[StoredFile]:
    """A tree whose bytes are durable; write ``__`` for the dot of a name."""
    blobs.put(list(files.values()))
    return [
        StoredFile(path.replace("__", "."), sha256(content), md5(content), len(content))
        for path, content in files.items()
    ]


def make_old(blobs: LocalBlobs, *contents: bytes) -> None:
    """Set the age of the blobs of these contents to two days."""
    moment = time.time() - 2 * 86400
    for content in contents:
        os.utime(blobs.path(sha256(content)), (moment, moment))


@pytest.fixture
def course(database: Database, blobs: LocalBlobs) -> str:
    """A course with a release, a submission and feedback; ``sam`` takes it, ``tom`` too."""
    database.write(courses.create_course, ADMIN, COURSE, [IVY.name])
    for name in ("sam", "tom"):
        database.write(roster.put_student, IVY, COURSE, name, name.title(), "", "")
    release = stored(blobs, ps1__ipynb=b"the release", shared__csv=b"the same for all")
    database.write(assignments.release_assignment, IVY, COURSE, "ps1", release)
    work = stored(blobs, ps1__ipynb=b"the work of sam", shared__csv=b"the same for all")
    moment = database.write(submissions.submit, SAM, COURSE, "ps1", work)
    answer = stored(blobs, ps1__html=b"the feedback")
    database.write(feedback.give_feedback, IVY, COURSE, "ps1", "sam", format_time(moment), answer)
    return COURSE
