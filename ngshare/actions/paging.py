"""Request one page of a list.

A page begins after the key of the last entry of the page before (keyset pagination) rather than
after a number of entries, so that an entry that is added or removed between two requests makes no
other appear twice or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class PageRequest(Generic[Key]):
    """At most ``limit`` entries (None: all), beginning after the entry with the key ``after``.

    Without ``after`` the page begins at the start of the list.
    """

    limit: int | None = None
    after: Key | None = None


UNPAGED: PageRequest[Any] = PageRequest()
"""The whole list."""
