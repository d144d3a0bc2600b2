"""Trees of which only some files are sent: what counts as present; all is stored or nothing."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import tracemalloc
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import func, select

from ngshare.actions import assignments, presence, receipts, stored_trees
from ngshare.actions.access import Caller
from ngshare.actions.stored_trees import TreeKind, TreeName
from ngshare.blobs import LocalBlobs, sha256
from ngshare.db.models import AuditEntry, File, ReplacedTree, Submission, Tree
from ngshare.db.transactions import Database
from ngshare.protocol.receipts import parse_receipt
from ngshare.web.service import Service
from tests.conftest import Api, Reply, tree
from tests.databases import with_both
from tests.web import world
from tests.web.world import (
    ASSIGNMENT,
    CLASSMATE,
    COURSE,
    FIRST,
    INSTRUCTOR,
    OTHER_COURSE,
    OUTSIDE_STUDENT,
    OUTSIDER,
    STUDENT,
    UNTOUCHED,
    tree_body,
)

pytestmark = pytest.mark.gen_test

LACKS = "The exchange lacks files of this tree; send them, too"
RELEASED = {"problems.ipynb": world.CONTENTS["problems.ipynb"]}


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobs:
    """A store of this test's own, because these tests look at what is stored."""
    blobs = LocalBlobs(tmp_path / "files")
    world.store_contents(blobs)
    return blobs


async def post(
    api: Api,
    body: bytes,
    *path: str,
    user: str = STUDENT,
    headers: Mapping[str, str] | None = None,
    **query: str,
) -> Reply:
    path = path or ("submission", COURSE, ASSIGNMENT)
    return await api.send(
        "POST", "tree", *path, query={"user": user, **query}, body=body, headers=dict(headers or {})
    )


def count(database: Database) -> dict[str, int]:
    """The rows that a request could add."""
    tables = (Submission, Tree, File, ReplacedTree, AuditEntry)
    return database.read(
        lambda connection: {
            table.__tablename__: connection.scalar(select(func.count()).select_from(table)) or 0
            for table in tables
        }
    )


def stored_blobs(blobs: LocalBlobs) -> set[bytes | None]:
    return {entry.digest for entry in blobs.list()}


def read(database: Database, user: str = STUDENT, **name: Any) -> dict[str, bytes]:
    """The digests of the files of a tree, by path: the caller's latest submission by default."""
    names = {"kind": TreeKind.SUBMISSION, "student": user, **name}
    stored = database.read(
        stored_trees.read_tree,
        Caller(user),
        TreeName(course=COURSE, assignment=ASSIGNMENT, **names),
    )
    return {file.path: file.sha256 or b"" for file in stored.files}


def missing(reply: Reply) -> set[str]:
    assert reply.status == 409, reply
    assert reply.json.keys() == {"success", "message", "missing"}
    assert (reply.json["success"], reply.json["message"]) == (False, LACKS)
    return set(reply.json["missing"])


# Submissions


@with_both
async def test_only_the_changed_file_is_sent(
    api: Api, database: Database, blobs: LocalBlobs
) -> None:
    body = tree_body(unsent={**RELEASED, "old.txt": b"2"}, new=b"changed")
    reply = (await post(api, body)).success("timestamp", "receipt")
    assert read(database) == {
        "new": sha256(b"changed"),
        "old.txt": sha256(b"2"),
        "problems.ipynb": sha256(b"{}"),
    }
    assert blobs.read(sha256(b"changed")) == b"changed"
    receipt = parse_receipt(reply["receipt"])
    assert (receipt.timestamp, receipt.student) == (reply["timestamp"], STUDENT)
    assert (receipt.files, receipt.bytes) == (3, 10)
    assert len(database.read(receipts.require_received, Caller(STUDENT), receipt)) == 3
    fetched = await api.get("submission", COURSE, ASSIGNMENT, STUDENT, user=INSTRUCTOR)
    assert {file["path"] for file in fetched.json["files"]} == {"new", "old.txt", "problems.ipynb"}


