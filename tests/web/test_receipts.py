"""Receipts: signed by the service, and checked against what it has."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import Connection, select, update

from ngshare.actions import (
    assignments,
    audit,
    courses,
    debug_records,
    purge,
    roster,
    submissions,
    trash,
)
from ngshare.actions.access import Caller
from ngshare.blobs import LocalBlobs, sha256
from ngshare.db.models import File, SigningKey
from ngshare.db.transactions import Database
from ngshare.protocol.receipts import parse_receipt, signed_text
from ngshare.protocol.trees import StoredFile, md5
from tests.conftest import ADMIN, Api
from tests.web.world import (
    ASSIGNMENT,
    CLASSMATE,
    COURSE,
    FIRST,
    INSTRUCTOR,
    OTHER_COURSE,
    OUTSIDER,
    SECOND,
    STRANGER,
    STUDENT,
    UNTOUCHED,
)

pytestmark = pytest.mark.gen_test

ROOT = Caller(ADMIN, admin=True)


async def get_receipt(api: Api, user: str = STUDENT, **query: str) -> Any:
    reply = await api.get("receipt", COURSE, ASSIGNMENT, STUDENT, user=user, **query)
    return reply.success("receipt")["receipt"]


async def verify(api: Api, receipt: Any, user: str = STUDENT) -> tuple[bool, str]:
    reply = await api.send(
        "POST",
        "receipts",
        "verify",
        query={"user": user},
        body=json.dumps({"receipt": receipt}),
        headers={"Content-Type": "application/json"},
    )
    verdict = reply.success("valid", "message")
    return verdict["valid"], verdict["message"]


async def test_a_receipt_says_what_is_stored(api: Api) -> None:
    receipt = await get_receipt(api, timestamp=FIRST)
    reply = await api.get(
        "manifest", "submission", COURSE, ASSIGNMENT, STUDENT, user=STUDENT, timestamp=FIRST
    )
    manifest = reply.json
    assert receipt == {
        "course": COURSE,
        "assignment": ASSIGNMENT,
        "student": STUDENT,
        "timestamp": FIRST,
        "files": 1,
        "bytes": 1,
        "digest": manifest["digest"],
        "signature": receipt["signature"],
    }
    assert (await get_receipt(api, INSTRUCTOR, timestamp=FIRST)) == receipt
    assert (await get_receipt(api))["timestamp"] == SECOND


@pytest.mark.parametrize("user", [STUDENT, INSTRUCTOR, ADMIN])
async def test_a_valid_receipt(api: Api, user: str) -> None:
    receipt = await get_receipt(api)
    assert await verify(api, receipt, user) == (
        True,
        "The service has this submission exactly as the receipt says: 1 files, 1 bytes",
    )


async def test_everybody_can_verify_the_signature(api: Api) -> None:
    reply = (await api.get("receipt-key")).success("algorithm", "key")
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(reply["key"]))
    receipt = parse_receipt(await get_receipt(api))
    key.verify(base64.b64decode(receipt.signature), signed_text(receipt))


SIGNATURE = "The signature does not fit: the receipt was changed, or another service signed it"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("timestamp", FIRST),
        ("files", 2),
        ("bytes", 2),
        ("digest", "0" * 64),
        ("assignment", UNTOUCHED),
        ("student", CLASSMATE),
        ("course", OTHER_COURSE),
        ("signature", ""),
        ("signature", "?"),
        ("signature", base64.b64encode(bytes(64)).decode()),
    ],
)
async def test_a_receipt_that_was_changed(
    api: Api, database: Database, field: str, value: Any
) -> None:
    """Also where a submission exists that would agree with the changed field."""
    files = [StoredFile("second.txt", sha256(b"2"), md5(b"2"), 1)]
    for student, assignment in ((CLASSMATE, ASSIGNMENT), (STUDENT, UNTOUCHED)):
        database.write(submissions.submit, Caller(student), COURSE, assignment, files)
    receipt = await get_receipt(api)
    assert await verify(api, {**receipt, field: value}, ADMIN) == (False, SIGNATURE)


async def test_a_receipt_signed_with_another_key(api: Api) -> None:
    receipt = await get_receipt(api)
    signature = Ed25519PrivateKey.generate().sign(signed_text(parse_receipt(receipt)))
    forged = {**receipt, "signature": base64.b64encode(signature).decode()}
    assert await verify(api, forged) == (False, SIGNATURE)


@pytest.mark.parametrize("user", [CLASSMATE, STRANGER, OUTSIDER])
async def test_receipts_of_others(api: Api, user: str) -> None:
    reply = await api.get("receipt", COURSE, ASSIGNMENT, STUDENT, user=user)
    assert reply.failure == (403, "Permission denied")
    receipt = json.dumps(await get_receipt(api))
    for body in (receipt, receipt.replace(SECOND, FIRST)):  # no word about whether it is genuine
        reply = await api.post("receipts", "verify", user=user, receipt=body)
        assert reply.failure == (403, "Permission denied")


async def test_a_student_who_has_left(api: Api, database: Database) -> None:
    receipt = await get_receipt(api)
    database.write(roster.remove_student, Caller(INSTRUCTOR), COURSE, STUDENT)
    assert (await get_receipt(api, INSTRUCTOR)) == receipt
    assert (await verify(api, receipt, INSTRUCTOR))[0]
    reply = await api.post("receipts", "verify", user=STUDENT, receipt=json.dumps(receipt))
    assert reply.failure == (403, "Permission denied")


async def test_an_assignment_that_was_removed_restored_and_purged(
    api: Api, database: Database
) -> None:
    receipt = await get_receipt(api)
    instructor = Caller(INSTRUCTOR)
    gone = (
        False,
        "The receipt is genuine, but the service does not have the submission any more: "
        "Assignment not found",
    )
    database.write(assignments.remove_assignment, instructor, COURSE, ASSIGNMENT)
    assert await verify(api, receipt) == gone
    [item] = database.read(trash.list_trash, ROOT, kind="assignment")
    database.write(purge.purge_items, ROOT, [item.key], audit.now())
    files = [StoredFile("a", sha256(b"1"), md5(b"1"), 1)]
    assert await verify(api, receipt) == gone
    database.write(assignments.release_assignment, instructor, COURSE, ASSIGNMENT, files)
    valid, message = await verify(api, receipt)
    assert (valid, message[-22:]) == (False, ": Submission not found")


async def test_a_course_that_was_removed(api: Api, database: Database) -> None:
    receipt = json.dumps(await get_receipt(api))
    database.write(courses.remove_course, ROOT, COURSE)
    reply = await api.post("receipts", "verify", user=STUDENT, receipt=receipt)
    assert reply.failure == (404, "Course not found")


def rename_file(connection: Connection) -> None:
    connection.execute(update(File).where(File.path == "second.txt").values(path="third.txt"))


async def test_rows_that_were_changed(api: Api, database: Database) -> None:
    receipt = await get_receipt(api)
    database.write(rename_file)
    assert await verify(api, receipt) == (
        False,
        "The receipt is genuine, but the service has other files than it says",
    )


@pytest.fixture
def own_blobs(tmp_path: Path) -> LocalBlobs:
    return LocalBlobs(tmp_path / "own")


def do_damage(path: Path, damage: str) -> None:
    path.chmod(0o600)
    if damage == "missing":
        path.unlink()
        return
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes({"changed": content, "cut": content[:-1], "longer": content + b"2"}[damage])


@pytest.mark.parametrize("damage", ["missing", "changed", "cut", "longer"])
async def test_contents_that_are_damaged(
    api: Api, database: Database, service: Any, own_blobs: LocalBlobs, damage: str
) -> None:
    service.blobs = own_blobs
    contents = {"kept": b"1" * 1000, "a/damaged.ipynb": b"2" * 3_000_000}
    files = [StoredFile(p, sha256(c), md5(c), len(c)) for p, c in contents.items()]
    own_blobs.put(list(contents.values()))
    database.write(submissions.submit, Caller(STUDENT), COURSE, ASSIGNMENT, files)
    receipt = await get_receipt(api)
    assert (await verify(api, receipt))[0]
    do_damage(Path(own_blobs.describe(sha256(contents["a/damaged.ipynb"]))), damage)
    assert await verify(api, receipt) == (
        False,
        "The receipt is genuine, but the content of 1 of 2 files is missing or damaged at the "
        "service, among them a/damaged.ipynb",
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "Please supply receipt"),
        ({"receipt": "{"}, "Receipt cannot be JSON decoded"),
        ({"receipt": "[]"}, "A receipt should be an object"),
    ],
)
async def test_no_receipt(api: Api, body: dict[str, str], message: str) -> None:
    reply = await api.post("receipts", "verify", user=STUDENT, **body)
    assert reply.failure == (400, message)


# The key


def keys(connection: Connection) -> list[bytes]:
    return list(connection.scalars(select(SigningKey.private_key)))


async def test_the_key_is_in_no_dump_and_survives_clearing(api: Api, database: Database) -> None:
    receipt = await get_receipt(api)
    [key] = database.read(keys)
    reply = await api.get("initialize-Data6ase", user=ADMIN, action="dump")
    assert "signing_keys" not in reply.json
    for shown in (key.hex(), base64.b64encode(key).decode(), repr(key)):
        assert shown not in reply.body.decode()
    database.write(debug_records.clear_records, ROOT, debug=True, hub=True)
    assert database.read(keys) == [key]
    assert receipt["signature"]
