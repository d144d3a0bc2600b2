"""A part of a list that may be long: so many entries, after the one where the last part ended.

Where a part begins is named by the key of the entry before it rather than by a count, so that
what is added or removed meanwhile makes no entry appear twice or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Part(Generic[Key]):
    """At most ``limit`` entries (None: all), from the one after that of the key ``after``.

    With neither it is the whole list.
    """

    limit: int | None = None
    after: Key | None = None


ALL: Part[Any] = Part()
