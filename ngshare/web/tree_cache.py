"""Encoded trees that are asked for often, kept in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from ngshare.protocol.trees import StoredFile

Key = tuple[StoredFile, ...]


class EncodedTrees:
    """The replies of the trees that were asked for last, up to ``limit`` bytes in all.

    A whole class fetches the same assignment, most of it within minutes. What a tree
    names never changes, so what is kept is never out of date. Safe in threads.
    """

    def __init__(self, limit: int = 64 * 2**20) -> None:
        self.limit = limit
        self._size = 0
        self._kept: OrderedDict[Key, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, files: Sequence[StoredFile]) -> bytes | None:
        """The encoded tree of these files, if it is kept."""
        key = tuple(files)
        with self._lock:
            encoded = self._kept.get(key)
            if encoded is not None:
                self._kept.move_to_end(key)
            return encoded

    def keep(self, files: Sequence[StoredFile], encoded: bytes) -> None:
        """Keep an encoded tree, and let go of those that were not asked for lately."""
        if len(encoded) > self.limit // 4:
            return
        key = tuple(files)
        with self._lock:
            self._size += len(encoded) - len(self._kept.pop(key, b""))
            self._kept[key] = encoded
            while self._size > self.limit:
                self._size -= len(self._kept.popitem(last=False)[1])
