"""Failures of the storage are counted, also those of streams, and once each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ngshare.blobs import Blob, BlobMissing, BlobStore, LocalBlobs, sha256
from ngshare.errors import OutOfSpace, Unavailable
from ngshare.web.monitoring.counted_blobs import CountedBlobs
from ngshare.web.monitoring.metrics import Metrics


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobs:
    """A store of each test's own: some break it."""
    return LocalBlobs(tmp_path / "blobs")


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def counted(blobs: LocalBlobs, metrics: Metrics) -> BlobStore:
    return CountedBlobs(blobs, metrics)


def number(metrics: Metrics, kind: str) -> float:
    return metrics.storage_errors.labels(kind)._value.get()


def test_what_is_right_is_passed_on_and_not_counted(counted: BlobStore, metrics: Metrics) -> None:
    with counted.upload() as upload:
        assert upload.add([b"con", b"tent"]) == Blob(sha256(b"content"), 7)
        upload.commit()
    assert counted.put([b"more"]) == [sha256(b"more")]
    assert counted.read(sha256(b"content")) == b"content"
    assert list(counted.open(sha256(b"content"), 2, 3)) == [b"nte"]
    counted.check()
    assert [number(metrics, kind) for kind in ("full", "failed", "missing")] == [0, 0, 0]


def test_failures(
    counted: BlobStore, blobs: LocalBlobs, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    for fails in (counted.read, counted.open):
        with pytest.raises(BlobMissing):
            fails(sha256(b"never put"))
    assert number(metrics, "missing") == 2

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with counted.upload() as upload:
        upload.add([b"content"])
        with monkeypatch.context() as broken:
            broken.setattr(os, "fsync", full)
            with pytest.raises(OutOfSpace):
                upload.commit()
    assert number(metrics, "full") == 1

    (blobs.folder / "incoming").rmdir()
    with counted.upload() as upload, pytest.raises(Unavailable):
        upload.add([b"content"])
    assert number(metrics, "failed") == 1


def test_a_read_that_breaks_off(
    counted: BlobStore, blobs: LocalBlobs, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(digest: bytes, start: int, size: int | None) -> Iterator[bytes]:
        yield b"half of"
        raise Unavailable("The disk is gone")

    monkeypatch.setattr(blobs, "open", broken)
    pieces = counted.open(sha256(b"content"))
    assert next(pieces) == b"half of"
    with pytest.raises(Unavailable):
        next(pieces)
    assert number(metrics, "failed") == 1
