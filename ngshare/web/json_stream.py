"""Read a large JSON text in pieces: the contents of files are streamed, the rest is kept.

A tree with its contents is a few short strings around very long ones. A general streaming parser
builds each of those in memory, and ijson's fastest one reads it again for every piece.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from ngshare.errors import BadRequest, TooLarge

KEY = b"content"
"""Of this key long values are streamed."""

LONG = 1000
"""Values of more bytes are long."""

LONGEST_REST = 32 * 2**20
"""The most bytes that all the rest may have, which is kept in memory."""

_INSIDE = re.compile(rb'[^"\\]*(?:\\[\s\S][^"\\]*)*')
"""What stands in a string, without half an escape at the end."""

_ESCAPE_LENGTH = 12
"""The longest escape: a surrogate pair."""

T = TypeVar("T")


def take_contents(
    pieces: Iterator[bytes], take: Callable[[Iterator[str]], T], message: str
) -> tuple[bytes, dict[str, T]]:
    """Return the JSON text with a mark for each long content, and what ``take`` made of each.

    ``take`` is called with the text of a content in pieces; what it leaves unread is skipped.

    A mark is a string that no client can guess. The text is JSON if it was before. Raises
    BadRequest with ``message`` when it ends within a string, and TooLarge when too much is left.
    """
    return _Reader(pieces, take, message).read()


class _Reader(Generic[T]):
    def __init__(
        self, pieces: Iterator[bytes], take: Callable[[Iterator[str]], T], message: str
    ) -> None:
        self._pieces = pieces
        self._take = take
        self._message = message
        self._buffer = b""
        self._rest: list[bytes] = []
        self._rest_size = 0
        self._taken: dict[str, T] = {}
        self._token = secrets.token_hex(16)
        self._key = b""

    def read(self) -> tuple[bytes, dict[str, T]]:
        while self._buffer or self._fill():
            before, quote, self._buffer = self._buffer.partition(b'"')
            self._keep(before + quote)
            if quote:
                self._read_string(before.strip() == b":" and self._key == KEY)
        return b"".join(self._rest), self._taken

    def _read_string(self, is_content: bool) -> None:
        """Read until after the quotation mark that ends a string; the buffer is inside of it."""
        string = b""
        while True:
            end = self._inside()
            if is_content and end > LONG:
                break
            if self._buffer[end : end + 1] == b'"':
                self._keep(self._buffer[: end + 1])
                self._key = string + self._buffer[:end]
                self._buffer = self._buffer[end + 1 :]
                return
            if not is_content:  # however long it is, each byte of it is looked at once
                string = (string + self._buffer[:end])[: len(KEY) + 1]
                self._keep(self._buffer[:end])
                self._buffer = self._buffer[end:]
            self._need_more()
        text = self._text()
        mark = f"{self._token}-{len(self._taken)}"
        self._taken[mark] = self._take(text)
        for _ in text:
            pass
        self._keep(mark.encode() + b'"')

    def _text(self) -> Iterator[str]:
        """Yield the text of a long string, and go past its end."""
        while True:
            end = self._inside()
            ended = self._buffer[end : end + 1] == b'"'
            # A pair of escaped surrogates must not be cut in two.
            cut = end if ended else self._before_escape(end)
            inside, self._buffer = self._buffer[:cut], self._buffer[cut:]
            if inside:
                yield self._unescape(inside)
            if ended:
                self._buffer = self._buffer[1:]
                return
            self._need_more()

    def _before_escape(self, end: int) -> int:
        at = self._buffer.find(b"\\", max(end - _ESCAPE_LENGTH, 0), end)
        if at < 0:
            return end
        while at > 0 and self._buffer[at - 1 : at] == b"\\":  # not in the middle of a run
            at -= 1
        return at

    def _unescape(self, inside: bytes) -> str:
        try:
            text: str = json.loads(b'"' + inside + b'"')
        except ValueError:
            raise BadRequest(self._message) from None
        return text

    def _inside(self) -> int:
        found = _INSIDE.match(self._buffer)
        assert found is not None, "it matches nothing too"
        return found.end()

    def _need_more(self) -> None:
        if not self._fill():
            raise BadRequest(self._message)

    def _fill(self) -> bool:
        piece = next(self._pieces, b"")
        self._buffer += piece
        return bool(piece)

    def _keep(self, text: bytes) -> None:
        self._rest_size += len(text)
        if self._rest_size > LONGEST_REST:
            raise TooLarge(
                f"The request has over {LONGEST_REST // 2**20} MiB besides the contents of files"
            )
        self._rest.append(text)
