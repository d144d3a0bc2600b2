"""Convert names, paths and times of 0.6 to legal ones, with as few changes as possible.

The rules are those of revision 7c1f0a52d3e8; this copy of them never changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import PurePosixPath
from typing import TypeVar

Key = TypeVar("Key")

NAME_LENGTH = 255
"""The maximum length of a name, in characters."""

PATH_PART_BYTES = 255
PATH_BYTES = 2048
"""The maximum lengths of a path component and of a path, in UTF-8 bytes."""

_ILLEGAL = re.compile(r"[\x00-\x1f\x7f-\x9f/\ud800-\udfff]")
_ODD = re.compile(r"[\x01-\x1f\x7f-\x9f\\]")
_UNWRITABLE = re.compile(r"[\x00\ud800-\udfff]")
_TIME = re.compile(
    r"(\d{4}-\d{2}-\d{2})[ T](\d{2}:\d{2}:\d{2})(?:\.(\d{1,6}))?"
    r"\s*(?:UTC|Z|([+-]\d{2}):?(\d{2}))?",
    re.ASCII,
)
_ROOM = 12
"""Characters reserved for a number that makes a shortened name unique."""


def text_of(value: object) -> str:
    """Return a value of a text column as text; SQLite columns can hold values of any type."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode("utf8", "backslashreplace")
    return str(value)


def parse_time(text: str) -> datetime | None:
    """Parse a time, which is in UTC unless it has a zone. Return None when it is invalid."""
    if not (match := _TIME.fullmatch(text.strip())):
        return None
    day, time, fraction, hours, minutes = match.groups()
    try:
        moment = datetime.strptime(f"{day} {time}", "%Y-%m-%d %H:%M:%S")
        moment = moment.replace(
            microsecond=int((fraction or "").ljust(6, "0")), tzinfo=timezone.utc
        )
        if hours:
            offset = timedelta(hours=int(hours[1:]), minutes=int(minutes))
            moment += offset if hours[0] == "-" else -offset
    except (ValueError, OverflowError):
        return None
    return moment


def legal_names(names: Iterable[tuple[Key, str]], otherwise: str) -> dict[Key, str]:
    """Return a legal and unique name for each key.

    A legal name is kept by the first key that has it; other keys get a similar name with a number.

    otherwise: replaces an empty name.
    """
    wanted = list(names)
    found: dict[Key, str] = {}
    taken: set[str] = set()
    for key, name in wanted:
        if 0 < len(name) <= NAME_LENGTH and not _ILLEGAL.search(name) and name not in taken:
            found[key] = name
            taken.add(name)
    for key, name in wanted:
        if key not in found:
            found[key] = free_name(_ILLEGAL.sub("_", name)[: NAME_LENGTH - _ROOM], taken, otherwise)
            taken.add(found[key])
    return found


def free_name(name: str, taken: Iterable[str], otherwise: str = "unnamed") -> str:
    """Return a name, with the lowest number that makes it unique if it is taken.

    otherwise: replaces an empty name.
    """
    base = name or otherwise
    free, number = base, 1
    while free in taken:
        number += 1
        free = f"{base[: NAME_LENGTH - _ROOM]} ({number})"
    return free


def is_odd_path(path: str) -> bool:
    """Return whether a path that :func:`place` kept is illegal for new files."""
    return _ODD.search(path) is not None


def place(paths: Sequence[str]) -> list[str]:
    """Return paths, in the same order, under which the files of a tree can be unpacked.

    A path is changed if it leads out of the tree, cannot be written, or conflicts with another
    file or a folder. Of equal paths, the last is kept: a client of 0.6 wrote the files in order,
    so the last one overwrote the others.
    """
    placed: dict[int, str] = {}
    files: set[str] = set()
    folders: set[str] = set()
    # What can stay comes first, and of that what is in folders: so a file makes way for a folder.
    order = sorted(
        range(len(paths)),
        key=lambda index: (not _can_stay(paths[index]), -paths[index].count("/"), -index),
    )
    for index in order:
        path = paths[index] if _can_stay(paths[index]) else _mended(paths[index])
        path = _free_path(path, files, folders)
        placed[index] = path
        files.add(path)
        folders.update(_parents(path))
    return [placed[index] for index in range(len(paths))]


def _can_stay(path: str) -> bool:
    return (
        not _UNWRITABLE.search(path)
        and len(path.encode()) <= PATH_BYTES - 2 * _ROOM
        and all(
            part not in ("", ".", "..") and len(part.encode()) <= PATH_PART_BYTES
            for part in path.split("/")
        )
    )


def _mended(path: str) -> str:
    parts = [
        "__" if part == ".." else _shortened(_UNWRITABLE.sub("_", part))
        for part in path.split("/")
        if part not in ("", ".")
    ]
    while len("/".join(parts).encode()) > PATH_BYTES - 2 * _ROOM:
        parts.pop(0)
    return "/".join(parts) or "unnamed"


def _shortened(part: str) -> str:
    """Shorten a path component to the maximum length; keep its suffix."""
    if len(part.encode()) <= PATH_PART_BYTES:
        return part
    ending = PurePosixPath(part).suffix.encode()[:20]
    short = part.encode()[: PATH_PART_BYTES - _ROOM - len(ending)] + ending
    return short.decode("utf8", "ignore")


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:length]) for length in range(1, len(parts))]


def _free_path(path: str, files: set[str], folders: set[str]) -> str:
    """Return a path, with a number added if needed, that conflicts with no file or folder."""
    wanted = path.split("/")
    parts, number = list(wanted), 1
    while True:
        taken = [length for length in range(1, len(parts)) if "/".join(parts[:length]) in files]
        if not taken and "/".join(parts) not in files | folders:
            return "/".join(parts)
        number += 1
        at = taken[0] - 1 if taken else len(parts) - 1
        name = PurePosixPath(_shortened_by_room(wanted[at]))
        parts[at] = f"{name.stem} ({number}){name.suffix}"


def _shortened_by_room(part: str) -> str:
    return part.encode()[: PATH_PART_BYTES - _ROOM].decode("utf8", "ignore")
