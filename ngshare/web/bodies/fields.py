"""Parse the fields of a request from its body, in memory or in a file.

A body is a form, as the clients of ngshare 0.6 send it, or a JSON object with the same names.
"""

from __future__ import annotations

from typing import IO, Any

from ngshare.errors import BadRequest
from ngshare.web.bodies.json_stream import take_contents
from ngshare.web.bodies.json_text import decode_json
from ngshare.web.bodies.long_values import TREE_FIELD, LongValue, read_pieces
from ngshare.web.bodies.multipart_form import parse_multipart
from ngshare.web.bodies.urlencoded import parse_form, parse_form_file

JSON = "application/json"
MULTIPART = "multipart/form-data"
URLENCODED = "application/x-www-form-urlencoded"

BAD_BODY = "The request's body cannot be JSON decoded"


def parse_body(content_type: str, body: bytes) -> dict[str, Any]:
    """Return the fields of a body by name; of a name that is given twice, the last value.

    Values of forms are text, values of JSON are any JSON values. Raises BadRequest when the body
    does not match its content type.
    """
    if not body:
        return {}
    media_type = _media_type(content_type)
    if media_type == JSON:
        return _parse_json(body)
    if media_type == MULTIPART:
        return parse_multipart(content_type, lambda: iter((body,)))
    return parse_form(body)


def parse_spooled(content_type: str, file: IO[bytes]) -> dict[str, Any]:
    """Return the fields of a body that is in a file, as :func:`parse_body` does.

    A long tree is a LongValue, which reads from the file. Raises BadRequest, and TooLarge when
    the other fields are too large.
    """
    media_type = _media_type(content_type)
    if media_type == JSON:
        return _parse_spooled_json(file)
    if media_type == MULTIPART:
        return parse_multipart(content_type, lambda: read_pieces(file))
    return parse_form_file(file)


def _media_type(content_type: str) -> str:
    """Return the media type of a ``Content-Type`` header. Raises BadRequest for an unknown one."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in (JSON, MULTIPART, URLENCODED, ""):
        raise BadRequest(
            f"Content-Type {media_type[:100]!a} is not understood; send "
            "application/x-www-form-urlencoded or application/json"
        )
    return media_type


def _parse_json(body: bytes) -> dict[str, Any]:
    fields = decode_json(body, BAD_BODY)
    if not isinstance(fields, dict):
        raise BadRequest("The request's body must be a JSON object")
    return fields


def _parse_spooled_json(file: IO[bytes]) -> dict[str, Any]:
    """Return the fields of a JSON object in a file; a tree as a LongValue."""
    rest, _ = take_contents(read_pieces(file), lambda text: None, BAD_BODY)
    fields = _parse_json(rest)
    if isinstance(fields.get(TREE_FIELD), list):
        fields[TREE_FIELD] = LongValue(lambda: read_pieces(file), in_body=True)
    return fields
