"""Archives: one tree, or the submissions to an assignment, as one tar stream."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
import zlib
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import quote, urlencode

import pytest
from sqlalchemy import delete, select
from tornado.httpclient import HTTPRequest
from tornado.simple_httpclient import HTTPStreamClosedError

from ngshare.actions import assignments, courses, feedback, roster, roster_import, submissions
from ngshare.actions.access import Caller
from ngshare.actions.stored_trees import TreeSummary
from ngshare.blobs import LocalBlobs, sha256
from ngshare.db.models import AuditEntry, File
from ngshare.db.transactions import Database
from ngshare.protocol.manifests import LOST_DIGEST, parse_manifest, tree_digest
from ngshare.protocol.trees import StoredFile, md5
from ngshare.web import archive_stream, downloads
from tests.conftest import ADMIN, PREFIX, Api, Reply
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
    UNTOUCHED,
)

pytestmark = pytest.mark.gen_test

THIRD = "2020-01-03 00:00:00.000000 UTC"
COLLECTION = ("archive", "submissions", COURSE, ASSIGNMENT)
LARGE = bytes(range(256)) * 1500
TREE = {
    "ps1.ipynb": b"{}" * 300,
    "data/Übung 1.csv": b"1,2\n",
    "data/empty": b"",
    "data/large.npy": LARGE,
    "/".join(["deep" * 20] * 6): b"a path that is longer than the field of a header",
    "manifest.json": b"a file of this name",
}


def stored(**contents: bytes) -> list[StoredFile]:
    return [
        StoredFile(path, sha256(content), md5(content), len(content))
        for path, content in sorted(contents.items())
    ]


def hand_in(database: Database, blobs: LocalBlobs, user: str, day: int = 3, **tree: bytes) -> None:
    """Submit a tree on a day of January 2020."""
    blobs.put(list(tree.values()))
    moment = datetime(2020, 1, day, tzinfo=timezone.utc)
    with patch("ngshare.actions.audit.now", return_value=moment):
        database.write(submissions.submit, Caller(user), COURSE, ASSIGNMENT, stored(**tree))


@pytest.fixture(autouse=True)
def work(database: Database, blobs: LocalBlobs) -> None:
    """A submission of the classmate, with files of all kinds."""
    hand_in(database, blobs, CLASSMATE, **TREE)


def unpack(reply: Reply) -> tuple[list[Any], dict[str, bytes]]:
    """Return the index of an archive, and the contents of its files, in their order."""
    assert reply.status == 200, reply
    assert reply.headers["Content-Type"] == "application/x-tar"
    contents: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(reply.body), mode="r|") as archive:
        for member in archive:
            assert member.isreg()
            assert member.name not in contents
            contents[member.name] = archive.extractfile(member).read()  # type: ignore[union-attr]
    assert next(iter(contents)) == "manifest.json"
    index = json.loads(contents.pop("manifest.json"))
    listed = [f"{tree['folder']}/{file['path']}" for tree in index for file in tree["files"]]
    assert listed == list(contents)
    for tree in index:
        for file in parse_manifest(tree["files"]):
            content = contents[f"{tree['folder']}/{file.path}"]
            assert (sha256(content), len(content)) == (file.sha256, file.size)
        if "lost" not in tree:
            assert tree["digest"] == tree_digest(parse_manifest(tree["files"])).hex()
    return index, contents


def in_folder(folder: str, tree: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{folder}/{path}": content for path, content in sorted(tree.items())}


async def test_a_release(api: Api) -> None:
    index, contents = unpack(
        await api.get("archive", "assignment", COURSE, ASSIGNMENT, user=STUDENT)
    )
    assert contents == {"ps1/problems.ipynb": b"{}"}
    assert (index[0]["student_id"], index[0]["timestamp"]) == (None, None)


@pytest.mark.parametrize("user", [CLASSMATE, INSTRUCTOR])
async def test_a_submission(api: Api, user: str) -> None:
    path = ("archive", "submission", COURSE, ASSIGNMENT, CLASSMATE)
    index, contents = unpack(await api.get(*path, user=user))
    assert contents == in_folder("sue/2020-01-03T00-00-00.000000Z", TREE)
    assert (index[0]["student_id"], index[0]["timestamp"]) == (CLASSMATE, THIRD)


async def test_feedback(api: Api) -> None:
    path = ("archive", "feedback", COURSE, ASSIGNMENT, STUDENT)
    index, contents = unpack(await api.get(*path, user=STUDENT, timestamp=FIRST))
    assert contents == {"sam/2020-01-01T00-00-00.000000Z/marks.html": b"<p>good</p>"}
    assert (index[0]["student_id"], index[0]["timestamp"]) == (STUDENT, FIRST)
    assert (await api.get(*path, user=STUDENT)).failure == (404, "Feedback not found")


async def test_the_newest_submissions(api: Api) -> None:
    index, contents = unpack(await api.get(*COLLECTION, user=INSTRUCTOR))
    keys = [(tree["student_id"], tree["timestamp"]) for tree in index]
    assert keys == [(STUDENT, SECOND), (CLASSMATE, THIRD)]
    assert contents == {
        "sam/2020-01-02T00-00-00.000000Z/second.txt": b"2",
        **in_folder("sue/2020-01-03T00-00-00.000000Z", TREE),
    }


async def test_the_archive_has_what_the_collection_lists(api: Api) -> None:
    queries: list[dict[str, str]] = [
        {"before": FIRST},
        {"all": "true"},
        {"student": STUDENT},
        {"student": STUDENT, "all": "true"},
        {"student": INSTRUCTOR},
    ]
    for query in queries:
        index, _ = unpack(await api.get(*COLLECTION, user=INSTRUCTOR, **query))
        reply = await api.get("collection", COURSE, ASSIGNMENT, user=INSTRUCTOR, **query)
        assert [(tree["student_id"], tree["timestamp"], tree["digest"]) for tree in index] == [
            (each["student_id"], each["timestamp"], each["digest"])
            for each in reply.json["submissions"]
        ]


async def test_nothing_is_an_archive_too(api: Api) -> None:
    path = ("archive", "submissions", COURSE, UNTOUCHED)
    assert unpack(await api.get(*path, user=INSTRUCTOR)) == ([], {})


async def choose(api: Api, chosen: Any, user: str = INSTRUCTOR) -> Reply:
    return await api.send(
        "POST",
        *COLLECTION,
        query={"user": user},
        body=json.dumps({"submissions": chosen}),
        headers={"Content-Type": "application/json"},
    )


async def test_chosen_submissions(api: Api) -> None:
    keys = [(CLASSMATE, THIRD), (STUDENT, FIRST), (STUDENT, SECOND), (STUDENT, FIRST)]
    chosen = [{"student_id": student, "timestamp": time} for student, time in keys]
    index, contents = unpack(await choose(api, chosen))
    assert [(tree["student_id"], tree["timestamp"]) for tree in index] == keys[:3]
    assert contents["sam/2020-01-01T00-00-00.000000Z/first.txt"] == b"1"
    assert unpack(await choose(api, [])) == ([], {})


@pytest.mark.parametrize(
    ("chosen", "status", "message"),
    [
        (None, 400, "Please supply submissions, a list of student_id and timestamp"),
        ("", 400, "Please supply submissions, a list of student_id and timestamp"),
        ("{}", 400, "Please supply submissions, a list of student_id and timestamp"),
        ("[", 400, "Submissions cannot be JSON decoded"),
        ([1], 400, "Each of the submissions should have the texts student_id, timestamp"),
        ([{}], 400, "Each of the submissions should have the texts student_id, timestamp"),
        ([{"student_id": STUDENT, "timestamp": "soon"}], 400, "Time format incorrect"),
        ([{"student_id": STUDENT, "timestamp": THIRD}], 404, "Submission not found"),
        ([{"student_id": STRANGER, "timestamp": FIRST}], 404, "Submission not found"),
        ([{"student_id": "\x00", "timestamp": FIRST}], 400, None),
    ],
)
async def test_a_choice_that_makes_no_sense(
    api: Api, chosen: Any, status: int, message: str | None
) -> None:
    reply = await choose(api, chosen)
    assert reply.status == status
    assert message is None or reply.message == message


ODD_NAMES = [
    "..",
    ".",
    "manifest.json",
    "Sam",
    "sam.",
    "CON",
    "a\\b",
    "-rf",
    "ü",
    "u\u0308",
    "x" * 255,
]


async def test_folders_are_safe_whatever_students_are_called(
    api: Api, database: Database, blobs: LocalBlobs, tmp_path: Path
) -> None:
    people = [roster.Person(name, "", "", "") for name in ODD_NAMES]
    database.write(roster_import.import_students, Caller(INSTRUCTOR), COURSE, people)
    for name in ODD_NAMES:
        hand_in(database, blobs, name, **{"who.txt": name.encode()})
    reply = await api.get(*COLLECTION, user=INSTRUCTOR)
    index, contents = unpack(reply)
    owners = {tree["folder"]: tree["student_id"] for tree in index}
    assert len(owners) == len(ODD_NAMES) + 2
    assert len({folder.partition("/")[0].casefold() for folder in owners}) == len(owners)
    for folder, student in owners.items():
        assert folder.split("/")[0] not in ("..", ".", "", "manifest.json")
        assert "\\" not in folder
        if student in ODD_NAMES:
            assert contents[f"{folder}/who.txt"] == student.encode()
    extracted = extract(reply.body, tmp_path / "unpacked")
    assert {path for path in extracted if path != "manifest.json"} == set(contents)


def extract(archive: bytes, folder: Path) -> set[str]:
    """Extract an archive with tar, and return the paths of its files."""
    folder.mkdir()
    subprocess.run(["tar", "-x"], input=archive, cwd=folder, check=True)
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


async def test_gnu_tar_reads_it(api: Api, tmp_path: Path) -> None:
    reply = await api.get(*COLLECTION, user=INSTRUCTOR, student=CLASSMATE)
    _, contents = unpack(reply)
    assert extract(reply.body, tmp_path / "unpacked") == {"manifest.json", *contents}
    for name, content in contents.items():
        assert (tmp_path / "unpacked" / name).read_bytes() == content


# Compression


async def ask(api: Api, codings: str, student: str) -> tuple[str | None, Reply]:
    """Ask for a student's archive; return the coding of the reply, and the reply decoded."""
    path = "/".join(quote(part) for part in COLLECTION)
    request = HTTPRequest(
        f"{api.base_url}{PREFIX}{path}?" + urlencode({"user": INSTRUCTOR, "student": student}),
        headers={"Accept-Encoding": codings},
        decompress_response=False,
    )
    response = await api.client.fetch(request)
    coding = response.headers.get("Content-Encoding")
    body = gzip.decompress(response.body) if coding == "gzip" else response.body
    assert response.headers["Vary"] == "Accept-Encoding"
    return coding, Reply(response.code, response.headers, body)


