"""Trees that arrive as one stream: complete and verified, or not at all."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import logging
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ngshare.exchange.address import Address
from ngshare.exchange.archives import READ_SIZE
from ngshare.exchange.client import ExchangeClient
from ngshare.exchange.connection import Connection
from ngshare.exchange.service_error import ServiceError
from ngshare.protocol.overview import SubmissionInfo
from tests.exchange.scripted_server import (
    Reply,
    ScriptedServer,
    answer,
    cut,
    scripted_server,
)

TIME = "2026-01-01 00:00:00.000000 UTC"
FILES = {"a.txt": b"a" * 5, "data/b.bin": bytes(range(256)) * 4000, "data/c": b"", "z": b"last"}
Change = Callable[[tarfile.TarInfo], bytes | None]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as script:
        yield script


@pytest.fixture
def client(server: ScriptedServer) -> ExchangeClient:
    address = Address(server.url, None, "ann")
    return ExchangeClient(Connection(address, logging.getLogger("tests"), retry_seconds=0))


def manifest(files: dict[str, bytes]) -> list[dict[str, Any]]:
    return [
        {"path": path, "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        for path, content in files.items()
    ]


def archive(
    trees: dict[str, dict[str, bytes]], change: Change = lambda _: None, student: bool = True
) -> bytes:
    """Return an archive of trees by folder. ``change`` changes members, or their contents."""
    index = [
        {
            "folder": folder,
            "student_id": folder if student else None,
            "timestamp": TIME if student else None,
            "digest": "",
            "files": manifest(files),
        }
        for folder, files in trees.items()
    ]
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as target:
        members = {"manifest.json": json.dumps(index).encode()}
        for folder, files in trees.items():
            members |= {f"{folder}/{path}": content for path, content in files.items()}
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            content = change(member) or content
            target.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def tar(content: bytes) -> Reply:
    return answer(200, content, Content_Type="application/x-tar")


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def found(files: dict[str, bytes]) -> Reply:
    return answer(200, {"success": True, "digest": "", "files": manifest(files)})


def test_a_tree_arrives_in_one_request(
    server: ScriptedServer, client: ExchangeClient, tmp_path: Path
) -> None:
    server.replies = [tar(archive({"ps1": FILES}))]
    received = client.fetch_submission("c", "ps1", "bob", TIME, tmp_path / "x" / "ps1")
    assert contents(tmp_path) == {f"x/ps1/{path}": content for path, content in FILES.items()}
    assert received.timestamp == TIME
    assert {file.path: file.size for file in received.files} == {
        path: len(content) for path, content in FILES.items()
    }
    assert len(server.requests) == 1
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["ps1"]


def test_a_compressed_archive(
    server: ScriptedServer, client: ExchangeClient, tmp_path: Path
) -> None:
    packed = gzip.compress(archive({"ps1": FILES}))
    server.replies = [
        answer(200, packed, Content_Type="application/x-tar", Content_Encoding="gzip")
    ]
    client.fetch_release("c", "ps1", tmp_path / "ps1")
    assert contents(tmp_path / "ps1") == FILES
    assert server.requests[0].headers["accept-encoding"] == "gzip"


def test_what_is_compressed_a_thousandfold_is_not_decompressed_as_a_whole() -> None:
    from requests import Response
    from urllib3 import HTTPResponse

    from ngshare.exchange.archives import _Content

    response = Response()
    response.headers["Content-Encoding"] = "gzip"
    packed = gzip.compress(bytes(2**24))
    assert len(packed) < READ_SIZE
    response.raw = HTTPResponse(io.BytesIO(packed), preload_content=False)
    content, total = _Content(response), 0
    while piece := content.read(50_000):
        assert len(piece) <= 50_000
        total += len(piece)
    assert total == 2**24


@pytest.mark.parametrize("encoding", ["gzip", None])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
def test_what_is_missing_of_a_broken_stream_is_requested_file_by_file(
    server: ScriptedServer,
    client: ExchangeClient,
    tmp_path: Path,
    encoding: str | None,
    share: float,
) -> None:
    packed = archive({"ps1": FILES})
    headers = {"Content-Type": "application/x-tar"}
    if encoding:
        packed, headers["Content-Encoding"] = gzip.compress(packed), encoding
    offset = packed.index(b"ustar") if not encoding else 0
    sent = packed[: max(offset, int(len(packed) * share))]

    def rest(handler: Any) -> None:
        path = handler.path.partition("path=")[2].partition("&")[0].replace("%2F", "/")
        answer(200, FILES[path])(handler)

    server.replies = [cut(sent, len(packed), **headers), found(FILES), rest]
    client.fetch_release("c", "ps1", tmp_path / "ps1")
    assert contents(tmp_path) == {f"ps1/{path}": content for path, content in FILES.items()}
    assert len(server.requests) < 2 + len(FILES) or share < 0.5


def test_a_large_file_is_resumed_where_it_broke_off(
    server: ScriptedServer, client: ExchangeClient, tmp_path: Path
) -> None:
    content = FILES["data/b.bin"]
    files = {"b": content}
    sha256 = hashlib.sha256(content).hexdigest()

    def some(handler: Any) -> None:
        start = int(handler.headers.get("Range", "bytes=0-")[6:-1])
        status = 206 if start else 200
        cut(content[start : start + 400_000], len(content) - start, status=status)(handler)

    server.replies = [cut(b"", 10, Content_Type="application/x-tar"), found(files), some]
    client.fetch_release("c", "ps1", tmp_path / "ps1")
    assert contents(tmp_path / "ps1") == files
    first, second, *_, last = server.requests[2:]
    assert "range" not in first.headers
    start = int(second.headers["range"].removeprefix("bytes=").removesuffix("-"))
    assert 400_000 - READ_SIZE <= start <= 400_000
    assert last.headers["if-range"] == f'"{sha256}"'


def test_a_file_that_breaks_off_again_and_again_ends(
    server: ScriptedServer, client: ExchangeClient, tmp_path: Path
) -> None:
    server.replies = [
        cut(b"", 10, Content_Type="application/x-tar"),
        found({"b": b"12345"}),
        cut(b"", 5),
    ]
    with pytest.raises(ServiceError, match="broke; try again"):
        client.fetch_release("c", "ps1", tmp_path / "ps1")
    assert len(server.requests) < 12
    assert list(tmp_path.iterdir()) == []


def test_a_release_that_was_replaced_meanwhile_is_not_mixed(
    server: ScriptedServer, client: ExchangeClient, tmp_path: Path
) -> None:
    packed = archive({"ps1": FILES})
    changed = {**FILES, "a.txt": b"other"}
    server.replies = [
        cut(packed[: packed.index(b"ps1/z")], len(packed), Content_Type="application/x-tar"),
        found(changed),
        answer(200, b"last"),
    ]
    with pytest.raises(ServiceError, match="changed while they were received"):
        client.fetch_release("c", "ps1", tmp_path / "ps1")
    assert list(tmp_path.iterdir()) == []


def rename(name: str) -> Change:
    def change(member: tarfile.TarInfo) -> None:
        if member.name == "ps1/a.txt":
            member.name = name

    return change


def become(kind: bytes) -> Change:
    def change(member: tarfile.TarInfo) -> None:
        if member.name == "ps1/a.txt":
            member.type, member.linkname = kind, "/etc/passwd"

    return change


def damage(member: tarfile.TarInfo) -> bytes | None:
    return b"A" * 5 if member.name == "ps1/a.txt" else None


def shorten(member: tarfile.TarInfo) -> bytes | None:
    if member.name == "ps1/a.txt":
        member.size = 4
    return None


@pytest.mark.parametrize(
    "change",
    [
        rename("/tmp/evil"),
        rename("ps1/../../evil"),
        rename("ps2/a.txt"),
        rename("ps1/z"),
        become(tarfile.SYMTYPE),
        become(tarfile.LNKTYPE),
        become(tarfile.DIRTYPE),
        become(tarfile.FIFOTYPE),
        become(tarfile.CHRTYPE),
        damage,
        shorten,
    ],
)
def test_an_archive_with_anything_but_what_its_index_says_is_refused(
    server: ScriptedServer, client: ExchangeClient, tmp_path: Path, change: Change
) -> None:
    server.replies = [tar(archive({"ps1": FILES}, change))]
    with pytest.raises(ServiceError):
        client.fetch_release("c", "ps1", tmp_path / "ps1")
    assert list(tmp_path.iterdir()) == []
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "path", ["../evil", "/evil", "a//b", "a/./b", "a\\b", "", "a\nb", "x" * 300]
)
def test_an_index_with_illegal_paths_is_refused(
    server: ScriptedServer, client: ExchangeClient, tmp_path: Path, path: str
) -> None:
    server.replies = [tar(archive({"ps1": {path: b"evil"}}))]
    with pytest.raises(ServiceError, match="makes no sense"):
        client.fetch_release("c", "ps1", tmp_path / "below" / "ps1")
    assert list((tmp_path / "below").iterdir()) == []


def test_an_index_with_a_file_that_is_a_folder_is_refused(
    server: ScriptedServer, client: ExchangeClient, tmp_path: Path
) -> None:
    server.replies = [tar(archive({"ps1": {"a": b"1", "a/b": b"2"}}))]
    with pytest.raises(ServiceError, match="makes no sense"):
        client.fetch_release("c", "ps1", tmp_path / "ps1")


def test_an_existing_destination_is_kept(
    server: ScriptedServer, client: ExchangeClient, tmp_path: Path
) -> None:
    (tmp_path / "mine").write_bytes(b"work")
    for destination in (tmp_path, tmp_path / "mine"):
        with pytest.raises(ServiceError, match="is there already"):
            client.fetch_release("c", "ps1", destination)
    (tmp_path / "dangling").symlink_to("nothing")
    with pytest.raises(ServiceError, match="is there already"):
        client.fetch_release("c", "ps1", tmp_path / "dangling")
    assert (tmp_path / "mine").read_bytes() == b"work"
    assert server.requests == []


def test_what_appears_at_the_destination_meanwhile_is_kept(
    server: ScriptedServer, client: ExchangeClient, tmp_path: Path
) -> None:
    def appear(handler: Any) -> None:
        (tmp_path / "ps1").mkdir()
        (tmp_path / "ps1" / "mine").write_bytes(b"work")
        tar(archive({"ps1": FILES}))(handler)

    server.replies = [appear]
    with pytest.raises(ServiceError, match="is there already"):
        client.fetch_release("c", "ps1", tmp_path / "ps1")
    assert contents(tmp_path) == {"ps1/mine": b"work"}


def test_a_page_instead_of_an_archive(
    server: ScriptedServer, client: ExchangeClient, tmp_path: Path
) -> None:
    server.replies = [answer(200, b"<html>Log in</html>")]
    with pytest.raises(ServiceError, match="Something that is not the exchange answered"):
        client.fetch_release("c", "ps1", tmp_path / "ps1")
    assert list(tmp_path.iterdir()) == []


def submissions(*students: str) -> list[SubmissionInfo]:
    return [SubmissionInfo(student, TIME, "", 1, 1, []) for student in students]


class Placed(dict[str, dict[str, bytes]]):
    """The contents of the folders that were placed, by student."""

    def __call__(self, submission: SubmissionInfo, folder: Path) -> None:
        assert submission.student not in self
        self[submission.student] = contents(folder)


TREES = {"ann": {"a": b"of ann"}, "bob": {"a": b"of bob" * 9999}, "eve": {"a": b"of eve"}}


def test_many_submissions_arrive_in_one_request(
    server: ScriptedServer, client: ExchangeClient, tmp_path: Path
) -> None:
    server.replies = [tar(archive(TREES))]
    placed = Placed()
    client.fetch_submissions("c", "ps1", submissions(*TREES), placed, parent=tmp_path)
    assert placed == TREES
    (request,) = server.requests
    asked = json.loads(request.body)["submissions"]
    assert asked == [{"student_id": student, "timestamp": TIME} for student in TREES]
    assert list(tmp_path.iterdir()) == []


def test_a_broken_stream_is_continued_with_those_that_are_missing(
    server: ScriptedServer, client: ExchangeClient, tmp_path: Path
) -> None:
    packed = archive(TREES)
    half = packed.index(b"of bob") + 20_000
    rest = {student: TREES[student] for student in ("bob", "eve")}
    server.replies = [
        cut(packed[:half], len(packed), Content_Type="application/x-tar"),
        tar(archive(rest)),
    ]
    placed = Placed()
    client.fetch_submissions("c", "ps1", submissions(*TREES), placed, parent=tmp_path)
    assert placed == TREES
    asked = json.loads(server.requests[1].body)["submissions"]
    assert [each["student_id"] for each in asked] == ["bob", "eve"]


def test_a_stream_that_breaks_in_the_first_submission_is_continued_one_by_one(
    server: ScriptedServer, client: ExchangeClient, tmp_path: Path
) -> None:
    packed = archive(TREES)
    server.replies = [
        cut(packed[: len(packed) // 9], len(packed), Content_Type="application/x-tar"),
        *(tar(archive({student: files})) for student, files in TREES.items()),
    ]
    placed = Placed()
    client.fetch_submissions("c", "ps1", submissions(*TREES), placed, parent=tmp_path)
    assert placed == TREES
    assert list(tmp_path.iterdir()) == []


def test_a_submission_that_the_service_left_out_is_asked_for(
    server: ScriptedServer, client: ExchangeClient, tmp_path: Path
) -> None:
    server.replies = [
        tar(archive({"ann": TREES["ann"]})),
        answer(404, {"success": False, "message": "Submission not found"}),
    ]
    placed = Placed()
    with pytest.raises(ServiceError, match="Submission not found"):
        client.fetch_submissions("c", "ps1", submissions("ann", "bob"), placed, parent=tmp_path)
    assert list(placed) == ["ann"]
