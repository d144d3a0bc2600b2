"""Blobs on a local disk: durable before they appear, stored once, and never half."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ngshare.blobs import Blob, BlobDamaged, BlobMissing, LocalBlobs
from ngshare.blobs.local_upload import BUFFER, LocalUpload
from ngshare.blobs.store import PIECE
from ngshare.errors import OutOfSpace, Unavailable
from tests.require import require

CLIENTS = 8


def digest_of(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def incoming(blobs: LocalBlobs) -> list[Path]:
    return files_in(blobs.folder / "incoming")


# What it keeps


@pytest.mark.parametrize("content", [b"", b"x", bytes(range(256)) * 5000], ids=len)
def test_what_was_put_is_got(blobs: LocalBlobs, content: bytes) -> None:
    [digest] = blobs.put([content])
    assert digest == digest_of(content)
    assert blobs.read(digest) == content
    assert incoming(blobs) == []


def test_digests_are_in_order_also_of_equal_contents(blobs: LocalBlobs) -> None:
    contents = [b"b", b"a", b"b", b"", b"c"]
    assert blobs.put(contents) == [digest_of(content) for content in contents]
    assert len(files_in(blobs.folder)) == 4


def test_nothing_to_put(blobs: LocalBlobs) -> None:
    assert blobs.put([]) == []


def test_a_blob_lies_under_its_digest(blobs: LocalBlobs) -> None:
    [digest] = blobs.put([b"content"])
    name = digest.hex()
    assert files_in(blobs.folder) == [blobs.folder / "blobs" / name[:2] / name]
    assert blobs.path(digest).read_bytes() == b"content"


def test_what_cannot_be_read_now_is_not_called_missing(
    blobs: LocalBlobs, caplog: pytest.LogCaptureFixture
) -> None:
    blobs.path(digest_of(b"x")).mkdir()
    with pytest.raises(Unavailable, match="cannot read files now"):
        blobs.read(digest_of(b"x"))
    assert f"Cannot read from {blobs.folder}" in caplog.text


def test_the_same_content_is_stored_once(blobs: LocalBlobs) -> None:
    [digest] = blobs.put([b"content"])
    before = blobs.path(digest).stat()
    assert blobs.put([b"content"]) == [digest]
    assert blobs.path(digest).stat() == before
    assert len(files_in(blobs.folder)) == 1


def test_what_is_there_is_written_again_when_it_may_be_damaged(blobs: LocalBlobs) -> None:
    [digest] = blobs.put([b"content"])
    blobs.path(digest).write_bytes(b"changed")
    with blobs.upload(replace=True) as upload:
        upload.add([b"content"])
        upload.commit()
    assert blobs.read(digest) == b"content"


def test_missing(blobs: LocalBlobs) -> None:
    with pytest.raises(BlobMissing) as error:
        blobs.read(digest_of(b"never put"))
    assert error.value.digest == digest_of(b"never put")
    assert digest_of(b"never put").hex() in str(error.value)


def test_one_that_was_cut_short_is_made_again(blobs: LocalBlobs) -> None:
    [digest] = blobs.put([b"content"])
    blobs.path(digest).write_bytes(b"cont")
    assert blobs.put([b"content", b"other"])[0] == digest
    assert blobs.read(digest) == b"content"


def test_it_is_there_when_the_store_is_opened_again(blobs: LocalBlobs) -> None:
    [digest] = blobs.put([b"content"])
    again = LocalBlobs(str(blobs.folder))
    assert again.read(digest) == b"content"
    assert str(again) == f"folder {blobs.folder}"


def test_what_a_crash_left_behind_is_in_nobodys_way(blobs: LocalBlobs) -> None:
    (blobs.folder / "incoming" / "left-behind").write_bytes(b"half of")
    again = LocalBlobs(blobs.folder)
    [digest] = again.put([b"content"])
    assert again.read(digest) == b"content"


def test_opening_makes_every_folder(tmp_path: Path) -> None:
    LocalBlobs(tmp_path / "a" / "b")
    shards = {path.name for path in (tmp_path / "a" / "b" / "blobs").iterdir()}
    assert shards == {f"{number:02x}" for number in range(256)}
    assert files_in(tmp_path) == []


def test_opening_says_when_the_folder_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        LocalBlobs(tmp_path / "file" / "storage")


# In streams


SIZES = (0, 1, PIECE - 1, PIECE, BUFFER, BUFFER + 1, 3 * PIECE + 5)


@pytest.mark.parametrize("size", SIZES)
def test_what_was_uploaded_in_pieces_is_read_in_pieces(blobs: LocalBlobs, size: int) -> None:
    content = os.urandom(size)
    with blobs.upload() as upload:
        blob = upload.add(content[start : start + 70_000] for start in range(0, size, 70_000))
        assert not blobs.path(blob.digest).exists()
        upload.commit()
    assert blob == Blob(digest_of(content), size)
    pieces = list(blobs.open(blob.digest))
    assert b"".join(pieces) == content == blobs.read(blob.digest)
    assert all(0 < len(piece) <= PIECE for piece in pieces)
    assert incoming(blobs) == []


@pytest.mark.parametrize("start", [0, 5, PIECE, 3 * PIECE])
@pytest.mark.parametrize("size", [None, 0, 1, PIECE, PIECE + 1, 9 * PIECE])
def test_a_range(blobs: LocalBlobs, start: int, size: int | None) -> None:
    content = os.urandom(2 * PIECE + 100)
    [digest] = blobs.put([content])
    end = len(content) if size is None else start + size
    assert b"".join(blobs.open(digest, start, size)) == content[start:end]


def test_a_stream_of_what_is_missing_says_so_at_once(blobs: LocalBlobs) -> None:
    with pytest.raises(BlobMissing):
        blobs.open(digest_of(b"never put"))


def test_a_stream_that_is_not_read_to_its_end_keeps_no_file_open(blobs: LocalBlobs) -> None:
    [digest] = blobs.put([bytes(2 * PIECE)])
    before = os.listdir("/proc/self/fd")
    unread, begun = blobs.open(digest), blobs.open(digest)
    next(begun)
    assert len(os.listdir("/proc/self/fd")) == len(before) + 2
    unread.close()
    begun.close()
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("size", [10, 2 * BUFFER])
def test_an_upload_without_a_commit_leaves_nothing(blobs: LocalBlobs, size: int) -> None:
    before = os.listdir("/proc/self/fd")
    with blobs.upload() as upload:
        for number in range(100):
            upload.add([b"%d" % number, bytes(size if number < 3 else 1)])
    assert files_in(blobs.folder) == []
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("size", [10, 2 * BUFFER])
def test_an_interrupted_stream_leaves_the_others(blobs: LocalBlobs, size: int) -> None:
    def broken() -> Iterator[bytes]:
        yield bytes(size)
        raise KeyError("the source")

    with blobs.upload() as upload:
        upload.add([b"first"])
        with pytest.raises(KeyError):
            upload.add(broken())
        upload.add([b"second"])
        upload.commit()
    assert sorted(files_in(blobs.folder)) == sorted(
        blobs.path(digest_of(content)) for content in (b"first", b"second")
    )


@pytest.mark.parametrize("size", [10, 2 * BUFFER])
def test_content_that_is_not_what_its_digest_names_is_not_kept(
    blobs: LocalBlobs, size: int
) -> None:
    with blobs.upload() as upload:
        with pytest.raises(BlobDamaged):
            upload.add([bytes(size)], digest=digest_of(b"other"))
        assert upload.add([b"right"], digest=digest_of(b"right")).size == 5
        upload.commit()
    assert files_in(blobs.folder) == [blobs.path(digest_of(b"right"))]


@pytest.mark.parametrize("size", [10, 2 * BUFFER])
def test_equal_content_in_one_upload_and_after_it(blobs: LocalBlobs, size: int) -> None:
    for _ in range(2):
        with blobs.upload() as upload:
            upload.add([bytes(size)])
            upload.add([bytes(size)])
            upload.commit()
        assert files_in(blobs.folder) == [blobs.path(digest_of(bytes(size)))]


def test_an_upload_whose_batch_was_not_synced_is_never_committed(
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    with blobs.upload() as upload:
        with monkeypatch.context() as broken:
            fail(broken, "fsync", OSError(errno.EIO, "Input/output error"), after=3)
            with pytest.raises(Unavailable):
                for number in range(100):
                    upload.add([b"%d" % number])
        with pytest.raises(Unavailable):
            upload.commit()
    assert files_in(blobs.folder) == []


# Durable, in this order


class DiskLog:
    """Records what is made durable and what is renamed, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[tuple[str, str | tuple[str, str]]] = []
        self.synced_sizes: dict[str, int] = {}
        fsync, rename = os.fsync, os.rename

        def record_fsync(descriptor: int) -> None:
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            self.synced_sizes[path] = os.fstat(descriptor).st_size
            fsync(descriptor)
            self.events.append(("fsync", path))

        def record_rename(source: str, target: str) -> None:
            rename(source, target)
            self.events.append(("rename", (source, target)))

        monkeypatch.setattr(os, "fsync", record_fsync)
        monkeypatch.setattr(os, "rename", record_rename)


