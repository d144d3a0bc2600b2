"""Check names of courses, assignments and users."""

from __future__ import annotations

import re

from ngshare.errors import BadRequest

MAX_NAME_LENGTH = 255
"""The most characters of a name of a course, an assignment or a user."""

CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
SURROGATES = re.compile(r"[\ud800-\udfff]")


def is_legal_name(name: str) -> bool:
    """Return True if ``name`` is legal for a course, an assignment or a user.

    Every non-empty text without ``/`` is, unless a database could not store it or a terminal not
    show it: one with control characters, with halves of surrogate pairs, or that is too long.
    """
    return (
        0 < len(name) <= MAX_NAME_LENGTH
        and "/" not in name
        and not CONTROL_CHARACTERS.search(name)
        and not SURROGATES.search(name)
    )


def check_name(name: str) -> str:
    """Return ``name`` if it is legal. Raise BadRequest otherwise."""
    if not is_legal_name(name):
        raise BadRequest(
            f"Illegal name: a name has 1 to {MAX_NAME_LENGTH} characters, "
            "no slash and no control character"
        )
    return name


def is_storable_text(value: str) -> bool:
    """Return True if every supported database can store ``value`` as text."""
    return "\x00" not in value and not SURROGATES.search(value)
