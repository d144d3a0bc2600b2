"""What nothing names is removed, and never what a request in flight is about to name."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import threading
import time
from collections.abc import Collection, Sequence

import pytest

from ngshare.blobs import BlobMissing, LocalBlobs, sha256
from ngshare.blobs.local import open_folder
from ngshare.blobs.sweep import (
    SHARDS,
    Busy,
    NoLocks,
    Removed,
    disk_time,
    entries,
    kept_still,
    sweep,
    sweep_incoming,
)

HOUR = 3600.0
PATIENCE = 120


def nothing(digests: Sequence[bytes]) -> Collection[bytes]:
    return []


def put_old(blobs: LocalBlobs, content: bytes, hours: float = 2) -> bytes:
    """Put this as if it had been long ago."""
    [digest] = blobs.put([content])
    moment = time.time() - hours * HOUR
    os.utime(blobs.path(digest), (moment, moment))
    return digest


def sweep_all(blobs: LocalBlobs, named: object = nothing, *, remove: bool = True) -> Removed:
    total = Removed()
    before = disk_time(blobs) - HOUR
    for shard in range(SHARDS):
        total += sweep(blobs, shard, before, named, remove=remove)  # type: ignore[arg-type]
    return total


def test_what_nothing_names_and_is_old_is_removed(blobs: LocalBlobs) -> None:
    gone, named, young = put_old(blobs, b"gone"), put_old(blobs, b"named"), sha256(b"young")
    blobs.put([b"young"])
    counted = sweep_all(blobs, lambda digests: {named}, remove=False)
    assert counted == Removed(1, 4)
    assert blobs.read(gone) == b"gone"
    assert sweep_all(blobs, lambda digests: {named}) == Removed(1, 4)
    with pytest.raises(BlobMissing):
        blobs.read(gone)
    assert blobs.read(named) == b"named"
    assert blobs.read(young) == b"young"
    assert sweep_all(blobs, lambda digests: {named}) == Removed(0, 0)


def test_content_that_comes_again_is_young_again(blobs: LocalBlobs) -> None:
    digest = put_old(blobs, b"content")
    blobs.put([b"content"])
    assert sweep_all(blobs) == Removed(0, 0)
    assert blobs.read(digest) == b"content"


def test_a_blob_that_becomes_young_after_it_was_listed_stays(
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = put_old(blobs, b"content")
    listed = entries(blobs, digest[0])
    blobs.put([b"content"])
    monkeypatch.setattr("ngshare.blobs.sweep.entries", lambda store, shard: listed)
    assert sweep(blobs, digest[0], time.time() - HOUR, nothing) == Removed(0, 0)
    assert blobs.read(digest) == b"content"


def test_files_that_are_no_blobs_are_left_alone(blobs: LocalBlobs) -> None:
    digest = put_old(blobs, b"content")
    name = digest.hex()
    strangers = [name[:-1], name.upper() + "x", "ff" + name[2:] if name[:2] != "ff" else "x", "x"]
    for stranger in strangers:
        path = blobs.path(digest).with_name(stranger)
        path.write_bytes(b"somebody's")
        os.utime(path, (0, 0))
    found = entries(blobs, digest[0])
    assert [entry.digest for entry in found if entry.path.name in strangers] == [None] * 4
    assert sweep_all(blobs) == Removed(1, 7)
    assert len(entries(blobs, digest[0])) == 4


def test_what_was_cut_off(blobs: LocalBlobs) -> None:
    for name, hours in (("old", 2.0), ("young", 0.5)):
        (blobs.incoming / name).write_bytes(b"half of")
        moment = time.time() - hours * HOUR
        os.utime(blobs.incoming / name, (moment, moment))
    before = disk_time(blobs) - HOUR
    assert sweep_incoming(blobs, before, remove=False) == Removed(1, 7)
    assert sweep_incoming(blobs, before) == Removed(1, 7)
    assert [path.name for path in blobs.incoming.iterdir()] == ["young"]


def test_a_shard_that_is_not_there_is_empty(blobs: LocalBlobs) -> None:
    blobs.shard(7).rmdir()
    assert entries(blobs, 7) == []
    assert sweep(blobs, 7, time.time(), nothing) == Removed(0, 0)


# Beside puts


def test_who_puts_waits_while_names_are_asked_for(blobs: LocalBlobs) -> None:
    digest = put_old(blobs, b"content")
    asked, results = threading.Event(), []
    putting = threading.Thread(target=lambda: results.append(blobs.put([b"content"])))

    def named(digests: Sequence[bytes]) -> Collection[bytes]:
        # From here to the removal nobody may find the blob and count on it.
        putting.start()
        with open_folder(blobs.shard(digest[0])) as descriptor, pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        asked.set()
        return []

    assert sweep_all(blobs, named) == Removed(1, 7)
    putting.join(PATIENCE)
    assert asked.is_set()
    assert results == [[digest]]
    assert blobs.read(digest) == b"content"


def test_thousands_of_equal_contents_beside_removals(
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is named after its put is there, however the removal fell in between."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # thousands, in seconds
    contents = [b"content %d" % number for number in range(800)]
    for _ in range(3):
        race(blobs, contents, wanted=contents[::2] + contents[1::4])  # the rest is nobody's


def race(blobs: LocalBlobs, contents: list[bytes], wanted: list[bytes]) -> None:
    for content in contents:
        put_old(blobs, content)
    committed: set[bytes] = set()
    done = threading.Event()
    lost: list[bytes] = []

    def upload(seed: int) -> None:
        for content in random.Random(seed).sample(wanted, len(wanted)):
            [digest] = blobs.put([content])
            time.sleep(0.0001)  # the transaction
            committed.add(digest)
            if not blobs.path(digest).exists():
                lost.append(digest)

    def named(digests: Sequence[bytes]) -> Collection[bytes]:
        found = committed.intersection(digests)
        time.sleep(0.0001)  # the answer under way
        return found

    def remove() -> None:
        while not done.is_set():
            sweep_all(blobs, named)

    removal = threading.Thread(target=remove)
    uploads = [threading.Thread(target=upload, args=(seed,)) for seed in range(4)]
    for thread in (removal, *uploads):
        thread.start()
    for thread in uploads:
        thread.join(PATIENCE)
    done.set()
    removal.join(PATIENCE)
    sweep_all(blobs, named)
    assert lost == []
    assert [blobs.read(sha256(content)) for content in wanted] == wanted
    left = [content for content in contents if blobs.path(sha256(content)).exists()]
    assert sorted(left) == sorted(wanted)


# Apart from each other


def test_those_that_need_every_blob_share_and_the_one_that_removes_is_alone(
    blobs: LocalBlobs,
) -> None:
    shared = kept_still(blobs, alone=False)
    with shared, kept_still(blobs, alone=False), pytest.raises(Busy), kept_still(blobs, alone=True):
        pass
    with kept_still(blobs, alone=True), pytest.raises(Busy), kept_still(blobs, alone=False):
        pass
    with kept_still(blobs, alone=True):
        pass


def test_without_locks_nothing_is_removed(
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    digest = put_old(blobs, b"content")
    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(NoLocks, match="No locks"):
        sweep_all(blobs)
    with pytest.raises(NoLocks, match="No locks"), kept_still(blobs, alone=False):
        pass
    assert blobs.read(digest) == b"content"


# What was cut off


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
    before = disk_time(blobs) + HOUR
    os.utime(work / "deeper" / "ngshare.db", (before, before))
    for path in (work / "deeper", work, blobs.incoming / "cut-off"):
        os.utime(path, (0, 0))
    counted = sweep_incoming(blobs, before, remove=False)
    assert counted == sweep_incoming(blobs, before)
    assert counted.files == 2
    assert os.listdir(blobs.incoming) == ["work"]
    assert elsewhere.exists()
    assert sweep_incoming(blobs, before + 1) == Removed(1, 5)
    assert os.listdir(blobs.incoming) == []
