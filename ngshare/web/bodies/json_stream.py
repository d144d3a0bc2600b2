"""Parse a large JSON text in pieces: stream the contents of files, and keep the rest in memory.

A tree with its contents consists of a few short strings and very long ones. A general streaming
parser builds each long one in memory, and ijson's fastest backend reads it again for every piece.
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
"""The key whose long values are streamed."""

LONG_STRING = 1000
"""The size in bytes above which a value is streamed."""

MAX_REST = 32 * 2**20
"""The most bytes besides the streamed values, which stay in memory."""

_INSIDE = re.compile(rb'[^"\\]*(?:\\[\s\S][^"\\]*)*')
"""The inside of a string, up to its end or an incomplete escape."""

_ESCAPE_LENGTH = 12
"""The length of the longest escape, a surrogate pair."""

T = TypeVar("T")


def take_contents(
    pieces: Iterator[bytes], take: Callable[[Iterator[str]], T], message: str
) -> tuple[bytes, dict[str, T]]:
    """Replace each long content in a JSON text by a mark; return the text, and results by mark.

    A mark is a string that no client can guess. The returned text is valid JSON if the original is.

    pieces: the JSON text.
    take: is called with each long content, decoded, in pieces, and returns the result for its mark.
        Pieces that it does not read are skipped.

    Raises BadRequest with ``message`` when the text ends within a string, and TooLarge when more
    than :data:`MAX_REST` bytes are left.
    """
    return _Reader(pieces, take, message).read()


class _Reader(Generic[T]):
    """The state of :func:`take_contents` between two pieces."""

    def __init__(
        self, pieces: Iterator[bytes], take: Callable[[Iterator[str]], T], message: str
    ) -> None:
        self._pieces = pieces
        self._take = take
        self._message = message
        self._buffer = b""
        self._at = 0
        """Everything before this position in the buffer is consumed. It is cut off once for each
        piece: to do so for each string would take time by the square of the piece."""
        self._rest = bytearray()
        self._taken: dict[str, T] = {}
        self._token = secrets.token_hex(16)
        self._key = b""

    def read(self) -> tuple[bytes, dict[str, T]]:
        before, strings = b"", 0
        while self._at < len(self._buffer) or self._fill():
            quote = self._buffer.find(b'"', self._at)
            end = len(self._buffer) if quote < 0 else quote
            # Kept across pieces, because one may end between the key and its value.
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
        """Consume a string and the quotation mark that ends it; the position is inside of it."""
        string = b""
        while True:
            end = self._end_of_inside()
            if is_content and end - self._at > LONG_STRING:
                break
            if self._buffer[end : end + 1] == b'"':
                self._key = string + self._buffer[self._at : end]
                self._keep(end + 1)
                return
            if not is_content:  # consumed at once, so that each byte is scanned once
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
        """Yield the decoded text of a long string in pieces, and consume its end."""
        while True:
            end = self._end_of_inside()
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
        """Return ``end``, or the start of an escape before it that may be one of a pair."""
        at = self._buffer.find(b"\\", max(end - _ESCAPE_LENGTH, self._at), end)
        if at < 0:
            return end
        # This backslash begins an escape unless an odd number of others precedes it. (To go back to
        # the first of a long run would keep the run in memory, and scan it again for each piece.)
        before = self._buffer[self._at : at]
        return at - (len(before) - len(before.rstrip(b"\\"))) % 2

    def _unescape(self, inside: bytes) -> str:
        try:
            text: str = json.loads(b'"' + inside + b'"')
        except UnicodeDecodeError:  # a piece may end within a character, but base64 is ASCII
            return "\ufffd"
        except ValueError:
            raise BadRequest(self._message) from None
        return text

    def _end_of_inside(self) -> int:
        """Return where the inside of the current string ends in the buffer."""
        match = _INSIDE.match(self._buffer, self._at)
        assert match is not None, "it matches the empty text too"
        return match.end()

    def _need_more(self) -> None:
        """Read another piece. Raises BadRequest when there is none."""
        if not self._fill():
            raise BadRequest(self._message)

    def _fill(self) -> bool:
        """Read another piece into the buffer; return False when there is none."""
        piece = next(self._pieces, b"")
        self._buffer = self._buffer[self._at :] + piece
        self._at = 0
        return bool(piece)

    def _keep(self, end: int) -> None:
        """Consume the buffer up to ``end`` and keep it as part of the returned text."""
        self._rest += memoryview(self._buffer)[self._at : end]
        self._at = end
        if len(self._rest) > MAX_REST:
            raise TooLarge(
                f"The request has over {MAX_REST // 2**20} MiB besides the contents of files"
            )