async def test_text_is_compressed_if_the_client_can_read_it(
    api: Api, database: Database, blobs: LocalBlobs
) -> None:
    hand_in(database, blobs, STUDENT, **{"large.csv": b"1,2,3,4\n" * 100_000, "a.zip": LARGE})
    for codings in ("gzip", "deflate, gzip;q=0.5"):
        coding, reply = await ask(api, codings, STUDENT)
        assert coding == "gzip"
        unpack(reply)
    for codings in ("identity", "gzip;q=0", "gzip; q=0.000, identity", "x-gzip"):
        coding, reply = await ask(api, codings, STUDENT)
        assert coding is None
        unpack(reply)


async def test_what_is_no_text_is_not_compressed(api: Api) -> None:
    coding, reply = await ask(api, "gzip", CLASSMATE)
    assert coding is None
    unpack(reply)


# Batches


@pytest.mark.parametrize(("files", "trees"), [(1, 500), (5000, 1), (3, 2)])
async def test_rows_are_read_in_batches(
    api: Api, monkeypatch: pytest.MonkeyPatch, files: int, trees: int
) -> None:
    expected = unpack(await api.get(*COLLECTION, user=INSTRUCTOR, all="true"))
    monkeypatch.setattr(archive_stream, "BATCH_FILES", files)
    monkeypatch.setattr(archive_stream, "BATCH_TREES", trees)
    assert unpack(await api.get(*COLLECTION, user=INSTRUCTOR, all="true")) == expected


