"""Limits on the fields of a request, and values that stay in a file because they are long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO

from ngshare.errors import BadRequest, TooLarge

MAX_FIELDS = 1000
"""The most fields that one request may have."""

TREE_FIELD = "files"
"""The field with a directory tree: the only one whose value may be too large for memory."""

LONG = 2**20
"""The size in bytes above which a value of :data:`TREE_FIELD` in a file becomes a LongValue."""

MAX_OTHER_FIELDS = 32 * 2**20
"""The most bytes of all other fields of a request, which stay in memory."""

BODY_PIECE = 128 * 1024
"""The bytes of a body that are read from a file, or unescaped, at once.

To unescape, the standard library takes an object of 50 bytes for each escape meanwhile, and
nothing else runs in this process until a piece is done.
"""


@dataclass(frozen=True)
class LongValue:
    """The JSON of a directory tree that is in a file. It can be read more than once.

    pieces: returns the JSON text in pieces: the tree itself, or an object with the tree as its
    field ``files`` (``in_body``).
    """

    pieces: Callable[[], Iterator[bytes]]
    in_body: bool = False


def read_pieces(file: IO[bytes], start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """Yield the bytes of a file from ``start`` to ``end`` in pieces; to its end without ``end``."""
    at = start
    while end is None or at < end:
        # Each reader keeps its own position: two readers of one file do not disturb each other.
        file.seek(at)
        piece = file.read(BODY_PIECE if end is None else min(BODY_PIECE, end - at))
        if not piece:
            return
        at += len(piece)
        yield piece


def check_size(name: str, size: int) -> None:
    """Raise TooLarge when the fields up to the one of this name take too many bytes."""
    if size > MAX_OTHER_FIELDS:
        raise TooLarge(f"The field {name[:100]!a} is larger than {MAX_OTHER_FIELDS // 2**20} MiB")


def check_count(fields: int) -> None:
    """Raise BadRequest when a request has too many fields."""
    if fields > MAX_FIELDS:
        raise BadRequest(f"The request has more than {MAX_FIELDS} fields")


def decode_text(text: bytes) -> str:
    """Decode the name or value of a field. Raises BadRequest unless it is UTF-8."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise BadRequest("The request's fields are not UTF-8 text") from None
