"""The contract of ``assignments`` and ``assignment``, and of every directory tree."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest

from ngshare.blobs import LocalBlobs
from ngshare.protocol.trees import md5
from tests.conftest import ADMIN, Api, tree
from tests.web.world import (
    ASSIGNMENT,
    CONTENTS,
    COURSE,
    FIRST,
    INSTRUCTOR,
    SECOND,
    STUDENT,
    UNTOUCHED,
)

pytestmark = pytest.mark.gen_test

BINARY = bytes(range(256)) * 300


def full(**contents: bytes) -> list[dict[str, str]]:
    """The files of a reply; write ``__`` for the dot of a name, as for ``tree``."""
    return [
        {
            "path": path.replace("__", "."),
            "checksum": hashlib.md5(content).hexdigest(),
            "content": base64.b64encode(content).decode(),
        }
        for path, content in contents.items()
    ]


def by_path(files: list[dict[str, str]]) -> list[dict[str, str]]:
    return sorted(files, key=lambda file: file["path"])


async def names(api: Api) -> list[str]:
    listed: list[str] = (await api.get("assignments", COURSE, user=STUDENT)).json["assignments"]
    return listed


@pytest.mark.parametrize("user", [ADMIN, INSTRUCTOR, STUDENT])
async def test_members_see_the_assignments_in_order_of_release(api: Api, user: str) -> None:
    for name in ("z", "a", "m"):
        await api.post("assignment", COURSE, name, user=INSTRUCTOR, files=tree(a="1"))
    reply = await api.get("assignments", COURSE, user=user)
    assert reply.success("assignments")["assignments"] == [ASSIGNMENT, UNTOUCHED, "z", "a", "m"]


@pytest.mark.parametrize("user", [ADMIN, INSTRUCTOR, STUDENT])
async def test_members_fetch_what_was_released(api: Api, user: str) -> None:
    files = {"ps3__ipynb": b"{}", "data__bin": BINARY, "empty": b"", "Übung 1__md": b"\xff"}
    (await api.post("assignment", COURSE, "new", user=INSTRUCTOR, files=tree(**files))).success()
    reply = await api.get("assignment", COURSE, "new", user=user)
    assert by_path(reply.success("files")["files"]) == by_path(full(**files))


async def test_bytes_that_are_missing_are_said_to_be_and_come_back(
    api: Api, blobs: LocalBlobs
) -> None:
    files = {"a": b"lost for a while", "b": b"there"}
    (await api.post("assignment", COURSE, "new", user=INSTRUCTOR, files=tree(**files))).success()
    lost = blobs.path(hashlib.sha256(files["a"]).digest())
    aside = lost.rename(lost.with_suffix(".aside"))
    reply = (await api.get("assignment", COURSE, "new", user=STUDENT)).success("files")
    contents = {file["path"]: base64.b64decode(file["content"]) for file in reply["files"]}
    assert b"missing from the exchange" in contents["a"]
    assert contents["b"] == files["b"]

    aside.rename(lost)
    for _ in range(2):
        reply = (await api.get("assignment", COURSE, "new", user=STUDENT)).success("files")
        assert by_path(reply["files"]) == full(**files)
    # What was read once is kept, for the class that asks for it next.
    lost.unlink()
    reply = (await api.get("assignment", COURSE, "new", user=STUDENT)).success("files")
    assert by_path(reply["files"]) == full(**files)


async def test_a_list_of_files_is_paths_and_checksums_only(api: Api) -> None:
    reply = await api.get("assignment", COURSE, ASSIGNMENT, user=STUDENT, list_only="true")
    assert reply.success("files")["files"] == [
        {"path": "problems.ipynb", "checksum": hashlib.md5(b"{}").hexdigest()}
    ]


async def test_a_list_that_is_not_asked_for_with_true_has_contents(api: Api) -> None:
    for value in ("false", "", "0"):
        reply = await api.get("assignment", COURSE, ASSIGNMENT, user=STUDENT, list_only=value)
        assert reply.success("files")["files"] == full(problems__ipynb=b"{}")


async def test_a_tree_has_folders(api: Api) -> None:
    paths = ["a/...", "a/.hidden", "a/b/c", "a/b/d"]
    files = json.dumps([{"path": path, "content": "MQ=="} for path in paths])
    await api.post("assignment", COURSE, "new", user=INSTRUCTOR, files=files)
    reply = await api.get("assignment", COURSE, "new", user=STUDENT, list_only="true")
    assert [file["path"] for file in by_path(reply.json["files"])] == paths


async def test_an_assignment_may_have_no_files(api: Api) -> None:
    (await api.post("assignment", COURSE, "new", user=INSTRUCTOR, files="[]")).success()
    reply = await api.get("assignment", COURSE, "new", user=STUDENT)
    assert reply.success("files")["files"] == []


@pytest.mark.parametrize(
    "content",
    [
        base64.b64encode(BINARY).decode(),
        base64.encodebytes(BINARY).decode(),
        base64.encodebytes(BINARY).decode().replace("\n", "\r\n"),
    ],
    ids=["one line", "lines", "lines of Windows"],
)
async def test_base64_may_be_broken_into_lines(api: Api, content: str) -> None:
    files = json.dumps([{"path": "a", "content": content, "mode": 420, "checksum": 7}])
    (await api.post("assignment", COURSE, "new", user=INSTRUCTOR, files=files)).success()
    reply = await api.get("assignment", COURSE, "new", user=STUDENT)
    assert reply.json["files"] == full(a=BINARY)


async def test_an_assignment_is_released_once(api: Api) -> None:
    reply = await api.post("assignment", COURSE, ASSIGNMENT, user=INSTRUCTOR, files=tree(a="1"))
    assert reply.failure == (409, "Assignment already exists")
    reply = await api.get("assignment", COURSE, ASSIGNMENT, user=STUDENT)
    assert reply.json["files"] == full(problems__ipynb=CONTENTS["problems.ipynb"])


@pytest.mark.parametrize("user", [ADMIN, INSTRUCTOR])
async def test_a_removed_assignment_is_gone(api: Api, user: str) -> None:
    (await api.delete("assignment", COURSE, ASSIGNMENT, user=user)).success()
    assert await names(api) == [UNTOUCHED]
    for reply in (
        await api.get("assignment", COURSE, ASSIGNMENT, user=STUDENT),
        await api.delete("assignment", COURSE, ASSIGNMENT, user=user),
        await api.post("submission", COURSE, ASSIGNMENT, user=STUDENT, files=tree(a="1")),
        await api.get("submissions", COURSE, ASSIGNMENT, user=user),
        await api.get("submission", COURSE, ASSIGNMENT, STUDENT, user=user),
        await api.get("feedback", COURSE, ASSIGNMENT, STUDENT, user=user, timestamp=FIRST),
    ):
        assert reply.failure == (404, "Assignment not found")


async def test_releasing_by_force_keeps_what_was_handed_in(api: Api) -> None:
    (await api.delete("assignment", COURSE, ASSIGNMENT, user=INSTRUCTOR)).success()
    files = tree(better__ipynb="[]")
    (await api.post("assignment", COURSE, ASSIGNMENT, user=INSTRUCTOR, files=files)).success()

    reply = await api.get("assignment", COURSE, ASSIGNMENT, user=STUDENT)
    assert reply.json["files"] == full(better__ipynb=b"[]")
    reply = await api.get("submissions", COURSE, ASSIGNMENT, user=INSTRUCTOR)
    assert [one["timestamp"] for one in reply.json["submissions"]] == [FIRST, SECOND]
    reply = await api.get("submission", COURSE, ASSIGNMENT, STUDENT, user=INSTRUCTOR)
    assert reply.json["files"] == full(second__txt=CONTENTS["second.txt"])
    query = {"user": STUDENT, "timestamp": FIRST}
    reply = await api.get("feedback", COURSE, ASSIGNMENT, STUDENT, **query)
    assert reply.json["files"] == full(marks__html=CONTENTS["marks.html"])


async def test_an_assignment_released_by_force_is_the_last_one_released(api: Api) -> None:
    await api.delete("assignment", COURSE, ASSIGNMENT, user=INSTRUCTOR)
    await api.post("assignment", COURSE, ASSIGNMENT, user=INSTRUCTOR, files=tree(a="1"))
    assert await names(api) == [UNTOUCHED, ASSIGNMENT]


async def test_two_courses_may_have_assignments_of_one_name(api: Api) -> None:
    await api.post("course", "New", user=ADMIN)
    (await api.post("assignment", "New", ASSIGNMENT, user=ADMIN, files=tree(a="1"))).success()
    reply = await api.get("assignment", COURSE, ASSIGNMENT, user=STUDENT)
    assert reply.json["files"] == full(problems__ipynb=b"{}")


# What is refused of a tree, whatever the tree is for

A = {"path": "a", "content": "MQ=="}

BAD_FILES: list[tuple[Any, str]] = [
    (None, "Please supply files"),
    ("", "Files cannot be JSON decoded"),
    ("[", "Files cannot be JSON decoded"),
    ("{'path': 'a'}", "Files cannot be JSON decoded"),
    *(
        (json.dumps([A, {"path": path, "content": "MQ=="}]), "Illegal path")
        for path in (
            "/a", "/", "", "../etc", "a/./a.py", "a/.", "a//b", "a/", ".", "..", "a/..", "b/../c",
            "./b", "b\0", "b\n", "b\tc", "b\x1bc", "b\x7f", "b\\c", "\\", "..\\b", "C:\\b", "a",
            "a/b", "b/" + 256 * "c", 256 * "c", 128 * "ü", "//b", " /../b",
        )
    ),
    (json.dumps([{**A, "path": "b/c/d"}, {**A, "path": "b"}]), "Illegal path"),
    (json.dumps([{**A, "path": "b"}, {**A, "path": "b/c/d"}]), "Illegal path"),
    ('[{"path": "\\ud800", "content": ""}]', "Files cannot be JSON decoded"),
    *(
        (json.dumps([A, {"path": "b", "content": content}]), "Content cannot be base64 decoded")
        for content in ("M", "MQ=", "MQ==x", "M*Q=", "=", "ü", "MQ==MQ==", "_-8=", "M\0Q=")
    ),
    ('[{"path": "a", "content": "\\ud800"}]', "Files cannot be JSON decoded"),
]  # fmt: skip

WRONG_SHAPES = [
    ("null", "list"),
    ("7", "list"),
    ('"a"', "list"),
    (json.dumps(A), "list"),
    ('["a"]', "object"),
    ("[null]", "object"),
    ("[[]]", "object"),
    ("[{}]", "path"),
    ('[{"content": ""}]', "path"),
    ('[{"path": "a"}]', "content"),
    ('[{"path": 7, "content": ""}]', "path"),
    ('[{"path": null, "content": ""}]', "path"),
    ('[{"path": ["a"], "content": ""}]', "path"),
    ('[{"path": "a", "content": 7}]', "content"),
    ('[{"path": "a", "content": null}]', "content"),
    ('[{"path": "a", "content": {}}]', "content"),
]

TARGETS = [
    ("assignment", COURSE, "new"),
    ("submission", COURSE, ASSIGNMENT),
    ("feedback", COURSE, ASSIGNMENT, STUDENT),
]


async def dump(api: Api) -> bytes:
    return (await api.get("initialize-Data6ase", user=ADMIN, action="dump")).body


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target[0])
async def test_bad_files_are_refused_with_their_message(
    api: Api, blobs: LocalBlobs, target: tuple[str, ...]
) -> None:
    before, stored = await dump(api), sorted(blobs.folder.rglob("*"))
    for files, message in BAD_FILES:
        fields = {"timestamp": FIRST} | ({} if files is None else {"files": files})
        reply = await api.post(*target, user=INSTRUCTOR, **fields)
        assert reply.failure == (400, message), files
    assert await dump(api) == before
    assert sorted(blobs.folder.rglob("*")) == stored, "bytes of a refused request were stored"


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target[0])
async def test_files_of_the_wrong_shape_are_refused_with_what_is_wrong(
    api: Api, target: tuple[str, ...]
) -> None:
    before = await dump(api)
    for files, named in WRONG_SHAPES:
        reply = await api.post(*target, user=INSTRUCTOR, timestamp=FIRST, files=files)
        assert reply.status == 400
        assert named in reply.message, files
    assert await dump(api) == before


@pytest.mark.parametrize("how", ["missing from", "damaged in"])
async def test_bytes_that_were_lost_do_not_hide_the_other_files(
    api: Api, blobs: LocalBlobs, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    files = tree(kept="kept", lost="lost")
    await api.post("assignment", COURSE, "new", user=INSTRUCTOR, files=files)
    digest = hashlib.sha256(b"lost").digest()
    if how == "damaged in":
        blobs.path(digest).write_bytes(b"lo")
    else:
        blobs.path(digest).unlink()
    reply = await api.get("assignment", COURSE, "new", user=STUDENT)
    kept, lost = by_path(reply.success("files")["files"])
    assert [kept] == full(kept=b"kept")
    assert lost["path"] == "lost"
    assert lost["checksum"] == md5(b"lost").hex()
    assert b"missing" in base64.b64decode(lost["content"])
    assert f"{digest.hex()}) are {how} the storage" in caplog.text
    blobs.put([b"lost"])
    reply = await api.get("assignment", COURSE, "new", user=STUDENT)
    assert by_path(reply.success("files")["files"]) == full(kept=b"kept", lost=b"lost")


async def test_while_the_storage_is_away_nothing_is_taken_for_lost(
    api: Api, blobs: LocalBlobs, caplog: pytest.LogCaptureFixture
) -> None:
    await api.post("assignment", COURSE, "new", user=INSTRUCTOR, files=tree(a="away"))
    away = blobs.folder.rename(blobs.folder.with_name("unmounted"))
    blobs.folder.mkdir()
    try:
        reply = await api.get("assignment", COURSE, "new", user=STUDENT)
        assert reply.status == 503
        assert "cannot read files now" in reply.message
        assert "Check its disk, and that it is mounted" in caplog.text
    finally:
        blobs.folder.rmdir()
        away.rename(blobs.folder)
    reply = await api.get("assignment", COURSE, "new", user=STUDENT)
    assert reply.success("files")["files"] == full(a=b"away")