def test_batches_are_as_large_as_they_may_be() -> None:
    def tree(files: int) -> TreeSummary:
        return TreeSummary(1, b"", files, None, None)

    counts = [4999, 1, 1, 9999, 1, 0]
    batches = archive_stream.split_batches([tree(count) for count in counts])
    assert [[each.file_count for each in batch] for batch in batches] == [
        [4999, 1],
        [1],
        [9999],
        [1, 0],
    ]
    batches = archive_stream.split_batches([tree(0)] * 1001)
    assert [len(batch) for batch in batches] == [500, 500, 1]


def test_pieces_are_sent_before_much_is_compressed() -> None:
    """However well it compresses, no more than READ_AHEAD is read for one piece."""
    taken = 0

    def members() -> Any:
        nonlocal taken
        for _ in range(100):
            taken += 10**5
            yield bytes(10**5)

    pieces = archive_stream.collect_pieces(members(), zlib.compressobj(1), last=True)
    next(pieces)
    assert taken <= archive_stream.READ_AHEAD + 10**5


# Permissions


@pytest.mark.parametrize("user", [STUDENT, STRANGER, OUTSIDER])
async def test_work_of_others(api: Api, user: str) -> None:
    denied = (403, "Permission denied")
    for path in (
        ("archive", "submission", COURSE, ASSIGNMENT, CLASSMATE),
        ("archive", "feedback", COURSE, ASSIGNMENT, CLASSMATE),
        COLLECTION,
    ):
        assert (await api.get(*path, user=user)).failure == denied
    assert (await choose(api, [], user)).failure == denied
    assert (await choose(api, [{"student_id": user, "timestamp": FIRST}], user)).failure == denied
    assert (await api.get(*COLLECTION, user=user, student=user)).failure == denied


