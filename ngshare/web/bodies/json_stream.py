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
from ngshare.web.bodies.json_text import JSON_VALUES

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
        self._at = 0
        """What is before is done with. It is not cut off for each string: that took the square."""
        self._rest = bytearray()
        self._taken: dict[str, T] = {}
        self._token = secrets.token_hex(16)
        self._key = b""

    def read(self) -> tuple[bytes, dict[str, T]]:
        before, strings = b"", 0
        while self._at < len(self._buffer) or self._fill():
            quote = self._buffer.find(b'"', self._at)
            end = len(self._buffer) if quote < 0 else quote
            # A piece may end between the key and its value.
            before = (before + self._buffer[self._at : end].strip())[:2]
            self._keep(end if quote < 0 else end + 1)
            if quote >= 0:
                strings += 1
                if strings > 2 * JSON_VALUES + 1:  # each is a value or the key of one
                    raise BadRequest(f"The request has more than {JSON_VALUES} JSON values")
                self._read_string(before == b":" and self._key == KEY)
                before = b""
        return bytes(self._rest), self._taken

    def _read_string(self, is_content: bool) -> None:
        """Read until after the quotation mark that ends a string; the buffer is inside of it."""
        string = b""
        while True:
            end = self._inside()
            if is_content and end - self._at > LONG:
                break
            if self._buffer[end : end + 1] == b'"':
                self._key = string + self._buffer[self._at : end]
                self._keep(end + 1)
                return
            if not is_content:  # however long it is, each byte of it is looked at once
                string = (string + self._buffer[self._at : end])[: len(KEY) + 1]
                self._keep(end)
            self._need_more()
        text = self._text()
        mark = f"{self._token}-{len(self._taken)}"
        self._taken[mark] = self._take(text)
        for _ in text:
            pass
        self._rest += mark.encode() + b'"'

    def _text(self) -> Iterator[str]:
        """Yield the text of a long string, and go past its end."""
        while True:
            end = self._inside()
            ended = self._buffer[end : end + 1] == b'"'
            # A pair of escaped surrogates must not be cut in two.
            cut = end if ended else self._before_escape(end)
            inside, self._at = self._buffer[self._at : cut], cut
            if inside:
                yield self._unescape(inside)
            if ended:
                self._at += 1
                return
            self._need_more()

    def _before_escape(self, end: int) -> int:
        at = self._buffer.find(b"\\", max(end - _ESCAPE_LENGTH, self._at), end)
        if at < 0:
            return end
        # It begins an escape unless an odd number of others is right before it. (To go back to the
        # first of them would keep all of a long run in memory, and read it again for each piece.)
        before = self._buffer[self._at : at]
        return at - (len(before) - len(before.rstrip(b"\\"))) % 2

    def _unescape(self, inside: bytes) -> str:
        try:
            text: str = json.loads(b'"' + inside + b'"')
        except UnicodeDecodeError:  # a piece may end within a character; base64 has none of those
            return "\ufffd"
        except ValueError:
            raise BadRequest(self._message) from None
        return text

    def _inside(self) -> int:
        found = _INSIDE.match(self._buffer, self._at)
        assert found is not None, "it matches nothing too"
        return found.end()

    def _need_more(self) -> None:
        if not self._fill():
            raise BadRequest(self._message)

    def _fill(self) -> bool:
        piece = next(self._pieces, b"")
        self._buffer = self._buffer[self._at :] + piece
        self._at = 0
        return bool(piece)

    def _keep(self, end: int) -> None:
        """Keep what stands before ``end`` in the buffer, and go there."""
        self._rest += memoryview(self._buffer)[self._at : end]
        self._at = end
        if len(self._rest) > LONGEST_REST:
            raise TooLarge(
                f"The request has over {LONGEST_REST // 2**20} MiB besides the contents of files"
            )
