"""Cache encoded directory trees that a whole class fetches."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from ngshare.protocol.trees import StoredFile

Key = tuple[StoredFile, ...]


class TreeCache:
    """A thread-safe LRU cache of encoded trees, of at most ``limit`` bytes.

    A class fetches the same assignment, most of it within minutes. A tree never changes, so no
    entry is ever out of date.
    """

    def __init__(self, limit: int = 64 * 2**20) -> None:
        self.limit = limit
        self._size = 0
        self._trees: OrderedDict[Key, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, files: Sequence[StoredFile]) -> bytes | None:
        """Return the encoded tree of these files, or None if it is not cached."""
        key = tuple(files)
        with self._lock:
            encoded = self._trees.get(key)
            if encoded is not None:
                self._trees.move_to_end(key)
            return encoded

    def put(self, files: Sequence[StoredFile], encoded: bytes) -> None:
        """Add an encoded tree, and evict the least recently used ones."""
        if len(encoded) > self.limit // 4:
            return
        key = tuple(files)
        with self._lock:
            self._size += len(encoded) - len(self._trees.pop(key, b""))
            self._trees[key] = encoded
            while self._size > self.limit:
                self._size -= len(self._trees.popitem(last=False)[1])
