"""Split long lists of query parameters: a database accepts a limited number in one query."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

CHUNK_SIZE = 500
"""The most values in one IN list. Old versions of SQLite accept 999 parameters in one query."""


def chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield consecutive slices of at most :data:`CHUNK_SIZE` items."""
    for start in range(0, len(items), CHUNK_SIZE):
        yield items[start : start + CHUNK_SIZE]