def test_a_blob_is_synced_then_renamed_then_its_folder_synced(
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = DiskLog(monkeypatch)
    content = os.urandom(100_000)
    [digest] = blobs.put([content])
    (first, part), (second, move), (third, folder) = log.events
    assert (first, second, third) == ("fsync", "rename", "fsync")
    assert isinstance(part, str)
    assert Path(part).parent == blobs.folder / "incoming"
    assert log.synced_sizes[part] == len(content)  # whole when it was synced
    assert move == (part, str(blobs.path(digest)))
    assert folder == str(blobs.path(digest).parent)


def test_every_folder_is_synced_after_the_last_rename_into_it(
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = DiskLog(monkeypatch)
    digests = blobs.put([b"%d" % number for number in range(30)])
    renamed = [about for kind, about in log.events if kind == "rename"]
    assert len(renamed) == 30
    for digest in digests:
        path = blobs.path(digest)
        moved = [
            number
            for number, (kind, about) in enumerate(log.events)
            if kind == "rename" and about[1] == str(path)
        ]
        synced = [
            number
            for number, (kind, about) in enumerate(log.events)
            if kind == "fsync" and about == str(path.parent)
        ]
        assert moved[0] < synced[-1]


def test_a_blob_that_is_there_already_has_its_folder_synced_too(
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Who renamed it may not have come to its own sync yet.
    [digest] = blobs.put([b"content"])
    log = DiskLog(monkeypatch)
    blobs.put([b"content"])
    assert log.events == [("fsync", str(blobs.path(digest).parent))]


def test_folders_that_opening_made_are_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = DiskLog(monkeypatch)
    LocalBlobs(tmp_path / "new")
    assert ("fsync", str(tmp_path / "new")) in log.events
    assert ("fsync", str(tmp_path / "new" / "blobs")) in log.events


def test_the_names_of_new_folders_above_are_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = DiskLog(monkeypatch)
    LocalBlobs(tmp_path / "a" / "b" / "c")
    for above in (tmp_path, tmp_path / "a", tmp_path / "a" / "b"):
        assert ("fsync", str(above)) in log.events
    log.events.clear()
    LocalBlobs(tmp_path / "a" / "b" / "c")
    assert ("fsync", str(tmp_path)) not in log.events, "it was there before"


# When it cannot


def fail(monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException, *, after: int) -> None:
    """Make a function of ``os`` fail after it worked so often."""
    original, left = getattr(os, name), [after]

    def run(*arguments: object) -> object:
        left[0] -= 1
        if left[0] < 0:
            raise error
        return original(*arguments)

    monkeypatch.setattr(os, name, run)


@pytest.mark.parametrize("name", ["fsync", "rename"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT], ids=["disk", "quota"])
def test_no_room(
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    with monkeypatch.context() as broken:
        fail(broken, name, OSError(number, os.strerror(number)), after=0)
        with pytest.raises(OutOfSpace, match="nothing of this request was stored") as error:
            blobs.put([b"content"])
    assert error.value.status == 507
    assert files_in(blobs.folder) == []
    [digest] = blobs.put([b"content"])
    assert blobs.read(digest) == b"content"


def test_another_failure_of_the_disk(
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as broken:
        fail(broken, "fsync", OSError(errno.EIO, "Input/output error"), after=0)
        with pytest.raises(Unavailable, match="please try again") as error:
            blobs.put([b"content"])
    assert error.value.status == 503
    assert files_in(blobs.folder) == []
    assert f"Cannot write to {blobs.folder} (Input/output error)" in caplog.text


def test_a_folder_that_does_not_sync_is_not_acknowledged(
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(monkeypatch, "fsync", OSError(errno.EIO, "Input/output error"), after=1)
    with pytest.raises(Unavailable):
        blobs.put([b"content"])
    assert incoming(blobs) == []


def test_the_second_of_three_fails(blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        fail(broken, "rename", OSError(errno.ENOSPC, "No space left on device"), after=1)
        with pytest.raises(OutOfSpace):
            blobs.put([b"first", b"second", b"third"])
    assert incoming(blobs) == []
    # The first may stay, whole, without a row that names it.
    assert files_in(blobs.folder) == [blobs.path(digest_of(b"first"))]
    assert blobs.read(digest_of(b"first")) == b"first"


def test_an_interrupted_put_leaves_nothing(
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(monkeypatch, "fsync", KeyboardInterrupt(), after=0)
    with pytest.raises(KeyboardInterrupt):
        blobs.put([b"content"])
    assert files_in(blobs.folder) == []


def test_check_says_when_it_cannot_be_written(blobs: LocalBlobs) -> None:
    blobs.check()
    assert files_in(blobs.folder) == []
    (blobs.folder / "incoming").rmdir()
    with pytest.raises(OSError, match="incoming"):
        blobs.check()
    with pytest.raises(Unavailable):
        blobs.put([b"content"])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that holds 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = False
    if os.getuid() == 0:
        command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
        mounted = subprocess.run(command, capture_output=True, timeout=60).returncode == 0
    require(mounted, "the right to mount a tmpfs", "run the tests as root of a machine or a VM")
    yield folder
    subprocess.run(["umount", str(folder)], check=True, timeout=60)


def test_a_disk_that_is_really_full(small_disk: Path) -> None:
    blobs = LocalBlobs(small_disk / "files")
    [kept] = blobs.put([b"kept"])
    large = os.urandom(4 * 2**20)
    with pytest.raises(OutOfSpace):
        blobs.put([large])
    assert files_in(small_disk) == [blobs.path(kept)]

    (small_disk / "of-others").write_bytes(bytes(_room(small_disk)))
    with pytest.raises(OSError, match="No space left"):
        blobs.check()
    with pytest.raises(OutOfSpace):
        blobs.put([b"small"])
    assert incoming(blobs) == []
    assert blobs.read(kept) == b"kept"
    # Nothing new is needed for what is there already.
    assert blobs.put([b"kept"]) == [kept]

    (small_disk / "of-others").unlink()
    blobs.check()
    [small] = blobs.put([b"small"])
    assert blobs.read(small) == b"small"


def _room(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


# Several at once


def test_equal_contents_from_many_threads(
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = [os.urandom(10_000) for _ in range(5)]
    # All see that the first is missing, before any of them has written it.
    barrier, waited = threading.Barrier(CLIENTS), threading.local()
    create = LocalUpload._create

    def create_together(upload: LocalUpload) -> Any:
        if not getattr(waited, "done", False):
            waited.done = True
            barrier.wait(60)
        return create(upload)

    monkeypatch.setattr(LocalUpload, "_create", create_together)
    results: list[list[bytes]] = []
    threads = [
        threading.Thread(target=lambda: results.append(blobs.put(contents))) for _ in range(CLIENTS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    digests = [digest_of(content) for content in contents]
    assert results == [digests] * CLIENTS
    assert [blobs.read(digest) for digest in digests] == contents
    assert sorted(files_in(blobs.folder)) == sorted(map(blobs.path, digests))


def test_large_trees_at_once_stay_below_the_limit_of_open_files(
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    failures: list[Exception] = []

    def put(number: int) -> None:
        try:
            blobs.put([b"%d %d" % (number, file) for file in range(1500)])
        except Exception as failure:
            failures.append(failure)

    threads = [threading.Thread(target=put, args=(number,)) for number in range(CLIENTS)]
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, limits[0]), limits[1]))
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert failures == []
    assert len(files_in(blobs.folder)) == CLIENTS * 1500
