"""Files that are uploaded in parts, and the question which files are missing."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from ngshare.actions import audit, purge, trash, uploads
from ngshare.actions.access import Caller
from ngshare.admin.references import select_referenced
from ngshare.blobs import LocalBlobs, sha256
from ngshare.db.models import Upload, UploadPart
from ngshare.db.transactions import Database
from ngshare.protocol.manifests import PART_SIZE
from ngshare.web.api import file_parts
from ngshare.web.service import Service
from tests.conftest import ADMIN, Api, Reply
from tests.web import world
from tests.web.world import (
    ASSIGNMENT,
    CLASSMATE,
    COURSE,
    INSTRUCTOR,
    OTHER_COURSE,
    OUTSIDER,
    STRANGER,
    STUDENT,
    tree_body,
)

pytestmark = pytest.mark.gen_test(timeout=30)

PARTS = (b"first, ", b"second, ", b"third")
WHOLE = b"".join(PARTS)


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobs:
    """A store of this test's own, because these tests lose blobs of it."""
    blobs = LocalBlobs(tmp_path / "files")
    world.store_contents(blobs)
    return blobs


async def put(
    api: Api,
    part: bytes,
    start: int,
    *,
    whole: bytes = WHOLE,
    size: int | None = None,
    user: str = STUDENT,
    course: str = COURSE,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    return await api.send(
        "PUT",
        *("part", course, sha256(whole).hex()),
        query={"user": user, "start": str(start), "size": str(size or len(whole))},
        body=part,
        headers=dict(headers or {}),
    )


async def put_all(api: Api, parts: Sequence[bytes] = PARTS, **more: Any) -> list[Reply]:
    whole = b"".join(parts)
    starts = [sum(map(len, parts[:at])) for at in range(len(parts))]
    return [
        await put(api, part, start, whole=whole, **more)
        for part, start in zip(parts, starts, strict=True)
    ]


async def submit(api: Api, content: bytes = WHOLE, user: str = STUDENT) -> Reply:
    return await api.send(
        "POST",
        *("tree", "submission", COURSE, ASSIGNMENT),
        query={"user": user},
        body=tree_body(unsent={"large": content}),
    )


async def ask(api: Api, *contents: bytes, user: str = STUDENT) -> dict[str, Any]:
    manifest = [
        {"path": f"f{at}", "sha256": sha256(content).hex(), "size": len(content)}
        for at, content in enumerate(contents)
    ]
    reply = await api.post(
        "tree", "missing", COURSE, ASSIGNMENT, user=user, files=json.dumps(manifest)
    )
    fields: dict[str, Any] = reply.success("missing", "received")
    return fields


def rows(database: Database) -> tuple[int, int]:
    """Return the number of uploads and of their parts."""
    return database.read(
        lambda connection: (
            connection.scalar(select(func.count()).select_from(Upload)) or 0,
            connection.scalar(select(func.count()).select_from(UploadPart)) or 0,
        )
    )


async def test_a_file_in_parts(api: Api, database: Database, blobs: LocalBlobs) -> None:
    replies = await put_all(api)
    assert [reply.success("received")["received"] for reply in replies] == [7, 15, 20]
    assert blobs.read(sha256(WHOLE)) == WHOLE
    assert rows(database) == (1, 0)
    assert (await ask(api, WHOLE))["missing"] == []
    (await submit(api)).success("timestamp", "receipt")
    assert rows(database) == (0, 0)
    (await submit(api)).success("timestamp", "receipt")  # it is in their submission now


async def test_what_is_missing_and_how_much_has_arrived(api: Api) -> None:
    await put(api, PARTS[0], 0)
    assert await ask(api, b"{}", b"1", WHOLE, b"never") == {
        "success": True,
        "missing": sorted(sha256(content).hex() for content in (WHOLE, b"never")),
        "received": {sha256(WHOLE).hex(): len(PARTS[0])},
    }


async def test_a_part_of_another_user_is_not_there(api: Api) -> None:
    await put_all(api)
    assert await ask(api, WHOLE, user=CLASSMATE) == {
        "success": True,
        "missing": [sha256(WHOLE).hex()],
        "received": {},
    }
    assert (await submit(api, user=CLASSMATE)).status == 409
    refused = await put(api, PARTS[1], len(PARTS[0]), user=CLASSMATE)
    assert refused.failure == (409, "Send the part that begins with byte 0")


async def test_an_upload_to_another_course_is_not_there(api: Api) -> None:
    await api.post("course", OTHER_COURSE + "!", user=ADMIN, instructors=f'["{STUDENT}"]')
    await put_all(api, course=OTHER_COURSE + "!")
    assert (await submit(api)).status == 409


async def test_a_repeated_part_changes_nothing(api: Api, blobs: LocalBlobs) -> None:
    for part, start in ((PARTS[0], 0), (PARTS[0], 0), (PARTS[1], 7), (PARTS[0], 0), (PARTS[1], 7)):
        assert (await put(api, part, start)).status == 200
    for _ in range(2):
        reply = await put(api, PARTS[2], 15)
        assert reply.success("received") == {"success": True, "received": len(WHOLE)}
    assert blobs.read(sha256(WHOLE)) == WHOLE


async def test_a_part_too_far_on_is_refused(api: Api, database: Database) -> None:
    reply = await put(api, PARTS[2], 15)
    assert reply.failure == (409, "Send the part that begins with byte 0")
    await put(api, PARTS[0], 0)
    reply = await put(api, PARTS[2], 15)
    assert reply.failure == (409, "Send the part that begins with byte 7")


async def test_parts_of_other_bytes_are_forgotten(api: Api, database: Database) -> None:
    await put(api, PARTS[0], 0)
    await put(api, PARTS[1].upper(), 7)
    reply = await put(api, PARTS[2], 15)
    assert reply.failure == (
        400,
        "The parts have another SHA-256 than the file; send them again",
    )
    assert rows(database) == (0, 0)
    assert (await submit(api)).status == 409


@pytest.mark.parametrize(
    ("part", "start", "size", "failure"),
    [
        (b"", 0, 5, (400, "A part should have bytes, and end within the size of the file")),
        (b"longer", 0, 5, (400, "A part should have bytes, and end within the size of the file")),
        (b"a", 5, 5, (400, "A part should have bytes, and end within the size of the file")),
        (bytes(PART_SIZE + 1), 0, 2 * PART_SIZE, (413, "A part of a file may have 1000000 bytes")),
        (
            b"a",
            0,
            2**40,
            (413, "The file is larger than 2048 MiB, the most that this service accepts at once"),
        ),
    ],
)
async def test_a_bad_part_is_refused(
    api: Api, database: Database, part: bytes, start: int, size: int, failure: tuple[int, str]
) -> None:
    assert (await put(api, part, start, size=size)).failure == failure
    assert rows(database) == (0, 0)


async def test_another_size_than_before_is_refused(api: Api) -> None:
    await put(api, PARTS[0], 0)
    reply = await put(api, PARTS[1], 7, size=21)
    assert reply.failure == (400, "The size is not that of the other parts")


async def test_a_part_may_be_compressed(api: Api, blobs: LocalBlobs) -> None:
    content = b"again and again, " * 1000
    headers = {"Content-Encoding": "gzip"}
    await put(api, gzip.compress(content), 0, whole=content, headers=headers)
    assert blobs.read(sha256(content)) == content
    packed = gzip.compress(bytes(2 * PART_SIZE))
    reply = await put(api, packed, 0, whole=bytes(2 * PART_SIZE), headers=headers)
    assert reply.failure == (413, "A part of a file may have 1000000 bytes")
    cut = await put(api, gzip.compress(content)[:-9], 0, whole=content[1:], headers=headers)
    assert cut.failure == (400, "The compressed body is damaged or cut off")


async def test_a_service_killed_before_the_parts_were_joined(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last part is asked for again, although it is there."""

    def fail(*arguments: Any) -> bytes:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(file_parts, "assemble", fail)
        assert [reply.status for reply in await put_all(api)] == [200, 200, 500]
    asked = await ask(api, WHOLE)
    assert asked["missing"] == [sha256(WHOLE).hex()]
    assert asked["received"] == {sha256(WHOLE).hex(): 15}
    assert (await put(api, PARTS[2], 15)).json["received"] == len(WHOLE)
    assert (await submit(api)).status == 200


async def test_a_lost_part_is_sent_again(api: Api, blobs: LocalBlobs) -> None:
    await put(api, PARTS[0], 0)
    await put(api, PARTS[1], 7)
    blobs.path(sha256(PARTS[0])).unlink()
    reply = await put(api, PARTS[2], 15)
    assert reply.failure == (409, "A part of the file was lost; send the file again")
    assert (await put_all(api))[-1].status == 200


async def test_a_lost_file_is_sent_again(api: Api, blobs: LocalBlobs) -> None:
    await put_all(api)
    blobs.path(sha256(WHOLE)).unlink()
    assert (await submit(api)).json["missing"] == [sha256(WHOLE).hex()]
    assert (await put_all(api))[-1].status == 200
    assert (await submit(api)).status == 200


async def test_rows_of_uploads_keep_their_blobs(api: Api, database: Database) -> None:
    await put(api, PARTS[0], 0)
    await put_all(api, (b"complete",))
    digests = [sha256(content) for content in (PARTS[0], WHOLE, b"complete", b"unknown")]
    assert database.read(select_referenced, digests) == set(digests[:3])


async def test_an_unused_upload_is_forgotten(api: Api, database: Database) -> None:
    await put(api, PARTS[0], 0)
    await put_all(api, (b"complete",))
    long_ago = update(Upload).values(used_at=audit.now() - timedelta(hours=25))
    database.write(lambda connection: connection.execute(long_ago).rowcount)
    await put(api, b"other", 0, whole=b"other parts")
    assert rows(database) == (1, 1)
    database.write(uploads.forget_unused, audit.now() + timedelta(seconds=1))
    assert rows(database) == (0, 0)


async def test_the_uploads_of_one_user_are_limited(api: Api, service: Service) -> None:
    service.max_tree = 2**20
    half = 600_000
    assert (await put(api, b"a", 0, whole=b"one", size=half)).status == 200
    refused = await put(api, b"a", 0, whole=b"two", size=half)
    assert refused.failure == (
        413,
        "Your unfinished uploads would have more than 1 MiB, the most that this service accepts "
        "at once",
    )
    other = await put(api, b"a", 0, whole=b"two", size=half, user=CLASSMATE)
    assert other.status == 200


async def test_uploads_count_against_the_quota(api: Api, service: Service) -> None:
    used = (await api.get("usage", COURSE, user=INSTRUCTOR)).json["bytes"]
    service.max_course_bytes = used + len(WHOLE)
    assert (await put(api, b"a", 0, whole=b"ab")).status == 200
    assert (await put(api, PARTS[0], 0)).status == 507
    assert (await put(api, PARTS[0], 0, whole=WHOLE[:-2])).status == 200


async def test_a_tree_of_an_upload_fits_into_the_quota_that_took_the_upload(
    api: Api, service: Service
) -> None:
    used = (await api.get("usage", COURSE, user=INSTRUCTOR)).json["bytes"]
    service.max_course_bytes = used + len(WHOLE)
    assert (await put_all(api))[-1].status == 200
    assert (await submit(api)).status == 200


@pytest.mark.parametrize("user", [STRANGER, OUTSIDER])
async def test_only_members_upload(api: Api, database: Database, user: str) -> None:
    assert (await put(api, PARTS[0], 0, user=user)).failure == (403, "Permission denied")
    reply = await api.post("tree", "missing", COURSE, ASSIGNMENT, user=user, files="[]")
    assert reply.failure == (403, "Permission denied")
    assert rows(database) == (0, 0)


async def test_uploads_of_a_purged_course_are_gone(api: Api, database: Database) -> None:
    await put(api, PARTS[0], 0)
    await api.delete("course", COURSE, user=ADMIN)
    admin = Caller(ADMIN, admin=True)
    later = audit.now() + timedelta(days=1)
    keys = [item.key for item in database.read(trash.list_trash, admin)]
    database.write(purge.purge_items, admin, keys, later)
    assert rows(database) == (0, 0)


async def test_a_released_file_is_not_missing_for_a_new_assignment(api: Api) -> None:
    body = json.dumps([{"path": "a", "sha256": sha256(b"{}").hex(), "size": 2}])
    reply = await api.post("tree", "missing", COURSE, "not released", user=INSTRUCTOR, files=body)
    assert reply.success("missing", "received") == {
        "success": True,
        "missing": [],
        "received": {},
    }


async def test_a_part_that_is_not_recorded_is_not_stored(api: Api, blobs: LocalBlobs) -> None:
    """Otherwise repeated parts with other bytes would fill the disk uncounted."""
    assert (await put(api, PARTS[0], 0)).success("received")["received"] == len(PARTS[0])
    before = {entry.name for entry in blobs.list()}
    again = await put(api, b"other, ", 0)
    assert again.success("received")["received"] == len(PARTS[0])
    gap = await put(api, b"x", len(PARTS[0]) + 1)
    assert gap.failure == (409, f"Send the part that begins with byte {len(PARTS[0])}")
    assert {entry.name for entry in blobs.list()} == before
