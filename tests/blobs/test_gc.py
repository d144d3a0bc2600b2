"""What nothing names goes by way of the quarantine, and nothing that is uploaded is lost by it."""

from __future__ import annotations

import errno
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from ngshare.blobs import Amount, BlobMissing, LocalBlobs, gc, sha256
from ngshare.blobs.gc import SHARDS, Deleted

HOUR = 3600.0
PATIENCE = 120


def nothing(digests: Sequence[bytes]) -> Collection[bytes]:
    return []


def quarantine_all(
    blobs: LocalBlobs,
    named: gc.SelectReferenced = nothing,
    *,
    before: float | None = None,
    dry: bool = False,
) -> Amount:
    """Look through every shard; without ``before`` blobs of any age are moved."""
    total = Amount()
    for shard in range(SHARDS):
        moved = gc.quarantine(
            blobs, shard, time.time() + 60 if before is None else before, named, dry=dry
        )
        total.files += moved.files
        total.bytes += moved.bytes
    return total


def hours_later(monkeypatch: pytest.MonkeyPatch, hours: float) -> None:
    """Let the collector's clock be so far ahead."""
    later = datetime.now(timezone.utc) + timedelta(hours=hours)
    monkeypatch.setattr(gc, "_now", lambda: later)


def folders(blobs: LocalBlobs) -> list[str]:
    return sorted(os.listdir(blobs.folder / "quarantine"))


def test_what_nothing_names_and_is_old_is_moved(blobs: LocalBlobs) -> None:
    gone, named, young = blobs.put([b"gone", b"named", b"young"])
    for digest in (gone, named):
        os.utime(blobs.path(digest), (0, 0))
    before = time.time() - HOUR
    assert quarantine_all(blobs, lambda digests: {named}, before=before, dry=True) == Amount(1, 4)
    assert blobs.path(gone).exists()
    assert quarantine_all(blobs, lambda digests: {named}, before=before) == Amount(1, 4)
    assert not blobs.path(gone).exists()
    assert blobs.path(named).exists()
    assert blobs.path(young).exists()
    assert quarantine_all(blobs, lambda digests: {named}, before=before) == Amount()
    [moved] = blobs.quarantined()
    assert (moved.digest, moved.size) == (gone, 4)
    assert gc.in_quarantine(blobs) == Amount(1, 4)


