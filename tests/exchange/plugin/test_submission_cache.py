"""The cache of submissions on the user's computer, and the plugin's records in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ngshare.exchange.plugin.submission_cache import SubmissionCache

TIME = "2020-01-01 00:00:00.000000 UTC"


@pytest.fixture
def cache(tmp_path: Path) -> SubmissionCache:
    return SubmissionCache(tmp_path / "cache")


def keep(cache: SubmissionCache, folder: Path, *names: str) -> Path:
    folder.mkdir()
    (folder / "x").write_bytes(b"1")
    return cache.keep(folder, *names)


def test_an_absent_cache_is_empty(cache: SubmissionCache) -> None:
    assert cache.submissions() == []
    assert cache.known_digests("c", "a") == set()
    assert cache.pending_key("c", "a", "s", "d") is None


def test_keeps_copies_as_nbgrader_lays_them_out(cache: SubmissionCache, tmp_path: Path) -> None:
    keep(cache, tmp_path / "1", "c", "s+x", "a", TIME)
    assert (cache.root / "c" / f"s+x+a+{TIME}" / "timestamp.txt").read_text() == TIME
    [copy] = cache.submissions()
    assert (copy.course, copy.student, copy.assignment, copy.timestamp) == ("c", "s+x", "a", TIME)
    assert (copy.folder / "x").read_bytes() == b"1"


def test_a_copy_is_replaced_by_the_same_submission(cache: SubmissionCache, tmp_path: Path) -> None:
    for number in ("1", "2"):
        keep(cache, tmp_path / number, "c", "s", "a", TIME)
    assert len(cache.submissions()) == 1


def test_a_receipt_outlives_its_copy(cache: SubmissionCache) -> None:
    names = ("c", "s", "a", TIME)
    cache.keep_receipt({"digest": "d"}, *names)
    assert cache.receipt(*names) == {"digest": "d"}
    assert cache.submissions() == []


def test_the_key_of_an_attempt_serves_until_the_tree_changes(cache: SubmissionCache) -> None:
    first = cache.submission_key("c", "a", "s", "digest 1")
    assert cache.submission_key("c", "a", "s", "digest 1") == first
    assert cache.submission_key("c", "a", "other", "digest 1") != first
    second = cache.submission_key("c", "a", "s", "digest 2")
    assert second != first
    cache.forget_key("c", "a", "s")
    assert cache.pending_key("c", "a", "s", "digest 2") is None
    assert cache.submission_key("c", "a", "s", "digest 2") != second
    assert len(second) <= 64


def test_digests_add_up(cache: SubmissionCache) -> None:
    cache.remember_digests("c", "a", {bytes(32)})
    cache.remember_digests("c", "a", {b"1" * 32})
    assert cache.known_digests("c", "a") == {bytes(32), b"1" * 32}
    assert cache.known_digests("c", "b") == set()


def test_a_folder_s_course_is_known_until_another_folder_takes_its_place(
    cache: SubmissionCache, tmp_path: Path
) -> None:
    folder = tmp_path / "ps1"
    folder.mkdir()
    assert cache.course_of(folder) is None
    cache.remember_course(folder, "c")
    assert cache.course_of(folder) == "c"
    folder.rename(tmp_path / "old")
    assert cache.course_of(folder) is None
    folder.mkdir()
    assert cache.course_of(folder) is None


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff", b'{"digests": [1]}'])
def test_a_damaged_record_is_none(cache: SubmissionCache, tmp_path: Path, damage: bytes) -> None:
    cache.remember_digests("c", "a", {bytes(32)})
    cache.remember_course(tmp_path, "c")
    key = cache.submission_key("c", "a", "s", "d")
    for record in cache.root.rglob("*.json"):
        record.write_bytes(damage)
    assert cache.known_digests("c", "a") == set()
    assert cache.course_of(tmp_path) is None
    assert cache.submission_key("c", "a", "s", "d") != key
