"""Atomic writes and locks between processes."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path
from typing import IO

import pytest

from ngshare.files import Locked, atomic_write, file_lock


def test_atomic_write_sets_content_and_permissions(tmp_path: Path) -> None:
    path = tmp_path / "file"
    atomic_write(path, lambda file: file.write(b"first"), mode=0o600)
    assert path.read_bytes() == b"first"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    atomic_write(path, lambda file: file.write(b"second"))
    assert path.read_bytes() == b"second"
    assert os.listdir(tmp_path) == ["file"]


def test_the_file_is_flushed_before_it_appears_and_its_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, events = tmp_path / "file", []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        synced = os.readlink(f"/proc/self/fd/{descriptor}")
        size = os.fstat(descriptor).st_size if synced != str(tmp_path) else None
        events.append((synced == str(tmp_path), size, path.exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    atomic_write(path, lambda file: file.write(b"content"))
    assert events == [(False, 7, False), (True, None, True)]


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")

    def broken(file: IO[bytes]) -> None:
        file.write(b"half of")
        raise KeyError("the source")

    with pytest.raises(KeyError):
        atomic_write(path, broken)

    def no_sync(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", no_sync)
    with pytest.raises(OSError, match="Input/output error"):
        atomic_write(path, lambda file: file.write(b"after"))
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_shared_and_exclusive_locks(tmp_path: Path, kind: str) -> None:
    path = tmp_path if kind == "folder" else tmp_path / "lock"
    first, second = (file_lock(path, shared=True, wait=False) for _ in range(2))
    with first, second, pytest.raises(Locked), file_lock(path, wait=False):
        pass
    with file_lock(path), pytest.raises(Locked), file_lock(path, shared=True, wait=False):
        pass
    with file_lock(path, wait=False):
        pass


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(37, "No locks available")

    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="No locks available"), file_lock(tmp_path / "lock"):
        pass
    assert os.listdir("/proc/self/fd") == before