@pytest.mark.parametrize("way", ["read", "open", "size"])
def test_a_read_moves_it_back_and_says_so(
    blobs: LocalBlobs, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    [digest] = blobs.put([b"content"])
    quarantine_all(blobs)
    assert blobs.exists(digest)
    ways: dict[str, Callable[[], object]] = {
        "read": lambda: blobs.read(digest),
        "open": lambda: b"".join(blobs.open(digest)),
        "size": lambda: blobs.size(digest) == 7 and b"content",
    }
    assert ways[way]() == b"content"
    assert blobs.path(digest).exists()
    assert folders(blobs) == []
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert f"{digest.hex()} was in the quarantine" in record.getMessage()


def test_where_it_cannot_be_moved_back_it_is_read_all_the_same(
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    [digest] = blobs.put([b"content"])
    quarantine_all(blobs)

    def refuse(source: object, target: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "rename", refuse)
    assert blobs.read(digest) == b"content"
    assert not blobs.path(digest).exists()


def test_what_another_reader_moves_back_meanwhile_is_read(
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    [digest] = blobs.put([b"content"])
    quarantine_all(blobs)
    find = LocalBlobs._find_quarantined

    def other_is_first(store: LocalBlobs, digest: bytes) -> Path | None:
        gc.put_back_all(store)
        return find(store, digest)

    monkeypatch.setattr(LocalBlobs, "_find_quarantined", other_is_first)
    assert blobs.read(digest) == b"content"


def test_content_that_comes_again_is_written_anew(
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    [digest] = blobs.put([b"content"])
    quarantine_all(blobs)
    blobs.put([b"content"])
    assert blobs.path(digest).exists()
    inode = blobs.path(digest).stat().st_ino
    hours_later(monkeypatch, 200)
    assert gc.delete_expired(blobs, 7, lambda digests: {digest}) == Deleted(Amount(), Amount(1, 7))
    assert blobs.path(digest).stat().st_ino == inode, "the one in its place stays"
    assert folders(blobs) == []


def test_deleted_after_days_unless_it_is_named_by_then(
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, late = blobs.put([b"gone", b"named late"])
    quarantine_all(blobs)

    def named(digests: Sequence[bytes]) -> Collection[bytes]:
        return {late}

    hours_later(monkeypatch, 6 * 24)
    assert gc.delete_expired(blobs, 7, named) == Deleted(Amount(), Amount())
    hours_later(monkeypatch, 7 * 24 + 1)
    counted = gc.delete_expired(blobs, 7, named, dry=True)
    assert gc.in_quarantine(blobs) == Amount(2, 14)
    assert gc.delete_expired(blobs, 7, named) == counted == Deleted(Amount(1, 4), Amount(1, 10))
    assert blobs.path(late).read_bytes() == b"named late"
    assert folders(blobs) == []
    with pytest.raises(BlobMissing):
        blobs.read(gone)
    assert not blobs.exists(gone)


def test_without_days_it_still_stays_for_longer_than_an_upload_takes(
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs.put([b"content"])
    quarantine_all(blobs)
    for hours in (0.0, 1.0):
        hours_later(monkeypatch, hours)
        assert gc.delete_expired(blobs, 0, nothing).deleted == Amount()
    hours_later(monkeypatch, 2)
    assert gc.delete_expired(blobs, 0, nothing).deleted == Amount(1, 7)


def test_everything_goes_back(blobs: LocalBlobs) -> None:
    contents = [b"content %d" % number for number in range(500)]
    digests = blobs.put(contents)
    quarantine_all(blobs)
    assert not any(blobs.path(digest).exists() for digest in digests)
    assert gc.put_back_all(blobs).files == 500
    assert [blobs.path(digest).read_bytes() for digest in digests] == contents
    assert folders(blobs) == []
    assert gc.put_back_all(blobs) == Amount()


def test_files_that_are_no_blobs_are_left_alone(
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    [digest] = blobs.put([b"content"])
    name = digest.hex()
    strangers = [name[:-1], name.upper() + "x", "ff" + name[2:] if name[:2] != "ff" else "x", "x"]
    for stranger in strangers:
        blobs.path(digest).with_name(stranger).write_bytes(b"somebody's")
    found = list(blobs.list(digest[:1]))
    assert sorted(Path(one.name).name for one in found if one.digest is None) == sorted(strangers)
    assert quarantine_all(blobs) == Amount(1, 7)
    assert len(list(blobs.list(digest[:1]))) == 4
    # In the quarantine as well.
    [folder] = (blobs.folder / "quarantine").iterdir()
    (folder / "notes").write_bytes(b"somebody's")
    (folder.parent / "notes").mkdir()
    (folder.parent / "notes" / name).write_bytes(b"content")
    (folder.parent / "more notes").write_bytes(b"somebody's")
    hours_later(monkeypatch, 2)
    assert gc.delete_expired(blobs, 0, nothing).deleted == Amount(1, 7)
    assert (folder / "notes").exists()
    assert (folder.parent / "notes" / name).exists()


def test_a_list_of_a_prefix(blobs: LocalBlobs) -> None:
    digests = blobs.put([b"content %d" % number for number in range(1000)])
    for length in (0, 1, 2, 32):
        prefix = digests[0][:length]
        found = [entry.digest for entry in blobs.list(prefix)]
        assert found == sorted(digest for digest in digests if digest.startswith(prefix))
    blobs.shard(7).rmdir() if not list(blobs.list(b"\7")) else None
    assert all(entry.size >= 9 for entry in blobs.list())


# Beside uploads


@pytest.mark.parametrize("when", ["before the look", "after the look", "before the commit"])
def test_a_move_at_any_moment_of_an_upload(
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Also when nobody reads it for days, and what is expired is deleted."""
    [digest] = blobs.put([b"content"])
    if when == "before the look":
        quarantine_all(blobs)
    with blobs.upload() as upload:
        upload.add([b"content"])
        if when == "after the look":
            quarantine_all(blobs)
        upload.commit()
    if when == "before the commit":
        quarantine_all(blobs)
    hours_later(monkeypatch, 1000)
    gc.delete_expired(blobs, 7, lambda digests: {digest})
    assert blobs.path(digest).read_bytes() == b"content"
    assert folders(blobs) == []


def test_thousands_of_equal_contents_beside_collections(
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is named after its put can be read, however the collection fell in between."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # thousands, in seconds
    contents = [b"content %d" % number for number in range(800)]
    wanted = contents[::2] + contents[1::4]  # the rest is nobody's
    committed: set[bytes] = set()
    done = threading.Event()
    lost: list[bytes] = []
    blobs.put(contents)

    def upload(seed: int) -> None:
        order = random.Random(seed)
        for content in order.sample(wanted, len(wanted)):
            [digest] = blobs.put([content])
            time.sleep(0.0001)  # the transaction
            committed.add(digest)
            if order.random() < 0.5:
                try:
                    assert blobs.read(digest) == content
                except BlobMissing:
                    lost.append(digest)

    def named(digests: Sequence[bytes]) -> Collection[bytes]:
        found = committed.intersection(digests)
        time.sleep(0.0001)  # the answer under way
        return found

    def collect() -> None:
        while not done.is_set():
            quarantine_all(blobs, named)

    collecting = threading.Thread(target=collect)
    uploads = [threading.Thread(target=upload, args=(seed,)) for seed in range(4)]
    for thread in (collecting, *uploads):
        thread.start()
    for thread in uploads:
        thread.join(PATIENCE)
    done.set()
    collecting.join(PATIENCE)
    assert lost == []
    quarantine_all(blobs, named)
    hours_later(monkeypatch, 1000)
    gc.delete_expired(blobs, 0, named)
    assert sorted(blobs.path(sha256(content)).read_bytes() for content in wanted) == sorted(wanted)
    assert len(list(blobs.list())) == len(wanted)
    assert folders(blobs) == []


# What was cut off


def test_what_was_cut_off(blobs: LocalBlobs) -> None:
    for name, hours in (("old", 25), ("young", 23)):
        (blobs.incoming / name).write_bytes(b"half of")
        moment = time.time() - hours * HOUR
        os.utime(blobs.incoming / name, (moment, moment))
    assert gc.remove_leftovers(blobs, dry=True) == Amount(1, 7)
    assert gc.remove_leftovers(blobs) == Amount(1, 7)
    assert [path.name for path in blobs.incoming.iterdir()] == ["young"]


def test_what_a_killed_restore_left_goes_as_a_whole_when_all_of_it_is_old(
    blobs: LocalBlobs,
) -> None:
    work = blobs.incoming / "work"
    (work / "deeper").mkdir(parents=True)
    (work / "deeper" / "ngshare.db").write_bytes(b"12345")
    (blobs.incoming / "cut-off").write_bytes(b"123")
    elsewhere = blobs.folder / "kept"
    elsewhere.mkdir()
    (blobs.incoming / "link").symlink_to(elsewhere)
    before = time.time() + HOUR
    os.utime(work / "deeper" / "ngshare.db", (before, before))
    for path in (work / "deeper", work, blobs.incoming / "cut-off"):
        os.utime(path, (0, 0))
    counted = blobs.remove_leftovers(before, dry=True)
    assert counted == blobs.remove_leftovers(before)
    assert counted.files == 2
    assert os.listdir(blobs.incoming) == ["work"]
    assert elsewhere.exists()
    assert blobs.remove_leftovers(before + 1) == Amount(1, 5)
    assert os.listdir(blobs.incoming) == []
