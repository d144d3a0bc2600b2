"""Receipts: what the service acknowledges about a submission, signed with its key.

The signature is Ed25519 over :func:`signed_text`, in base64. ``GET receipt-key`` returns
the public key, so anybody can verify a receipt; only the service can say that it still has the
submission.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any

from ngshare.errors import BadRequest
from ngshare.protocol.manifests import parse_digest
from ngshare.protocol.names import check_name
from ngshare.protocol.times import format_time, parse_time


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receipt for a submission.

    ``timestamp`` is its time as :func:`ngshare.protocol.times.format_time` formats it, ``files``
    their number, ``bytes`` their total size, ``digest`` the digest of the tree
    (:func:`ngshare.protocol.manifests.tree_digest`) in hexadecimal digits.
    """

    course: str
    assignment: str
    student: str
    timestamp: str
    files: int
    bytes: int
    digest: str
    signature: str = ""


_FIELDS = [field.name for field in fields(Receipt)]


def signed_text(receipt: Receipt) -> bytes:
    """Return what is signed: the other fields as JSON, sorted by name, without blanks."""
    signed = format_receipt(receipt)
    del signed["signature"]
    text = json.dumps(signed, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def format_receipt(receipt: Receipt) -> dict[str, str | int]:
    """Return a receipt as a JSON value."""
    # Not asdict(), which takes as long as a query.
    return {name: getattr(receipt, name) for name in _FIELDS}


def parse_receipt(value: object) -> Receipt:
    """Return the receipt that was decoded from JSON; further keys are ignored.

    Raises BadRequest when it is malformed. The signature is not verified.
    """
    if value is None or value == "":
        raise BadRequest("Please supply receipt")
    if not isinstance(value, dict):
        raise BadRequest("A receipt should be an object")
    receipt = Receipt(
        course=check_name(_text(value, "course")),
        assignment=check_name(_text(value, "assignment")),
        student=check_name(_text(value, "student")),
        timestamp=_text(value, "timestamp"),
        files=_number(value, "files"),
        bytes=_number(value, "bytes"),
        digest=_text(value, "digest"),
        signature=_text(value, "signature"),
    )
    parse_digest(receipt.digest)
    if receipt.timestamp != format_time(parse_time(receipt.timestamp)):
        raise BadRequest("The timestamp of a receipt should be as the service wrote it")
    return receipt


def _text(receipt: dict[str, Any], field: str) -> str:
    value = receipt.get(field)
    if not isinstance(value, str):
        raise BadRequest(f"The field {field} of a receipt should be a text")
    return value


def _number(receipt: dict[str, Any], field: str) -> int:
    value = receipt.get(field)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise BadRequest(f"The field {field} of a receipt should be a whole number")
    return value
