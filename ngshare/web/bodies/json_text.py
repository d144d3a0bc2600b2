"""Decode JSON that a client sent, with a limit on the number of values."""

from __future__ import annotations

import json
from typing import Any

from ngshare.errors import BadRequest

JSON_VALUES = 500_000
"""The most values in a JSON text: enough for a roster of 100,000 students, or as many files."""


def decode_json(text: str | bytes, message: str) -> Any:
    """Decode JSON. Raises BadRequest with ``message``, or when there are too many values.

    The number of values is limited because nothing else runs in this process while JSON is
    decoded, and a list of empty values takes twenty times its text in memory.
    """
    check_json_values(text)
    try:
        if isinstance(text, bytes):
            text = text.decode(json.detect_encoding(text), "surrogatepass")
        return _DECODER.decode(text)
    except (ValueError, RecursionError):
        raise BadRequest(message) from None


def check_json_values(text: str | bytes) -> None:
    """Raise BadRequest when a JSON text may have more values than a request may."""
    if len(text) > JSON_VALUES and _count_values(text) > JSON_VALUES:
        raise BadRequest(f"The request has more than {JSON_VALUES} JSON values")


def _count_values(text: str | bytes) -> int:
    """Return an upper bound of the number of values in a JSON text."""
    if isinstance(text, bytes):
        return text.count(b",") + text.count(b"[") + text.count(b"{")
    return text.count(",") + text.count("[") + text.count("{")


def _parse_integer(digits: str) -> int:
    # No field is a number, and the time to parse one grows with the square of its length.
    if len(digits) > 20:
        raise ValueError("an integer that is too long")
    return int(digits)


_DECODER = json.JSONDecoder(parse_int=_parse_integer)