async def test_the_log_tells_how_many_files_were_sent(api: Api, database: Database) -> None:
    reply = await post(api, tree_body(unsent=RELEASED, new=b"changed"))
    newest = select(AuditEntry.event, AuditEntry.detail).order_by(AuditEntry.id.desc()).limit(1)
    event, detail = database.read(lambda connection: tuple(connection.execute(newest).one()))
    assert event == "submission handed in"
    assert detail == {"files": 2, "sent": 1, "timestamp": reply.json["timestamp"]}


async def test_the_body_may_be_compressed(api: Api, database: Database) -> None:
    body = gzip.compress(tree_body(unsent=RELEASED, new=b"changed" * 1000))
    reply = await post(api, body, headers={"Content-Encoding": "gzip"})
    reply.success("timestamp", "receipt")
    assert read(database)["new"] == sha256(b"changed" * 1000)


async def test_a_body_in_a_file(api: Api, database: Database) -> None:
    content = os.urandom(1_500_000)
    (await post(api, tree_body(unsent=RELEASED, large=content))).success("timestamp", "receipt")
    assert read(database)["large"] == sha256(content)


async def test_equal_files_are_sent_once(api: Api, database: Database) -> None:
    body = tree_body(unsent={"copy": b"new"}, new=b"new")
    (await post(api, body)).success("timestamp", "receipt")
    assert read(database) == {"new": sha256(b"new"), "copy": sha256(b"new")}


async def test_an_empty_tree(api: Api, database: Database) -> None:
    (await post(api, tree_body())).success("timestamp", "receipt")
    assert read(database) == {}


# What is present


OTHERS: list[tuple[str, tuple[str, ...], str, dict[str, str]]] = [
    ("a classmate's submission", ("submission", COURSE, ASSIGNMENT), CLASSMATE, {}),
    ("another course's release", ("assignment", OTHER_COURSE, "own"), OUTSIDER, {}),
    (
        "a classmate's feedback",
        ("feedback", COURSE, ASSIGNMENT, CLASSMATE),
        INSTRUCTOR,
        {"timestamp": "2020-02-02"},
    ),
]


@pytest.mark.parametrize("other", OTHERS, ids=[other[0] for other in OTHERS])
async def test_the_digest_of_another_s_file_opens_nothing(
    api: Api, database: Database, other: tuple[str, tuple[str, ...], str, dict[str, str]]
) -> None:
    """The reply is that for a digest which nobody has, but for the digest."""
    _, path, user, fields = other
    if fields:
        first = await api.post("submission", *path[1:3], user=CLASSMATE, files=tree(a="1"))
        fields = {"timestamp": first.json["timestamp"]}
    secret = b"the secret of another"
    (await api.post(*path, user=user, files=tree(secret=secret), **fields)).success(
        *(["timestamp"] if path[0] == "submission" else [])
    )
    before = count(database)
    claimed = await post(api, tree_body(unsent={"mine": secret}, new=b"1"))
    unknown = await post(api, tree_body(unsent={"mine": b"not anybody's, ever"}, new=b"1"))
    assert missing(claimed) == {sha256(secret).hex()}
    assert missing(unknown) == {sha256(b"not anybody's, ever").hex()}
    names = set(claimed.headers) | set(unknown.headers)
    assert all(claimed.headers[name] == unknown.headers[name] for name in names - {"Date"})
    assert count(database) == before


async def test_work_of_a_removed_assignment_is_not_present(api: Api) -> None:
    await api.post("submission", COURSE, UNTOUCHED, user=STUDENT, files=tree(a="once"))
    body = tree_body(unsent={"a": b"once"})
    (await post(api, body)).success("timestamp", "receipt")
    await api.post("submission", COURSE, UNTOUCHED, user=STUDENT, files=tree(a="gone"))
    await api.delete("assignment", COURSE, UNTOUCHED, user=INSTRUCTOR)
    assert missing(await post(api, tree_body(unsent={"a": b"gone"}))) == {sha256(b"gone").hex()}


