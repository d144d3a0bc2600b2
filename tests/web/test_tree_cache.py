"""Encoded trees kept in memory."""

from __future__ import annotations

from ngshare.protocol.trees import StoredFile
from ngshare.web.tree_cache import TreeCache


def tree(name: str) -> list[StoredFile]:
    return [StoredFile(name, name.encode() * 32, b"m" * 16, 1)]


def test_a_tree_is_kept() -> None:
    kept = TreeCache(limit=100)
    assert kept.get(tree("a")) is None
    kept.put(tree("a"), b"1")
    assert kept.get(tree("a")) == b"1"
    assert kept.get(tree("b")) is None
    assert kept.get([]) is None


def test_those_that_nobody_asked_for_go_first() -> None:
    kept = TreeCache(limit=100)
    for name in "abcd":
        kept.put(tree(name), name.encode() * 25)
    assert kept.get(tree("a"))
    kept.put(tree("e"), b"e" * 25)
    assert [name for name in "abcde" if kept.get(tree(name))] == ["a", "c", "d", "e"]


def test_one_tree_kept_twice_counts_once() -> None:
    kept = TreeCache(limit=100)
    kept.put(tree("a"), b"a" * 25)
    for _ in range(10):
        kept.put(tree("b"), b"b" * 25)
    assert kept.get(tree("a"))


def test_a_large_tree_would_push_out_all_others_and_is_not_kept() -> None:
    kept = TreeCache(limit=100)
    kept.put(tree("a"), b"a" * 26)
    assert kept.get(tree("a")) is None
