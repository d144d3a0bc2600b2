"""Parse multipart forms piece by piece, in memory or from a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from multipart import MultipartError, PushMultipartParser, parse_options_header

from ngshare.errors import BadRequest
from ngshare.web.bodies.long_values import (
    LONG,
    MAX_FIELDS,
    TREE_FIELD,
    LongValue,
    check_count,
    check_size,
    decode_text,
)

ReadBody = Callable[[], Iterator[bytes]]
"""Returns a body in pieces, from its beginning."""


def parse_multipart(content_type: str, read_body: ReadBody) -> dict[str, str | LongValue]:
    """Return the fields of a multipart form; a long tree as a LongValue.

    Uploaded files are skipped. Raises BadRequest, and TooLarge when the other fields are too large.
    """
    fields: dict[str, str | LongValue] = {}
    others_size = 0
    for number, (name, content) in enumerate(_fields(content_type, read_body)):
        check_count(number + 1)
        value, size = bytearray(), 0
        for piece in content:
            size += len(piece)
            if name != TREE_FIELD:
                others_size += len(piece)
                check_size(name, others_size)
            if name != TREE_FIELD or size <= LONG:
                value += piece
        if name == TREE_FIELD and size > LONG:
            fields[name] = LongValue(partial(_field_content, content_type, read_body, number))
        else:
            fields[name] = decode_text(bytes(value))
    return fields


def _field_content(content_type: str, read_body: ReadBody, index: int) -> Iterator[bytes]:
    """Yield the content of one field of the form, by its index among the fields."""
    for number, (_, content) in enumerate(_fields(content_type, read_body)):
        if number == index:
            yield from content
            return


def _fields(content_type: str, read_body: ReadBody) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yield the name and the content of each field that is no file.

    A content that is not read to its end is skipped when the next field is asked for.
    """
    boundary = parse_options_header(content_type)[1].get("boundary", "")
    try:
        parser = PushMultipartParser(boundary, max_segment_count=MAX_FIELDS + 1)
        events = (event for piece in read_body() for event in parser.parse(piece))
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