async def test_what_was_removed(api: Api, database: Database) -> None:
    path = ("archive", "submission", COURSE, ASSIGNMENT, CLASSMATE)
    database.write(roster.remove_student, Caller(INSTRUCTOR), COURSE, CLASSMATE)
    assert (await api.get(*path, user=CLASSMATE)).failure == (403, "Permission denied")
    index, _ = unpack(await api.get(*COLLECTION, user=INSTRUCTOR))
    assert [tree["student_id"] for tree in index] == [STUDENT, CLASSMATE]
    database.write(assignments.remove_assignment, Caller(INSTRUCTOR), COURSE, ASSIGNMENT)
    for gone in (path, COLLECTION):
        assert (await api.get(*gone, user=INSTRUCTOR)).failure == (404, "Assignment not found")
    database.write(courses.remove_course, Caller(ADMIN, admin=True), COURSE)
    for gone in (path, COLLECTION):
        assert (await api.get(*gone, user=INSTRUCTOR)).failure == (404, "Course not found")


# What is missing


async def test_a_lost_file_is_replaced_by_a_text_that_says_so(api: Api, database: Database) -> None:
    files = [*stored(here=b"1"), StoredFile("lost", None, bytes(16), 1000)]
    database.write(submissions.submit, Caller(STUDENT), COURSE, ASSIGNMENT, files)
    reply = await api.get("archive", "submission", COURSE, ASSIGNMENT, STUDENT, user=STUDENT)
    [tree], contents = unpack(reply)
    assert sorted(contents.values()) == [b"1", downloads.LOST]
    assert tree["lost"] == ["lost"]
    lines = f"{hashlib.sha256(b'1').hexdigest()}  here\n{LOST_DIGEST.hex()}  lost\n"
    assert tree["digest"] == hashlib.sha256(lines.encode()).hexdigest()


