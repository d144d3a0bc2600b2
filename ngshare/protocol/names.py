"""Names of courses, assignments and users: which are legal."""

from __future__ import annotations

import re

from ngshare.errors import BadRequest

NAME_LENGTH = 255
"""The longest name of a course, an assignment or a user, in characters."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_UNENCODABLE = re.compile(r"[\ud800-\udfff]")


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
