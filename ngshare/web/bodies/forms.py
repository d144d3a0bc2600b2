"""Parse the fields of a request: from its query string, and from a body in memory or in a file.

Bodies are forms, as today's clients send them, or JSON objects with the same
names. The parser of URL-encoded forms is our own because the general ones take longer over a
submission than all the rest of the request does.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import IO, Any
from urllib.parse import unquote_to_bytes

from multipart import MultipartError, PushMultipartParser, parse_options_header

from ngshare.errors import BadRequest, TooLarge
from ngshare.web.bodies.json_stream import take_contents
from ngshare.web.bodies.json_text import decode_json

FIELDS = 1000
"""The most fields that one request may have."""

PIECE = 128 * 1024
"""How many bytes of a form are unescaped at once.

The standard library takes an object of 50 bytes for each escape meanwhile, and nothing
else runs in this process until a piece is done.
"""

LONG = 2**20
"""A value of more bytes in a file is read in pieces, if it is that of ``files``."""

LONGEST = 32 * 2**20
"""The longest value of any other field, in bytes: it is kept in memory."""

STREAMED = "files"
"""The one field whose value may be larger than memory should hold."""

BAD_BODY = "The request's body cannot be JSON decoded"


@dataclass(frozen=True)
class LongValue:
    """The JSON of a directory tree that is in a file: read it piece by piece, more than once.

    ``pieces`` returns the bytes of a JSON text: the tree itself, or an object that has it as its
    field ``files`` (``in_body``).
    """

    pieces: Callable[[], Iterator[bytes]]
    in_body: bool = False


def parse_body(content_type: str, body: bytes) -> dict[str, Any]:
    """Return the fields of a body, by name; of a name that stands twice, the last.

    Values of forms are text, values of JSON are whatever JSON says. Raises
    BadRequest when the body is not what its content type says.
    """
    if not body:
        return {}
    kind = _kind(content_type)
    if kind == "application/json":
        return _parse_json(body)
    if kind == "multipart/form-data":
        return _parse_multipart(content_type, lambda: iter((body,)))
    return parse_form(body)


def parse_spooled(content_type: str, file: IO[bytes]) -> dict[str, Any]:
    """Return the fields of a body that is in a file, as :func:`parse_body` does.

    A long value of ``files`` is a :class:`LongValue`, which reads from the file. Raises
    BadRequest, and TooLarge when another field is too long.
    """
    kind = _kind(content_type)
    if kind == "application/json":
        return _parse_spooled_json(file)
    if kind == "multipart/form-data":
        return _parse_multipart(content_type, lambda: read_pieces(file))
    return _parse_spooled_form(file)


def read_pieces(file: IO[bytes], start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """Yield what stands in a file, from ``start`` to ``end``, in pieces."""
    at = start
    while end is None or at < end:
        # By position of its own: two readers of one file do not disturb each other.
        file.seek(at)
        piece = file.read(PIECE if end is None else min(PIECE, end - at))
        if not piece:
            return
        at += len(piece)
        yield piece


def parse_form(body: bytes) -> dict[str, Any]:
    """Return the fields of a URL-encoded form, or of a query string."""
    fields = {}
    for start, end in _items(body):
        name, equals, value = body[start:end].partition(b"=")
        if equals or name:
            fields[_unquote(name)] = _unquote(value)
    return fields


def _kind(content_type: str) -> str:
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in (
        "application/json",
        "multipart/form-data",
        "application/x-www-form-urlencoded",
        "",
    ):
        raise BadRequest(
            f"Content-Type {kind[:100]!a} is not understood; send "
            "application/x-www-form-urlencoded or application/json"
        )
    return kind


def _parse_spooled_form(file: IO[bytes]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    kept = 0
    for start, end in _items_in(file):
        # Names are short, so the sign behind one is near.
        before = b"".join(read_pieces(file, start, min(end, start + PIECE)))
        if b"=" not in before and end - start > PIECE:
            _check_length("name", end - start)
            before = b"".join(read_pieces(file, start, end))
        name_end = start + len(before.partition(b"=")[0])
        name = _unquote(before[: name_end - start])
        if name_end == end and not name:
            continue
        value = min(name_end + 1, end)
        if name == STREAMED and end - value > LONG:
            fields[name] = LongValue(_unquoted(file, value, end))
        else:
            kept += end - value
            _check_length(name, kept)
            fields[name] = _unquote(b"".join(read_pieces(file, value, end)))
    return fields


def _items_in(file: IO[bytes]) -> Iterator[tuple[int, int]]:
    """Yield where each item between ampersands starts and ends in a file, as :func:`_items`."""
    start = offset = count = 0
    for piece in read_pieces(file):
        at = piece.find(b"&")
        while at >= 0:
            count += 1
            if count >= FIELDS:
                raise BadRequest(f"The request has more than {FIELDS} fields")
            yield start, offset + at
            start = offset + at + 1
            at = piece.find(b"&", at + 1)
        offset += len(piece)
    yield start, offset


def _unquoted(file: IO[bytes], start: int, end: int) -> Callable[[], Iterator[bytes]]:
    """Return what yields a part of a form, unescaped."""

    def pieces() -> Iterator[bytes]:
        rest = b""
        for piece in read_pieces(file, start, end):
            rest += piece
            # No piece ends within an escape.
            within = rest.rfind(b"%", max(len(rest) - 2, 0))
            cut = len(rest) if within < 0 else within
            yield _unescape(rest[:cut])
            rest = rest[cut:]
        if rest:
            yield _unescape(rest)

    return pieces


def _check_length(name: str, length: int) -> None:
    if length > LONGEST:
        raise TooLarge(f"The field {name[:100]!a} is larger than {LONGEST // 2**20} MiB")


def _items(body: bytes) -> Iterator[tuple[int, int]]:
    """Yield where each item between ampersands starts and ends."""
    start = 0
    for _ in range(FIELDS):
        end = body.find(b"&", start)
        if end < 0:
            yield start, len(body)
            return
        yield start, end
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
    """Yield the text in pieces of up to :data:`PIECE` bytes, none of which ends in an escape."""
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
    fields = decode_json(body, BAD_BODY)
    if not isinstance(fields, dict):
        raise BadRequest("The request's body must be a JSON object")
    return fields


def _parse_spooled_json(file: IO[bytes]) -> dict[str, Any]:
    """Return the fields of a JSON object in a file; a list of ``files`` is to be read from it."""
    rest, _ = take_contents(read_pieces(file), lambda text: None, BAD_BODY)
    fields = _parse_json(rest)
    if isinstance(fields.get(STREAMED), list):
        fields[STREAMED] = LongValue(lambda: read_pieces(file), in_body=True)
    return fields


def _parse_multipart(content_type: str, pieces: Callable[[], Iterator[bytes]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    others = 0
    for number, (name, content) in enumerate(_parts(content_type, pieces)):
        if number >= FIELDS:
            raise BadRequest(f"The request has more than {FIELDS} fields")
        kept, size = bytearray(), 0
        for piece in content:
            size += len(piece)
            if name != STREAMED:
                others += len(piece)
                _check_length(name, others)
            if name != STREAMED or size <= LONG:
                kept += piece
        if name == STREAMED and size > LONG:
            fields[name] = LongValue(partial(_part, content_type, pieces, number))
        else:
            fields[name] = _decode(bytes(kept))
    return fields


def _part(content_type: str, pieces: Callable[[], Iterator[bytes]], wanted: int) -> Iterator[bytes]:
    for number, (_, content) in enumerate(_parts(content_type, pieces)):
        for piece in content:
            if number == wanted:
                yield piece
        if number == wanted:
            return


def _parts(
    content_type: str, pieces: Callable[[], Iterator[bytes]]
) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yield the name and the content of each part that is no file; read each content to its end."""
    boundary = parse_options_header(content_type)[1].get("boundary", "")
    try:
        parser = PushMultipartParser(boundary, max_segment_count=FIELDS + 1)
        events = (event for piece in pieces() for event in parser.parse(piece))
        for event in events:
            if event is None or isinstance(event, (bytes, bytearray)):
                continue
            content = iter(lambda: next(events, None), None)
            if event.filename is None:
                yield event.name, map(bytes, content)
            for _ in content:
                pass
        parser.close()
    except (MultipartError, UnicodeDecodeError, ValueError) as error:
        raise BadRequest(f"The request's body is not a form: {error}") from None
