"""What instructors' tests share: a computer with a course directory, and submissions to collect."""

from __future__ import annotations

import base64
import contextlib
import secrets
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import nbgrader.api
import pytest
from nbgrader.api import Gradebook
from nbgrader.utils import notebook_hash

from ngshare.protocol.times import format_time, parse_time
from tests.exchange.plugin.computers import (
    COURSE,
    Computer,
    Files,
    FolderBackend,
    ServiceBackend,
    Site,
    read_files,
    write_files,
)
from tests.process.site import files_field

ASSIGNMENT = "ps1"


def course_directory(site: Site, *settings: str, user: str = "ada") -> Computer:
    """Return a computer of an instructor, with the settings of the course."""
    computer = site.computer(user)
    if isinstance(site.backend, FolderBackend):
        site.backend.root.chmod(0o777)  # else nbgrader warns, and does it
    computer.configure(
        f"c.CourseDirectory.course_id = {COURSE!r}",
        "c.ExchangeCollect.check_owner = False",
        *settings,
    )
    with gradebook(computer):  # nbgrader's own exchange needs it
        pass
    return computer


@contextlib.contextmanager
def gradebook(computer: Computer) -> Iterator[Gradebook]:
    """Open the gradebook of a course directory."""
    with pytest.MonkeyPatch.context() as patch:
        # nbgrader starts a process for it when it creates a gradebook, which takes seconds.
        patch.setattr(nbgrader.api, "get_alembic_version", lambda: "unknown")
        with Gradebook(f"sqlite:///{computer.work}/gradebook.db", COURSE) as book:
            yield book


def submit(
    site: Site,
    student: str,
    files: Files,
    *,
    assignment: str = ASSIGNMENT,
    course: str = COURSE,
) -> datetime:
    """Submit files as a student, at a later time than all submissions before, which is returned."""
    backend = site.backend
    if isinstance(backend, ServiceBackend):
        reply = backend.service.call(
            "POST", "submission", course, assignment, user=student, files=files_field(files)
        )
        return parse_time(reply["timestamp"])
    assert isinstance(backend, FolderBackend)
    time = datetime.now(timezone.utc)
    name = f"{student}+{assignment}+{format_time(time)}+{secrets.token_hex(4)}"
    folder = backend.root / course / "inbound" / name
    write_files(folder, files)
    (folder / "timestamp.txt").write_text(format_time(time))
    (folder / "submission_secret.txt").write_text(secrets.token_hex(64))
    return time


def between(earlier: datetime, later: datetime) -> datetime:
    """Return a time between two submissions."""
    assert earlier < later
    return earlier + (later - earlier) / 2


def set_duedate(computer: Computer, duedate: datetime, assignment: str = ASSIGNMENT) -> None:
    """Set the due date of an assignment in the gradebook of the course directory."""
    with gradebook(computer) as book:
        naive = duedate.astimezone(timezone.utc).replace(tzinfo=None)
        book.update_or_create_assignment(assignment, duedate=naive)


def collected(computer: Computer, folder: str = "submitted") -> Files:
    """Return the collected files, without those that differ between the exchanges."""
    return {
        path: data
        for path, data in read_files(computer.work / folder).items()
        if not path.endswith(("/timestamp.txt", "/submission_secret.txt"))
    }


def collected_time(computer: Computer, student: str, assignment: str = ASSIGNMENT) -> datetime:
    """Return the time of a student's submission that was collected."""
    path = computer.work / "submitted" / student / assignment / "timestamp.txt"
    return parse_time(path.read_text())


def hidden_files(folder: Path) -> list[str]:
    """Return the paths below a folder that have a hidden component: none should be left behind."""
    paths = [path.relative_to(folder) for path in folder.rglob("*")]
    return [str(path) for path in paths if any(name.startswith(".") for name in path.parts)]


def feedback(site: Site, student: str, assignment: str = ASSIGNMENT) -> Files:
    """Return the feedback at the exchange on a student's latest submission."""
    backend = site.backend
    if isinstance(backend, ServiceBackend):
        place = (COURSE, assignment, student)
        rows = backend.service.call("GET", "submissions", *place)["submissions"]
        reply = backend.service.call("GET", "feedback", *place, timestamp=rows[-1]["timestamp"])
        return {file["path"]: base64.b64decode(file["content"]) for file in reply["files"]}
    assert isinstance(backend, FolderBackend)
    inbound = (backend.root / COURSE / "inbound").iterdir()
    latest = max(path for path in inbound if path.name.startswith(f"{student}+{assignment}+"))
    secret = (latest / "submission_secret.txt").read_text()
    pages = {
        f"{notebook}.html": backend.root
        / COURSE
        / "feedback"
        / f"{notebook_hash(secret=secret, notebook_id=notebook)}.html"
        for notebook in ("p1", "p2")
    }
    return {page: path.read_bytes() for page, path in pages.items() if path.exists()}
