"""Two courses with people and work in them, which most tests of the web begin with."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from unittest.mock import patch

from ngshare.actions import assignments, courses, feedback, roster, submissions, users
from ngshare.actions.access import Caller
from ngshare.blobs import BlobStore, sha256
from ngshare.db.transactions import Database
from ngshare.protocol.trees import StoredFile, md5
from tests.conftest import ADMIN

COURSE = "Physics 101"
INSTRUCTOR = "ivy"
COLLEAGUE = "ian"
STUDENT = "sam"
CLASSMATE = "sue"
STRANGER = "zoe"

OTHER_COURSE = "Ökonomie II"
OUTSIDER = "carl"
OUTSIDE_STUDENT = "cleo"

ASSIGNMENT = "ps1"
UNTOUCHED = "ps2"

FIRST = "2020-01-01 00:00:00.000000 UTC"
"""When the student handed in first; there is feedback on this one."""

SECOND = "2020-01-02 00:00:00.000000 UTC"
"""When the student handed in again; there is no feedback."""

NEVER = "2019-12-31 00:00:00.000000 UTC"

CONTENTS = {
    "problems.ipynb": b"{}",
    "first.txt": b"1",
    "second.txt": b"2",
    "marks.html": b"<p>good</p>",
}


def stored(path: str) -> StoredFile:
    """One of the files of this world, as a row holds it."""
    content = CONTENTS[path]
    return StoredFile(path, sha256(content), md5(content), len(content))


def tree_body(*, unsent: dict[str, bytes] | None = None, **files: bytes) -> bytes:
    """A body of ``POST tree/...``: files that it contains, and files that it only names."""
    entries = [
        {"path": path, "sha256": sha256(content).hex(), "size": len(content), "sent": sent}
        for sent, contents in ((True, files), (False, unsent or {}))
        for path, content in contents.items()
    ]
    return json.dumps({"files": entries}).encode() + b"\n" + b"".join(files.values())


def store_contents(blobs: BlobStore) -> None:
    """Keep the bytes of the files of this world."""
    blobs.put(list(CONTENTS.values()))


def populate(database: Database) -> None:
    """Make the two courses, with the people, assignments, submissions and feedback in them."""
    with patch("ngshare.actions.audit.now", return_value=datetime(2018, 1, 1, tzinfo=timezone.utc)):
        _populate(database)


def _populate(database: Database) -> None:
    admin, instructor = Caller(ADMIN, admin=True), Caller(INSTRUCTOR)
    database.write(users.mark_seen, ADMIN)
    database.write(users.mark_seen, STRANGER)
    database.write(courses.create_course, admin, COURSE, [INSTRUCTOR, COLLEAGUE])
    database.write(courses.create_course, admin, OTHER_COURSE, [OUTSIDER])
    database.write(roster.put_instructor, admin, COURSE, INSTRUCTOR, "Ivy", "Ito", "ivy@x.edu")
    database.write(roster.put_student, instructor, COURSE, STUDENT, "Sam", "Sun", "sam@x.edu")
    database.write(roster.put_student, instructor, COURSE, CLASSMATE, "Sue", "Sea", "sue@x.edu")
    database.write(
        roster.put_student, Caller(OUTSIDER), OTHER_COURSE, OUTSIDE_STUDENT, "Cleo", "Cox", ""
    )
    for name in (ASSIGNMENT, UNTOUCHED):
        database.write(
            assignments.release_assignment, instructor, COURSE, name, [stored("problems.ipynb")]
        )
    for day, path in ((1, "first.txt"), (2, "second.txt")):
        moment = datetime(2020, 1, day, tzinfo=timezone.utc)
        with patch("ngshare.actions.audit.now", return_value=moment):
            database.write(submissions.submit, Caller(STUDENT), COURSE, ASSIGNMENT, [stored(path)])
    database.write(
        feedback.give_feedback,
        instructor,
        COURSE,
        ASSIGNMENT,
        STUDENT,
        FIRST,
        [stored("marks.html")],
    )
