"""The fields of a request: from its query string and its body.

Bodies are forms, as today's clients send them, or JSON objects with the same
names. The form parser is our own because the general ones take longer over a
submission than all the rest of the request does.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote_to_bytes

from tornado import httputil

from ngshare.errors import BadRequest
from ngshare.wire import decode_json

FIELDS = 1000
"""The most fields that one request may have."""

PIECE = 128 * 1024
"""How many bytes of a form are unescaped at once.

The standard library takes an object of 50 bytes for each escape meanwhile, and nothing
else runs in this process until a piece is done.
"""


def parse_body(content_type: str, body: bytes) -> dict[str, Any]:
    """The fields of a body, by name; of a name that stands twice, the last.

    Values of forms are text, values of JSON are whatever JSON says. Raises
    BadRequest when the body is not what its content type says.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if not body:
        return {}
    if kind == "application/json":
        return _parse_json(body)
    if kind == "multipart/form-data":
        return _parse_multipart(content_type, body)
    if kind in ("application/x-www-form-urlencoded", ""):
        return parse_form(body)
    raise BadRequest(
        f"Content-Type {kind[:100]!a} is not understood; send "
        "application/x-www-form-urlencoded or application/json"
    )


def parse_form(body: bytes) -> dict[str, Any]:
    """The fields of a URL-encoded form, or of a query string."""
    fields = {}
    for item in _items(body):
        name, equals, value = item.partition(b"=")
        if equals or name:
            fields[_unquote(name)] = _unquote(value)
    return fields


def _items(body: bytes) -> Iterator[bytes]:
    """What stands between the ampersands. To count or to split first would read all of it again."""
    start = 0
    for _ in range(FIELDS):
        end = body.find(b"&", start)
        if end < 0:
            yield body[start:]
            return
        yield body[start:end]
        start = end + 1
    raise BadRequest(f"The request has more than {FIELDS} fields")


def _unquote(text: bytes) -> str:
    if len(text) <= PIECE:
        return _decode(_unescape(text))
    return _decode(b"".join(_unescape(piece) for piece in _pieces(text)))


def _unescape(text: bytes) -> bytes:
    """Undo percent-encoding, several times faster than the standard library where that matters.

    Quoted-printable is the same but for the sign before the digits, and is decoded in C.
    It means something else by a line break or by its own sign, and skips what is no escape;
    then, and for short texts, the standard library does it.
    """
    text = text.replace(b"+", b" ")
    escapes = text.count(b"%")
    if not escapes:
        return text
    if len(text) > 1000 and not any(special in text for special in (b"=", b"\r", b"\n")):
        decoded = binascii.a2b_qp(text.replace(b"%", b"="))
        if len(decoded) == len(text) - 2 * escapes:  # every one was an escape
            return decoded
    return unquote_to_bytes(text)


def _pieces(text: bytes) -> Iterator[bytes]:
    """The text in pieces of up to :data:`PIECE` bytes, none of which ends within an escape."""
    start = 0
    while start < len(text):
        end = min(start + PIECE, len(text))
        if end < len(text):
            within = text.rfind(b"%", end - 2, end)
            end = end if within < 0 else within
        yield text[start:end]
        start = end


def _decode(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise BadRequest("The request's fields are not UTF-8 text") from None


def _parse_json(body: bytes) -> dict[str, Any]:
    fields = decode_json(body, "The request's body cannot be JSON decoded")
    if not isinstance(fields, dict):
        raise BadRequest("The request's body must be a JSON object")
    return fields


def _parse_multipart(content_type: str, body: bytes) -> dict[str, Any]:
    arguments: dict[str, list[bytes]] = {}
    try:
        httputil.parse_body_arguments(content_type, body, arguments, {})
    except httputil.HTTPInputError as error:
        raise BadRequest(f"The request's body is not a form: {error}") from None
    return {name: _decode(values[-1]) for name, values in arguments.items()}
