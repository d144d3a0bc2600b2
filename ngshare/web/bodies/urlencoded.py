"""Parse URL-encoded forms and query strings, in memory or from a file.

General parsers take longer over a submission than all the rest of the request does.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterator
from typing import IO
from urllib.parse import unquote_to_bytes

from ngshare.web.bodies.long_values import (
    BODY_PIECE,
    LONG,
    TREE_FIELD,
    LongValue,
    check_count,
    check_size,
    decode_text,
    read_pieces,
)


def parse_form(form: bytes) -> dict[str, str]:
    """Return the fields of a form or a query string. Raises BadRequest."""
    fields = {}
    for start, end in _items(form):
        name, equals, value = form[start:end].partition(b"=")
        if equals or name:
            fields[_unquote(name)] = _unquote(value)
    return fields


def parse_form_file(file: IO[bytes]) -> dict[str, str | LongValue]:
    """Return the fields of a form in a file; a long tree as a LongValue, which reads from the file.

    Raises BadRequest, and TooLarge when the other fields are too large.
    """
    fields: dict[str, str | LongValue] = {}
    size = 0
    for start, end in _items_in_file(file):
        # Names are short, so the equals sign is near.
        beginning = b"".join(read_pieces(file, start, min(end, start + BODY_PIECE)))
        if b"=" not in beginning and end - start > BODY_PIECE:
            check_size("name", end - start)
            beginning = b"".join(read_pieces(file, start, end))
        name_end = start + len(beginning.partition(b"=")[0])
        name = _unquote(beginning[: name_end - start])
        if name_end == end and not name:
            continue
        value_start = min(name_end + 1, end)
        if name == TREE_FIELD and end - value_start > LONG:
            fields[name] = LongValue(_unquoted_pieces(file, value_start, end))
        else:
            size += end - value_start
            check_size(name, size)
            fields[name] = _unquote(b"".join(read_pieces(file, value_start, end)))
    return fields


def _items(form: bytes) -> Iterator[tuple[int, int]]:
    """Yield the start and the end of each item between ampersands. Raises BadRequest."""
    start, count = 0, 1
    while (end := form.find(b"&", start)) >= 0:
        yield start, end
        start = end + 1
        count += 1
        check_count(count)
    yield start, len(form)


def _items_in_file(file: IO[bytes]) -> Iterator[tuple[int, int]]:
    """Yield the same as :func:`_items` for a form in a file."""
    start = offset = 0
    count = 1
    for piece in read_pieces(file):
        at = piece.find(b"&")
        while at >= 0:
            yield start, offset + at
            start = offset + at + 1
            count += 1
            check_count(count)
            at = piece.find(b"&", at + 1)
        offset += len(piece)
    yield start, offset


def _unquoted_pieces(file: IO[bytes], start: int, end: int) -> Callable[[], Iterator[bytes]]:
    """Return a function that yields a value of a form in a file, unescaped."""

    def pieces() -> Iterator[bytes]:
        rest = b""
        for piece in read_pieces(file, start, end):
            rest += piece
            cut = _before_escape(rest, len(rest))
            yield _unescape(rest[:cut])
            rest = rest[cut:]
        if rest:
            yield _unescape(rest)

    return pieces


def _unquote(text: bytes) -> str:
    if len(text) <= BODY_PIECE:
        return decode_text(_unescape(text))
    return decode_text(b"".join(_unescape(piece) for piece in _pieces(text)))


def _pieces(text: bytes) -> Iterator[bytes]:
    """Yield the text in pieces, none of which ends in an escape."""
    start = 0
    while start < len(text):
        end = min(start + BODY_PIECE, len(text))
        if end < len(text):
            end = _before_escape(text, end)
        yield text[start:end]
        start = end


def _before_escape(text: bytes, end: int) -> int:
    """Return ``end``, or where an escape begins that would be cut in two there."""
    escape = text.rfind(b"%", max(end - 2, 0), end)
    return end if escape < 0 else escape


def _unescape(text: bytes) -> bytes:
    """Undo percent-encoding, several times faster than the standard library where that matters.

    Quoted-printable differs only in the sign before the digits, and is decoded in C. Its line
    breaks and its own sign mean something else, and it skips what is no escape; such texts, and
    short ones, are decoded by the standard library.
    """
    text = text.replace(b"+", b" ")
    escapes = text.count(b"%")
    if not escapes:
        return text
    if len(text) > 1000 and not any(special in text for special in (b"=", b"\r", b"\n")):
        decoded = binascii.a2b_qp(text.replace(b"%", b"="))
        if len(decoded) == len(text) - 2 * escapes:  # every percent sign began an escape
            return decoded
    return unquote_to_bytes(text)
