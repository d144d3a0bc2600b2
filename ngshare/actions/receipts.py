"""Receipts for submissions: sign them, and check them against what is stored.

The key pair is made once, when it is first needed, and kept in the database. All processes of the
service share it, and a restored site still recognises its receipts.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import Connection, bindparam, insert, select

from ngshare.actions import audit, stored_trees, submissions, tree_rows
from ngshare.actions.access import Caller, Capability, require_capability_or_self
from ngshare.actions.stored_trees import TreeKind, TreeName
from ngshare.blobs import BlobMissing, BlobStore
from ngshare.db.models import SigningKey, Tree
from ngshare.errors import NotFound
from ngshare.protocol.manifests import tree_digest
from ngshare.protocol.receipts import Receipt, signed_text
from ngshare.protocol.times import format_time, parse_time
from ngshare.protocol.trees import StoredFile

KEY_ID = 1
"""The id of the only key. Of two processes that make one at once, the second fails and retries."""

_KEY = select(SigningKey.private_key).where(SigningKey.id == KEY_ID)
_TREE = select(Tree.digest, Tree.file_count, Tree.size).where(Tree.id == bindparam("tree_id"))


class InvalidReceipt(Exception):
    """A receipt does not agree with what is stored. The message says in one sentence why."""


def has_key(connection: Connection) -> bool:
    """Return whether the key was made already."""
    return connection.scalar(_KEY) is not None


def make_key(connection: Connection) -> None:
    """Make the key unless there is one. Call it before an action that only reads needs the key."""
    _require_key(connection, make=True)


def submit(
    connection: Connection,
    caller: Caller,
    course: str,
    assignment: str,
    files: Sequence[StoredFile],
    key: str | None = None,
    sent: int | None = None,
) -> Receipt:
    """Submit the caller's work, and return the receipt for it.

    The parameters are those of :func:`ngshare.actions.submissions.submit`, whose errors are raised.
    """
    submitted_at = submissions.submit(connection, caller, course, assignment, files, key, sent)
    return _sign(
        _require_key(connection, make=True),
        Receipt(
            course=course,
            assignment=assignment,
            student=caller.name,
            timestamp=format_time(submitted_at),
            files=len(files),
            bytes=sum(file.size for file in files),
            digest=tree_digest(tree_rows.make_manifest(files)).hex(),
        ),
    )


def get_receipt(
    connection: Connection,
    caller: Caller,
    course: str,
    assignment: str,
    student: str,
    timestamp: str | None,
) -> Receipt:
    """Return the receipt for a submission; for instructors and that student.

    It is the submission of ``timestamp``, or the latest one if that is None. Raises what
    :func:`ngshare.actions.stored_trees.require_tree` raises.
    """
    name = TreeName(TreeKind.SUBMISSION, course, assignment, student, timestamp)
    tree = stored_trees.require_tree(connection, caller, name)
    assert tree.submitted_at is not None, "it is a submission"
    key = _require_key(connection)
    digest, count, size = connection.execute(_TREE, {"tree_id": tree.id}).one()
    submitted_at = format_time(tree.submitted_at)
    receipt = Receipt(course, assignment, student, submitted_at, count, size, digest.hex())
    return _sign(key, receipt)


def get_public_key(connection: Connection) -> bytes:
    """Return the public key (32 bytes), for everybody."""
    public = _require_key(connection).public_key()
    return public.public_bytes(Encoding.Raw, PublicFormat.Raw)


def require_received(connection: Connection, caller: Caller, receipt: Receipt) -> list[StoredFile]:
    """Return the files of the submission that a receipt is for; for instructors and that student.

    Raises InvalidReceipt unless this service signed the receipt and has a submission that agrees
    with it. The contents of the files are not checked.
    """
    access = require_capability_or_self(
        connection,
        caller,
        receipt.course,
        Capability.GRADE,
        receipt.student,
        receipt.assignment,
    )
    if not _is_signed(_require_key(connection).public_key(), receipt):
        raise InvalidReceipt(
            "The signature does not fit: the receipt was changed, or another service signed it"
        )
    try:
        submission = submissions.require_submission(
            connection,
            access.require_assignment(),
            receipt.student,
            parse_time(receipt.timestamp),
        )
    except NotFound as error:
        raise InvalidReceipt(
            f"The receipt is genuine, but the service does not have the submission any more: "
            f"{error.message}"
        ) from error
    files = tree_rows.list_files(connection, submission.tree_id)
    stored = (
        len(files),
        sum(file.size for file in files),
        tree_digest(tree_rows.make_manifest(files)).hex(),
    )
    if stored != (receipt.files, receipt.bytes, receipt.digest):
        raise InvalidReceipt("The receipt is genuine, but the service has other files than it says")
    return files


def find_damaged(blobs: BlobStore, files: Iterable[StoredFile]) -> list[str]:
    """Return the paths of files whose contents are missing or damaged. Blocks.

    It reads all of them, in pieces. Raises Unavailable when the store does not answer.
    """
    return [file.path for file in files if not _is_intact(blobs, file)]


def _is_intact(blobs: BlobStore, file: StoredFile) -> bool:
    if file.sha256 is None:
        return False
    digest, size = hashlib.sha256(), 0
    try:
        for piece in blobs.open(file.sha256):
            digest.update(piece)
            size += len(piece)
    except BlobMissing:
        return False
    return digest.digest() == file.sha256 and size == file.size


def _sign(key: Ed25519PrivateKey, receipt: Receipt) -> Receipt:
    """Return a receipt with its signature."""
    signature = key.sign(signed_text(receipt))
    return replace(receipt, signature=base64.b64encode(signature).decode())


def _is_signed(key: Ed25519PublicKey, receipt: Receipt) -> bool:
    """Return whether the signature of a receipt was made with this key."""
    try:
        key.verify(base64.b64decode(receipt.signature, validate=True), signed_text(receipt))
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def _require_key(connection: Connection, *, make: bool = False) -> Ed25519PrivateKey:
    """Return the key; with ``make``, insert one if there is none.

    It is made by a transaction that fails if another inserted it meanwhile, and is then retried.
    """
    seed = connection.scalar(_KEY)
    if seed is None and make:
        seed = Ed25519PrivateKey.generate().private_bytes_raw()
        row = {"id": KEY_ID, "private_key": seed, "created_at": audit.now()}
        connection.execute(insert(SigningKey), [row])
    assert seed is not None, "make_key() was called before"
    return _load_key(seed)


@functools.lru_cache(maxsize=1)
def _load_key(seed: bytes) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(seed)
