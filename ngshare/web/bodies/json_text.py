"""Decode JSON that a client sent, within a limit on how many values it has."""

from __future__ import annotations

import json
from typing import Any

from ngshare.errors import BadRequest

JSON_VALUES = 500_000
"""The most values in a JSON text: a roster of 100,000 students, a tree of as many files."""


def decode_json(text: str | bytes, message: str) -> Any:
    """Decode JSON, or raise BadRequest with ``message``.

    Decoding holds up everything else in this process, and a list of nothing takes
    twenty times its text in memory: so there is an end to how many values there may be.
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
    if len(text) > JSON_VALUES and _values(text) > JSON_VALUES:
        raise BadRequest(f"The request has more than {JSON_VALUES} JSON values")


def _values(text: str | bytes) -> int:
    """At least as many as there are values in a JSON text."""
    if isinstance(text, bytes):
        return text.count(b",") + text.count(b"[") + text.count(b"{")
    return text.count(",") + text.count("[") + text.count("{")


def _parse_integer(digits: str) -> int:
    # No field holds a number, and reading a long one takes the square of its length.
    if len(digits) > 20:
        raise ValueError("an integer that is too long")
    return int(digits)


_DECODER = json.JSONDecoder(parse_int=_parse_integer)
