"""What files hold, taken out of a JSON text before a decoder looks at each of its characters.

Today's clients break base64 into lines of 76 characters, each of which ends with an escape.
To a decoder that is thousands of short strings: with a submission of 400 kB it takes as long
as to undo the escapes of the form. Only what is nothing but base64, in such lines or in one, is
taken out, so what is left is a text for the decoder to judge, as if the long strings were short.
"""

from __future__ import annotations

import binascii
import secrets
from collections.abc import Iterator
from typing import NamedTuple

import pybase64

LONG = 1000
"""Strings of fewer characters are left to the decoder."""

QUOTES = 200_000
"""So many quotation marks are looked at, enough for 10,000 files; the rest is the decoder's."""

LINE = 76
"""How many characters a line of base64 has, by RFC 2045."""

_BREAK = r"\n"

PIECE = 3360 * (LINE + len(_BREAK))
"""So many characters are decoded at once, 262 kB: nothing else runs in this process meanwhile.

It is a multiple of a line with its end, and of four, what three bytes take in base64.
"""


class Content(NamedTuple):
    """A string that was taken out of a text.

    It stood there from the character ``start`` to before ``end``, without its quotation marks,
    and is base64 of ``decoded``.
    """

    start: int
    end: int
    decoded: bytes


def take_out(text: str) -> tuple[str, dict[str, Content]]:
    """The text with a mark for each long string of base64, and what each mark stands for.

    The marks are strings as others are, so the text is JSON if it was before. A mark cannot be
    guessed, so nothing that a client sends is taken for one. Raises nothing: what is not
    understood stays where it is.
    """
    found: dict[str, Content] = {}
    pieces: list[str] = []
    token = secrets.token_hex(16)
    kept_from = 0
    for start, end in _long_strings(text):
        decoded = _decode(text, start, end)
        if decoded is not None:
            mark = f"{token}-{len(found)}"
            found[mark] = Content(start, end, decoded)
            pieces += (text[kept_from:start], mark)
            kept_from = end
    return "".join((*pieces, text[kept_from:])), found


def string(text: str, content: Content) -> str:
    """The string that was taken out of this text, as the decoder would have read it."""
    return text[content.start : content.end].replace(_BREAK, "\n")


def _long_strings(text: str) -> Iterator[tuple[int, int]]:
    """Where long strings begin and end, among the first :data:`QUOTES` quotation marks."""
    opened = before = -1
    for _ in range(QUOTES):
        quote = text.find('"', before + 1)
        if quote < 0:
            return
        if opened < 0:
            opened = quote
        elif text[quote - 1] != "\\" or not _escapes(text[before + 1 : quote]):
            if quote - opened > LONG:
                yield opened + 1, quote
            opened = -1
        before = quote


def _escapes(text: str) -> bool:
    """Whether a quotation mark that comes after this is part of the string."""
    return (len(text) - len(text.rstrip("\\"))) % 2 == 1


def _decode(text: str, start: int, end: int) -> bytes | None:
    """What a string of base64 says, in lines or in one; None when it is anything else."""
    in_lines = text.find("\\", start, end) >= 0
    decoded = []
    try:
        for at in range(start, end, PIECE):
            characters = bytearray(text[at : min(at + PIECE, end)], "ascii")
            if in_lines and not _join_lines(characters):
                return None
            decoded.append(pybase64.b64decode(characters, validate=True))
            # Padding is for the end only.
            if at + PIECE < end and len(decoded[-1]) * 4 != len(characters) * 3:
                return None
    except (UnicodeEncodeError, binascii.Error, ValueError):
        return None
    return b"".join(decoded)


def _join_lines(characters: bytearray) -> bool:
    """Take out the escape after each line. Return False when they are not where they should be."""
    if characters.endswith(_BREAK.encode()):
        del characters[-len(_BREAK) :]
    line = LINE + len(_BREAK)
    if len(characters) % line > LINE:  # half an escape is left: its backslash was itself escaped
        return False
    for at, sign in enumerate(_BREAK.encode(), LINE):
        if characters[at::line].strip(bytes([sign])):
            return False
    del characters[LINE::line]
    del characters[LINE :: line - 1]
    return True
