"""The wire formats that clients speak: names, times and directory trees.

Pure functions of their arguments. The formats are those of ngshare 0.6, which
the plugins in students' images expect to the letter.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

from ngshare.errors import BadRequest

NAME_LENGTH = 255
"""The longest name of a course, an assignment or a user, in characters."""

PATH_PART_BYTES = 255
"""The longest part of a path, in UTF-8 bytes: what common file systems can hold."""

PATH_BYTES = 2048
"""The longest path, in UTF-8 bytes: what PostgreSQL can index, and half of Linux's PATH_MAX."""

PATH_SHOWN = 200
"""The most characters of an illegal path that the log shows."""

JSON_VALUES = 500_000
"""The most values in a JSON text: a roster of 100,000 students, a tree of as many files."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_UNENCODABLE = re.compile(r"[\ud800-\udfff]")
_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[ T]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,6}))?"
    r"\s*(?:(UTC|Z)|([+-])([0-9]{2}):?([0-9]{2}))?"
)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a stored tree.

    ``sha256`` (32 bytes) names the blob that holds its content; None where the
    content was lost before ngshare 1.0 adopted the site. ``md5`` (16 bytes) is
    what clients compare, ``size`` is in bytes.
    """

    path: str
    sha256: bytes | None
    md5: bytes
    size: int


def is_name(name: str) -> bool:
    """Whether ``name`` can name a course, an assignment or a user.

    Any non-empty text without ``/`` can, unless no database or terminal could
    keep it: control characters, halves of surrogate pairs, over 255 characters.
    """
    return (
        0 < len(name) <= NAME_LENGTH
        and "/" not in name
        and not _CONTROL.search(name)
        and not _UNENCODABLE.search(name)
    )


def check_name(name: str) -> str:
    """Return ``name`` if it is legal, else raise BadRequest."""
    if not is_name(name):
        raise BadRequest(
            f"Illegal name: a name has 1 to {NAME_LENGTH} characters, "
            "no slash and no control character"
        )
    return name


def is_text(value: str) -> bool:
    """Whether every database can keep ``value`` as text."""
    return "\x00" not in value and not _UNENCODABLE.search(value)


def format_time(moment: datetime) -> str:
    """A moment in the form clients compare: ``2020-01-01 00:00:00.000000 UTC``."""
    if moment.tzinfo is not timezone.utc:
        moment = moment.astimezone(timezone.utc)
    return moment.isoformat(" ", "microseconds")[:26] + " UTC"


def parse_time(text: str | None) -> datetime:
    """The moment that a client names, in UTC.

    A time without a zone is UTC: 0.6 sent such times and students' caches hold
    them. Raises BadRequest when ``text`` is None or is no time.
    """
    if text is None:
        raise BadRequest("Please supply timestamp")
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise BadRequest("Time format incorrect")
    fraction, _, sign, hours, minutes = match.groups()[6:]
    try:
        year, month, day, hour, minute, second = (int(group) for group in match.groups()[:6])
        microsecond = int((fraction or "").ljust(6, "0"))
        moment = datetime(year, month, day, hour, minute, second, microsecond, timezone.utc)
        if sign:
            offset = timedelta(hours=int(hours), minutes=int(minutes))
            moment = moment - offset if sign == "+" else moment + offset
    except (ValueError, OverflowError):
        raise BadRequest("Time format incorrect") from None
    return moment


def check_path(path: str) -> str:
    """Return ``path`` if it is legal in a tree, else raise BadRequest ``Illegal path``.

    A legal path is relative, in Unix style, has no part that is empty, ``.`` or ``..``,
    and nothing that would hurt whoever unpacks it.
    """
    if fault := _path_fault(path):
        raise illegal_path(path, fault)
    return path


def illegal_path(path: str, fault: str) -> BadRequest:
    """Return the error for a path that cannot be in a tree. Only the log names path and fault."""
    shown = path if len(path) <= PATH_SHOWN else path[:PATH_SHOWN] + "..."
    return BadRequest("Illegal path", log_reason=f"{json.dumps(shown)} {fault}")


def _path_fault(path: str) -> str | None:
    """Return what is illegal about a path by itself, as the end of a sentence; else None."""
    if _CONTROL.search(path):
        return "has a control character"
    if _UNENCODABLE.search(path):
        return "has half of a surrogate pair"
    if "\\" in path:
        return "has a backslash"
    if len(path.encode()) > PATH_BYTES:
        return f"is longer than {PATH_BYTES} bytes"
    if not path:
        return "is empty"
    if path.startswith("/"):
        return "is absolute"
    for part in path.split("/"):
        if part in ("", ".", ".."):
            return f"has a part that is {part or 'empty'}"
        if len(part.encode()) > PATH_PART_BYTES:
            return f"has a part longer than {PATH_PART_BYTES} bytes"
    return None


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


def check_distinct(paths: Sequence[str]) -> None:
    """Refuse one path twice, and a path that is another's parent folder."""
    # NUL is in no path and sorts before all else, so a folder comes right before what is in it.
    keys = sorted(path.replace("/", "\0") for path in paths)
    for key, following in pairwise(keys):
        if following == key:
            raise illegal_path(key.replace("\0", "/"), "is there twice")
        if following.startswith(key + "\0"):
            raise illegal_path(key.replace("\0", "/"), "is a file and another's folder")


def md5(content: bytes) -> bytes:
    """The checksum that clients compare (16 bytes). It guards against accidents, not attackers."""
    return hashlib.md5(content, usedforsecurity=False).digest()


def format_tree(files: Iterable[StoredFile]) -> list[dict[str, str]]:
    """A tree without its contents, as ``list_only=true`` asks for it."""
    return [{"path": file.path, "checksum": file.md5.hex()} for file in files]