@pytest.fixture
def own_blobs(service: Any, tmp_path: Path) -> LocalBlobs:
    """A store with the files of the classmate and of the student's second submission only."""
    service.blobs = LocalBlobs(tmp_path / "own")
    service.blobs.put([*TREE.values(), b"2"])
    blobs: LocalBlobs = service.blobs
    return blobs


async def test_a_missing_blob_is_replaced_too(api: Api, own_blobs: LocalBlobs) -> None:
    index, contents = unpack(await api.get(*COLLECTION, user=INSTRUCTOR, all="true"))
    assert [tree.get("lost") for tree in index] == [["first.txt"], None, None]
    assert contents["sam/2020-01-01T00-00-00.000000Z/first.txt"] == downloads.LOST


@pytest.mark.parametrize("change", ["gone", "cut"])
async def test_a_blob_that_vanishes_cuts_the_connection(
    api: Api, own_blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    path = Path(own_blobs.describe(sha256(LARGE)))
    real = archive_stream.ArchiveIndex.encode

    def change_before(index: archive_stream.ArchiveIndex) -> Iterator[bytes]:
        path.unlink()
        if change == "cut":
            path.write_bytes(LARGE[:-1])
        return real(index)

    monkeypatch.setattr(archive_stream.ArchiveIndex, "encode", change_before)
    with pytest.raises(HTTPStreamClosedError):
        await api.get(*COLLECTION, user=INSTRUCTOR)


async def test_a_tree_that_is_purged_meanwhile_cuts_the_connection(
    api: Api, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_stream, "BATCH_TREES", 1)  # so that rows are read again
    real = archive_stream.ArchiveIndex.encode

    def purge_before(index: archive_stream.ArchiveIndex) -> Iterator[bytes]:
        statement = delete(File).where(File.path == "data/large.npy")
        database.write(lambda connection: connection.execute(statement) and None)
        return real(index)

    monkeypatch.setattr(archive_stream.ArchiveIndex, "encode", purge_before)
    with pytest.raises(HTTPStreamClosedError):
        await api.get(*COLLECTION, user=INSTRUCTOR)


async def test_space_for_the_index_is_released(api: Api, service: Any) -> None:
    unpack(await api.get(*COLLECTION, user=INSTRUCTOR))
    assert service.spool.used == 0
    service.spool.limit = 10
    reply = await api.get(*COLLECTION, user=INSTRUCTOR)
    assert reply.status == 503
    assert service.spool.used == 0


# The audit log


async def test_each_tree_that_was_sent_is_logged(
    api: Api, service: Any, database: Database
) -> None:
    own = (COURSE, ASSIGNMENT, STUDENT, FIRST)
    database.write(feedback.give_feedback, Caller(INSTRUCTOR), *own, [])
    await api.get(*COLLECTION, user=INSTRUCTOR)
    await api.get("archive", "feedback", *own[:3], user=STUDENT, timestamp=FIRST)  # it is empty
    await api.get("archive", "assignment", COURSE, ASSIGNMENT, user=STUDENT)
    await service.reads.flush()
    query = select(AuditEntry.actor, AuditEntry.event, AuditEntry.student, AuditEntry.detail)
    query = query.where(AuditEntry.event.in_(downloads.READ_EVENTS.values()))
    rows = database.read(lambda connection: connection.execute(query.order_by(AuditEntry.id)).all())
    assert [tuple(row) for row in rows] == [
        (INSTRUCTOR, "submission collected", STUDENT, {"files": 1, "timestamp": SECOND}),
        (INSTRUCTOR, "submission collected", CLASSMATE, {"files": 6, "timestamp": THIRD}),
        (STUDENT, "assignment fetched", None, {"files": 1}),
    ]
