"""Directory trees as clients send and read them: check paths, compute checksums, list files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ngshare.errors import BadRequest
from ngshare.protocol.names import CONTROL_CHARACTERS, SURROGATES

MAX_PATH_COMPONENT_BYTES = 255
"""The most UTF-8 bytes of one component of a path: the limit of common file systems."""

MAX_PATH_BYTES = 2048
"""The most UTF-8 bytes of a path: PostgreSQL can index it, and it is half of Linux's PATH_MAX."""

MAX_LOGGED_PATH = 200
"""The most characters of an illegal path that are logged."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a stored tree.

    ``sha256`` (32 bytes) is the digest of its blob; None if the content was lost before ngshare
    1.0 adopted the site. ``md5`` (16 bytes) is the checksum that clients compare. ``size`` is in
    bytes.
    """

    path: str
    sha256: bytes | None
    md5: bytes
    size: int


def check_path(path: str) -> str:
    """Return ``path`` if it is legal in a tree. Raise BadRequest ``Illegal path`` otherwise.

    A legal path is relative, in Unix style, has no component that is empty, ``.`` or ``..``, and
    no characters that are dangerous to a program that unpacks the tree.
    """
    if fault := _find_path_fault(path):
        raise illegal_path(path, fault)
    return path


def illegal_path(path: str, fault: str) -> BadRequest:
    """Return the error for an illegal path. Only its line in the log has the path and the fault.

    ``fault`` follows the path in that line, as in "is empty".
    """
    shown = path if len(path) <= MAX_LOGGED_PATH else path[:MAX_LOGGED_PATH] + "..."
    return BadRequest("Illegal path", log_reason=f"{json.dumps(shown)} {fault}")


def _find_path_fault(path: str) -> str | None:
    """Return the reason why a path is illegal in any tree, for :func:`illegal_path`; else None."""
    if CONTROL_CHARACTERS.search(path):
        return "has a control character"
    if SURROGATES.search(path):
        return "has half of a surrogate pair"
    if "\\" in path:
        return "has a backslash"
    if len(path.encode()) > MAX_PATH_BYTES:
        return f"is longer than {MAX_PATH_BYTES} bytes"
    if not path:
        return "is empty"
    if path.startswith("/"):
        return "is absolute"
    for component in path.split("/"):
        if component in ("", ".", ".."):
            return f"has a part that is {component or 'empty'}"
        if len(component.encode()) > MAX_PATH_COMPONENT_BYTES:
            return f"has a part longer than {MAX_PATH_COMPONENT_BYTES} bytes"
    return None


def check_distinct_paths(paths: Sequence[str]) -> None:
    """Raise BadRequest if two paths are equal, or if one is a parent folder of another."""
    # NUL is in no legal path and sorts before all else, so a folder comes right before its files.
    keys = sorted(path.replace("/", "\0") for path in paths)
    for key, following in pairwise(keys):
        if following == key:
            raise illegal_path(key.replace("\0", "/"), "is there twice")
        if following.startswith(key + "\0"):
            raise illegal_path(key.replace("\0", "/"), "is a file and another's folder")


def md5(content: bytes) -> bytes:
    """Return the checksum that clients compare (16 bytes). It is not safe against attackers."""
    return hashlib.md5(content, usedforsecurity=False).digest()


def format_tree(files: Iterable[StoredFile]) -> list[dict[str, str]]:
    """Return the JSON value for a tree without contents, the reply to ``list_only=true``."""
    return [{"path": file.path, "checksum": file.md5.hex()} for file in files]
