"""Files of trees as raw bytes: validators, ranges, and who may read them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from tornado.simple_httpclient import HTTPStreamClosedError

from ngshare.actions import assignments, roster, submissions
from ngshare.actions.access import Caller
from ngshare.blobs import LocalBlobs, sha256
from ngshare.db.models import AuditEntry
from ngshare.db.transactions import Database
from ngshare.protocol.trees import StoredFile, md5
from ngshare.web import downloads
from ngshare.web.api.contents import matches_etag, parse_range
from tests.conftest import Api, Reply
from tests.web.world import (
    ASSIGNMENT,
    CLASSMATE,
    COURSE,
    FIRST,
    INSTRUCTOR,
    OUTSIDER,
    SECOND,
    STRANGER,
    STUDENT,
)

pytestmark = pytest.mark.gen_test

CONTENT = bytes(range(256)) * 2000
ETAG = f'"{hashlib.sha256(CONTENT).hexdigest()}"'
PATH = "data/ä ö.bin"
OWN = ("content", "submission", COURSE, ASSIGNMENT, STUDENT)


@pytest.fixture(autouse=True)
def large_file(database: Database, blobs: LocalBlobs) -> None:
    """A submission of the student with a file of several pieces."""
    blobs.put([CONTENT, b""])
    files = [
        StoredFile(path, sha256(content), md5(content), len(content))
        for path, content in ((PATH, CONTENT), ("empty", b""))
    ]
    database.write(submissions.submit, Caller(STUDENT), COURSE, ASSIGNMENT, files)


async def get(api: Api, path: str = PATH, user: str = STUDENT, **headers: str) -> Reply:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return await api.send("GET", *OWN, query={"user": user, "path": path}, headers=headers)


async def test_a_file(api: Api) -> None:
    reply = await get(api)
    assert (reply.status, reply.body) == (200, CONTENT)
    assert reply.headers["ETag"] == ETAG
    assert reply.headers["Content-Length"] == str(len(CONTENT))
    assert reply.headers["Accept-Ranges"] == "bytes"
    assert reply.headers["Content-Type"] == "application/octet-stream"
    assert reply.headers["Content-Disposition"] == "attachment"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    empty = await get(api, "empty")
    assert (empty.status, empty.body) == (200, b"")


async def test_files_of_every_kind_of_tree(api: Api) -> None:
    release = ("content", "assignment", COURSE, ASSIGNMENT)
    reply = await api.get(*release, user=CLASSMATE, path="problems.ipynb")
    assert (reply.status, reply.body) == (200, b"{}")
    first = await api.get(*OWN, user=INSTRUCTOR, path="first.txt", timestamp=FIRST)
    assert (first.status, first.body) == (200, b"1")
    feedback = ("content", "feedback", COURSE, ASSIGNMENT, STUDENT)
    reply = await api.get(*feedback, user=STUDENT, path="marks.html", timestamp=FIRST)
    assert (reply.status, reply.body) == (200, b"<p>good</p>")
    reply = await api.get(*feedback, user=STUDENT, path="marks.html", timestamp=SECOND)
    assert reply.failure == (404, "Feedback not found")


@pytest.mark.parametrize(
    "header", [ETAG, f"W/{ETAG}", f'"a", {ETAG}', "*"], ids=["same", "weak", "list", "any"]
)
async def test_a_file_that_the_client_has(api: Api, header: str) -> None:
    reply = await get(api, If_None_Match=header)
    assert (reply.status, reply.body) == (304, b"")
    assert reply.headers["ETag"] == ETAG


@pytest.mark.parametrize("header", ['"a"', ETAG[1:-1], ""])
async def test_a_file_that_the_client_does_not_have(api: Api, header: str) -> None:
    assert (await get(api, If_None_Match=header)).status == 200
    assert not matches_etag(header, ETAG)


LENGTH = len(CONTENT)


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=1-", 1, LENGTH),
        ("bytes=131000-140000", 131000, 140001),
        (f"bytes=5-{LENGTH * 2}", 5, LENGTH),
        ("bytes=-10", LENGTH - 10, LENGTH),
        (f"bytes=-{LENGTH + 1}", 0, LENGTH),
    ],
)
async def test_a_range(api: Api, header: str, start: int, end: int) -> None:
    reply = await get(api, Range=header)
    assert (reply.status, reply.body) == (206, CONTENT[start:end])
    assert reply.headers["Content-Range"] == f"bytes {start}-{end - 1}/{LENGTH}"
    assert reply.headers["ETag"] == ETAG


@pytest.mark.parametrize(
    "header",
    [
        *("", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=5-3", "bytes=1-2,4-5", "lines=1-2"),
        *("bytes=--1", "bytes=1.0-2", "bytes=\N{ARABIC-INDIC DIGIT ONE}-", "bytes=" + "9" * 5000),
    ],
)
async def test_a_range_that_makes_no_sense_is_ignored(api: Api, header: str) -> None:
    assert parse_range(header, LENGTH) is None
    if header.isascii():
        reply = await get(api, Range=header)
        assert (reply.status, reply.body) == (200, CONTENT)


@pytest.mark.parametrize("header", [f"bytes={LENGTH}-", f"bytes={LENGTH}-{LENGTH}", "bytes=-0"])
async def test_a_range_outside_of_the_file(api: Api, header: str) -> None:
    reply = await get(api, Range=header)
    message = f"The range is outside of the file, which has {LENGTH} bytes"
    assert reply.failure == (416, message)
    assert reply.headers["Content-Range"] == f"bytes */{LENGTH}"


async def test_a_range_of_another_file(api: Api) -> None:
    reply = await get(api, Range="bytes=5-9", If_Range=ETAG)
    assert (reply.status, reply.body) == (206, CONTENT[5:10])
    reply = await get(api, Range="bytes=5-9", If_Range='"another"')
    assert (reply.status, reply.body) == (200, CONTENT)


@pytest.mark.parametrize(
    ("path", "failure"),
    [
        ("", (400, "Please supply path")),
        ("none", (404, "File not found")),
        ("DATA/ä ö.bin", (404, "File not found")),
        ("data", (404, "File not found")),
        ("first.txt", (404, "File not found")),  # in the submission before
        ("/etc/passwd", (400, "Illegal path")),
        ("../../etc/passwd", (400, "Illegal path")),
        ("a\x00b", (400, "Illegal path")),
        ("\\", (400, "Illegal path")),
        ("a" * 10_000, (400, "Illegal path")),
        ("%", (404, "File not found")),
    ],
)
async def test_odd_paths(api: Api, path: str, failure: tuple[int, str]) -> None:
    assert (await get(api, path)).failure == failure


async def test_no_path(api: Api) -> None:
    assert (await api.get(*OWN, user=STUDENT)).failure == (400, "Please supply path")


@pytest.mark.parametrize("user", [CLASSMATE, STRANGER, OUTSIDER])
async def test_files_of_others(api: Api, user: str) -> None:
    """Neither a path, nor an ETag that only a reader knows, nor a range tells anything."""
    for path in (PATH, "none", "/"):
        for headers in ({}, {"If_None_Match": ETAG}, {"Range": "bytes=0-"}):
            reply = await get(api, path, user, **headers)
            assert reply.failure == (403, "Permission denied")


async def test_a_removed_assignment(api: Api, database: Database) -> None:
    database.write(assignments.remove_assignment, Caller(INSTRUCTOR), COURSE, ASSIGNMENT)
    for user in (STUDENT, INSTRUCTOR):
        assert (await get(api, user=user)).failure == (404, "Assignment not found")


async def test_a_student_who_has_left(api: Api, database: Database) -> None:
    database.write(roster.remove_student, Caller(INSTRUCTOR), COURSE, STUDENT)
    assert (await get(api)).failure == (403, "Permission denied")
    assert (await get(api, user=INSTRUCTOR)).status == 200


# What is missing


@pytest.fixture
def own_blobs(service: Any, tmp_path: Path) -> LocalBlobs:
    """A store that has none of the files."""
    service.blobs = LocalBlobs(tmp_path / "own")
    blobs: LocalBlobs = service.blobs
    return blobs


async def test_a_content_that_is_missing(api: Api, own_blobs: LocalBlobs) -> None:
    missing = (404, "The content of this file is missing from the exchange's storage")
    assert (await get(api)).failure == missing
    assert (await get(api, If_None_Match="*")).failure == missing


async def test_a_content_that_vanishes_cuts_the_connection(
    api: Api, own_blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_blobs.put([CONTENT])
    path = Path(own_blobs.describe(sha256(CONTENT)))
    real = downloads.has_blob

    def remove_afterwards(*arguments: Any) -> bool:
        present = real(*arguments)
        path.unlink()
        return present

    monkeypatch.setattr("ngshare.web.api.contents.has_blob", remove_afterwards)
    with pytest.raises(HTTPStreamClosedError):
        await get(api)


# The audit log


async def test_reads_are_logged(api: Api, service: Any, database: Database) -> None:
    await get(api, user=INSTRUCTOR)
    await get(api, Range="bytes=7-")
    await get(api, If_None_Match="*")
    await get(api, "none")
    await get(api, user=STRANGER)
    await api.get(
        "content", "assignment", COURSE, ASSIGNMENT, user=CLASSMATE, path="problems.ipynb"
    )
    await service.reads.flush()
    query = select(AuditEntry.actor, AuditEntry.event, AuditEntry.student, AuditEntry.detail)
    query = query.where(AuditEntry.event.in_(downloads.READ_EVENTS.values())).order_by(
        AuditEntry.id
    )
    rows = database.read(lambda connection: connection.execute(query).all())
    assert [(actor, event, student, detail["path"]) for actor, event, student, detail in rows] == [
        (INSTRUCTOR, "submission collected", STUDENT, PATH),
        (STUDENT, "submission collected", STUDENT, PATH),
        (CLASSMATE, "assignment fetched", None, "problems.ipynb"),
    ]
    assert rows[0].detail["timestamp"].endswith(" UTC")
