"""Directory trees as clients send and read them: legal paths, checksums, lists of files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ngshare.errors import BadRequest
from ngshare.protocol.names import _CONTROL, _UNENCODABLE

PATH_PART_BYTES = 255
"""The longest part of a path, in UTF-8 bytes: what common file systems can hold."""

PATH_BYTES = 2048
"""The longest path, in UTF-8 bytes: what PostgreSQL can index, and half of Linux's PATH_MAX."""

PATH_SHOWN = 200
"""The most characters of an illegal path that the log shows."""


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