@pytest.mark.parametrize(
    ("content", "user"),
    [
        (b"{}", STUDENT),  # the release
        (b"1", STUDENT),  # their earlier submission
        (b"2", STUDENT),  # their latest submission
        (b"<p>good</p>", STUDENT),  # the feedback on theirs
        (b"{}", CLASSMATE),
        (b"{}", INSTRUCTOR),
    ],
)
async def test_what_a_caller_can_read_is_present(api: Api, content: bytes, user: str) -> None:
    reply = await post(api, tree_body(unsent={"a": content}), user=user)
    reply.success("timestamp", "receipt")


@with_both
async def test_the_search_of_older_trees_is_bounded(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the bound a file is sent again; the newest trees come first."""
    for name in ("one", "two", "three"):
        await api.post("submission", COURSE, UNTOUCHED, user=STUDENT, files=tree(a=name, b="x"))
    monkeypatch.setattr(presence, "MAX_FILES", 4)
    await api.post("submission", COURSE, ASSIGNMENT, user=STUDENT, files=tree(a="latest", b="x"))
    assert missing(await post(api, tree_body(unsent={"a": b"two"}))) == {sha256(b"two").hex()}
    (await post(api, tree_body(unsent={"a": b"three"}))).success("timestamp", "receipt")


@pytest.mark.parametrize("content", [b"1", b"2", b"<p>good</p>"])
async def test_what_only_another_can_read_is_missing(api: Api, content: bytes) -> None:
    reply = await post(api, tree_body(unsent={"a": content}), user=CLASSMATE)
    assert missing(reply) == {sha256(content).hex()}


async def test_a_former_member_is_refused_before_anything(api: Api) -> None:
    await api.delete("student", COURSE, STUDENT, user=INSTRUCTOR)
    reply = await post(api, tree_body(unsent={"a": b"1"}))
    assert reply.failure == (403, "Permission denied")
    outsider = await post(api, tree_body(unsent={"a": b"1"}), user=OUTSIDE_STUDENT)
    assert outsider.failure == (403, "Permission denied")


@pytest.mark.parametrize("loss", ["deleted", "truncated"])
async def test_a_lost_file_is_asked_for_and_healed(
    api: Api, database: Database, blobs: LocalBlobs, loss: str
) -> None:
    lost = blobs.path(sha256(b"{}"))
    lost.unlink()
    if loss == "truncated":
        lost.write_bytes(b"")
    before = count(database)
    assert missing(await post(api, tree_body(unsent=RELEASED))) == {sha256(b"{}").hex()}
    assert count(database) == before
    (await post(api, tree_body(a=b"{}"))).success("timestamp", "receipt")
    assert blobs.read(sha256(b"{}")) == b"{}"


async def test_a_file_in_quarantine_is_present(api: Api, blobs: LocalBlobs) -> None:
    blobs.quarantine(sha256(b"{}"), "2026-01-01T00Z")
    (await post(api, tree_body(unsent=RELEASED))).success("timestamp", "receipt")
    assert blobs.read(sha256(b"{}")) == b"{}"


async def test_a_collection_of_garbage_before_the_commit_loses_nothing(
    api: Api, blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both files are moved away after they were checked and stored, before a row names them."""
    real = Service.write

    async def write(self: Service, *args: Any, **kwargs: Any) -> Any:
        for content in (b"{}", b"new"):
            blobs.quarantine(sha256(content), "2026-01-01T00Z")
        return await real(self, *args, **kwargs)

    await api.get("courses", user=STUDENT)
    monkeypatch.setattr(Service, "write", write)
    (await post(api, tree_body(unsent=RELEASED, new=b"new"))).success("timestamp", "receipt")
    monkeypatch.undo()
    fetched = await api.get("submission", COURSE, ASSIGNMENT, STUDENT, user=INSTRUCTOR)
    assert len(fetched.json["files"]) == 2


async def test_a_release_replaced_meanwhile_leaves_its_files_to_the_submission(
    database: Database,
) -> None:
    student, instructor = Caller(STUDENT), Caller(INSTRUCTOR)
    place = (COURSE, ASSIGNMENT)
    present = database.read(presence.find_for_submission, student, *place, {sha256(b"{}")})
    assert present.keys() == {sha256(b"{}")}
    files = [world.stored("first.txt")]
    database.write(assignments.release_assignment, instructor, *place, files, replace=True)
    database.write(receipts.submit, student, *place, [world.stored("problems.ipynb")])
    assert read(database) == {"problems.ipynb": sha256(b"{}")}


# What is wrong


def described(*entries: Mapping[str, Any], rest: bytes = b"") -> bytes:
    return json.dumps({"files": entries}).encode() + b"\n" + rest


def entry(content: bytes = b"new", **more: Any) -> dict[str, Any]:
    digest = sha256(content).hex()
    return {"path": "a", "sha256": digest, "size": len(content), "sent": True, **more}


WRONG: list[tuple[bytes, int, str]] = [
    (b"", 400, "The body should begin with a line of JSON: the manifest"),
    (b"{}", 400, "The body should begin with a line of JSON: the manifest"),
    (b"{\n", 400, "The manifest cannot be JSON decoded"),
    (b"[" * 30_000 + b"\n", 400, "The manifest cannot be JSON decoded"),
    (b"[]\n", 400, "A manifest should be a JSON list of files"),
    (described(entry(path="../b"), rest=b"new"), 400, "Illegal path"),
    (described(entry(), entry(), rest=b"newnew"), 400, "Illegal path"),
    (
        described(entry(sha256="0" * 63), rest=b"new"),
        400,
        "A SHA-256 should be 64 lower-case hexadecimal digits",
    ),
    (
        described(entry(), rest=b"nov"),
        400,
        "The content of a has another SHA-256 than its manifest says",
    ),
    (
        described(entry(size=2), rest=b"new"),
        400,
        "The content of a has another SHA-256 than its manifest says",
    ),
    (described(entry(size=4), rest=b"new"), 400, "The body ends within a file; nothing was stored"),
    (
        described(entry(), rest=b"new\n"),
        400,
        "The body is longer than the files that it announces",
    ),
    (
        described(entry(b"{}", sent=False, size=3)),
        400,
        "The size of a in the manifest is not that of its content",
    ),
    (
        described(entry(size=2**62)),
        413,
        "The files have 4398046511104 MiB together, more than the 2048 MiB that this service "
        "accepts at once",
    ),
]


@pytest.mark.parametrize(("body", "status", "message"), WRONG)
async def test_a_body_that_is_wrong_stores_nothing(
    api: Api, database: Database, blobs: LocalBlobs, body: bytes, status: int, message: str
) -> None:
    before = count(database), stored_blobs(blobs)
    assert (await post(api, body)).failure == (status, message)
    assert (count(database), stored_blobs(blobs)) == before


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.gen_test(timeout=60)
async def test_a_body_cut_anywhere_stores_nothing(
    api: Api, database: Database, blobs: LocalBlobs, compressed: bool
) -> None:
    body = tree_body(unsent=RELEASED, one=b"first of two", two=b"second of two")
    if compressed:
        body = gzip.compress(body)
    headers = {"Content-Encoding": "gzip"} if compressed else {}
    before = count(database), stored_blobs(blobs)
    for end in [*range(0, len(body), 12), len(body) - 1]:
        assert (await post(api, body[:end], headers=headers)).status == 400, end
    assert (count(database), stored_blobs(blobs)) == before
    assert (await post(api, body, headers=headers)).status == 200


def bomb(start: bytes, zeros: int) -> bytes:
    packer = zlib.compressobj(1, wbits=31)
    pieces = [packer.compress(start)]
    pieces += [packer.compress(bytes(2**20)) for _ in range(zeros // 2**20)]
    return b"".join([*pieces, packer.flush()])


@pytest.mark.parametrize(
    ("start", "failure"),
    [
        (b"", (413, "The manifest is longer than 32 MiB")),
        (described(entry()) + b"new", (400, "The body is longer than the files that it announces")),
        (
            described(entry(size=100)),
            (400, "The content of a has another SHA-256 than its manifest says"),
        ),
    ],
)
@pytest.mark.gen_test(timeout=60)
async def test_a_bomb_is_not_decompressed(
    api: Api,
    database: Database,
    blobs: LocalBlobs,
    start: bytes,
    failure: tuple[int, str],
) -> None:
    body = bomb(start, 33 * 2**20)
    before = count(database), stored_blobs(blobs)
    reply = await post(api, body, headers={"Content-Encoding": "gzip"})
    assert reply.failure == failure
    assert (count(database), stored_blobs(blobs)) == before


@pytest.mark.gen_test(timeout=60)
async def test_a_manifest_of_very_many_values_is_not_decoded(api: Api) -> None:
    """A list of empty values takes twenty times its text in memory."""
    body = gzip.compress(b'{"files": [' + b"[]," * 2**20 + b"[]]}\n")
    reply = await post(api, body, headers={"Content-Encoding": "gzip"})
    assert reply.failure == (400, "The request has more than 500000 JSON values")


async def test_the_memory_of_a_compressed_file_is_bounded(api: Api, blobs: LocalBlobs) -> None:
    body = bomb(described(entry(size=32 * 2**20)), 32 * 2**20)
    before = stored_blobs(blobs)
    tracemalloc.start()
    try:
        reply = await post(api, body, headers={"Content-Encoding": "gzip"})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert reply.status == 400
    assert stored_blobs(blobs) == before
    assert not list(blobs.incoming.iterdir())
    assert peak < 12 * 2**20


async def test_another_encoding_is_refused(api: Api) -> None:
    reply = await post(api, tree_body(a=b"1"), headers={"Content-Encoding": "br"})
    assert reply.failure == (400, "Content-Encoding should be gzip, or none")


@pytest.mark.parametrize("setting", ["max_files", "max_tree"])
async def test_limits(api: Api, service: Service, setting: str) -> None:
    setattr(service, setting, 1)
    reply = await post(api, tree_body(a=b"1", b=b"2"))
    assert reply.status == 413
    assert (await post(api, tree_body(a=b"1"))).status == 200


async def test_the_quota_counts_the_whole_tree(
    api: Api, database: Database, service: Service, blobs: LocalBlobs
) -> None:
    used = (await api.get("usage", COURSE, user=INSTRUCTOR)).json["bytes"]
    service.max_course_bytes = used + 3
    before = count(database), stored_blobs(blobs)
    reply = await post(api, tree_body(unsent=RELEASED, new=b"12"))
    assert reply.status == 507
    assert (count(database), stored_blobs(blobs)) == before
    assert (await post(api, tree_body(unsent=RELEASED, new=b"1"))).status == 200
    assert not service.reservations._bytes


# The key of a request


def keyed(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


async def test_a_repeated_submission_is_one(api: Api, database: Database) -> None:
    body = tree_body(unsent=RELEASED, new=b"new")
    first = await post(api, body, headers=keyed("k1"))
    after = count(database)
    again = await post(api, body, headers=keyed("k1"))
    assert first.success("timestamp", "receipt") == again.success("timestamp", "receipt")
    assert count(database) == after
    other = await post(api, body, headers=keyed("k2"))
    assert other.json["timestamp"] != first.json["timestamp"]


async def test_one_key_for_different_files_is_refused(api: Api, database: Database) -> None:
    await post(api, tree_body(a=b"1"), headers=keyed("k1"))
    after = count(database)
    reply = await post(api, tree_body(a=b"2"), headers=keyed("k1"))
    assert reply.failure == (
        409,
        "The Idempotency-Key was used for other files; choose a new one for each submission",
    )
    assert count(database) == after


@with_both
async def test_one_key_at_the_same_time_makes_one_submission(api: Api, database: Database) -> None:
    await api.get("courses", user=STUDENT)
    before = count(database)["submissions"]
    body = tree_body(unsent=RELEASED, new=b"new")
    replies = await asyncio.gather(
        *(post(api, body, headers=keyed("k1")) for _ in range(8)),
    )
    assert len({reply.success("timestamp", "receipt")["timestamp"] for reply in replies}) == 1
    assert count(database)["submissions"] == before + 1


async def test_a_key_is_a_student_s_own(api: Api) -> None:
    times: Sequence[str] = [
        (await post(api, tree_body(a=b"1"), user=user, headers=keyed("k1"))).json["timestamp"]
        for user in (STUDENT, CLASSMATE)
    ]
    assert times[0] != times[1]


@pytest.mark.parametrize("key", ["x" * 65, "a b", "\x80"])
async def test_a_bad_key(api: Api, database: Database, key: str) -> None:
    before = count(database)
    reply = await post(api, tree_body(a=b"1"), headers=keyed(key))
    assert reply.failure == (
        400,
        "The Idempotency-Key should be 1 to 64 visible ASCII characters",
    )
    assert count(database) == before


# Releases and feedback


@with_both
async def test_a_release_is_replaced_in_place(api: Api, database: Database) -> None:
    place = ("assignment", COURSE, ASSIGNMENT)
    body = tree_body(unsent=RELEASED, new=b"new")
    refused = await post(api, body, *place, user=INSTRUCTOR)
    assert refused.failure == (409, "Assignment already exists")
    before = count(database)
    (await post(api, body, *place, user=INSTRUCTOR, replace="true")).success()
    expected = {"new": sha256(b"new"), "problems.ipynb": sha256(b"{}")}
    assert read(database, kind=TreeKind.RELEASE, student=None) == expected
    assert count(database)["replaced_trees"] == before["replaced_trees"] + 1
    listed = await api.get("submissions", COURSE, ASSIGNMENT, user=INSTRUCTOR)
    assert len(listed.json["submissions"]) == 2
    student = await post(api, body, *place, user=STUDENT, replace="true")
    assert student.failure == (403, "Permission denied")


async def test_a_new_release_shares_files_with_others(api: Api) -> None:
    (
        await post(api, tree_body(unsent=RELEASED), "assignment", COURSE, "new", user=INSTRUCTOR)
    ).success()


@with_both
async def test_feedback_shares_files_with_the_submission(api: Api, database: Database) -> None:
    place = ("feedback", COURSE, ASSIGNMENT, STUDENT)
    body = tree_body(unsent={"first.txt": b"1", "marks.html": b"<p>good</p>"}, new=b"new")
    (await post(api, body, *place, user=INSTRUCTOR, timestamp=FIRST)).success()
    feedback = read(database, kind=TreeKind.FEEDBACK, timestamp=FIRST)
    assert feedback.keys() == {"first.txt", "marks.html", "new"}
    other = await post(api, tree_body(unsent={"a": b"2"}), *place, user=INSTRUCTOR, timestamp=FIRST)
    assert missing(other) == {sha256(b"2").hex()}


async def test_the_path_is_percent_encoded_and_the_user_is_in_the_query(api: Api) -> None:
    path = f"/api/tree/submission/{quote(COURSE)}/{ASSIGNMENT}"
    reply = await api.send_to("POST", path, body=tree_body(a=b"1"), query={"user": STUDENT})
    assert reply.status == 200
