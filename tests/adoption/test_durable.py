"""The order of an adoption's steps: bytes durable, then names, then the commit, then old names."""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from benchmarks import legacy_site
from ngshare import migrate
from ngshare.blobs import LocalBlobs
from ngshare.database import parse_url


class Steps:
    """What was done to which file, in order."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []
        self._lock = threading.Lock()

    def add(self, step: str, where: object) -> None:
        with self._lock:
            self.done.append((step, str(where)))

    def first(self, step: str, where: object) -> int:
        return self.done.index((step, str(where)))

    def last(self, step: str) -> int:
        return max(number for number, done in enumerate(self.done) if done[0] == step)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """Records syncs, links, unlinks and commits of this process."""
    steps = Steps()
    fsync, link, unlink = os.fsync, os.link, Path.unlink

    def recorded_fsync(descriptor: int) -> None:
        fsync(descriptor)
        steps.add("sync", os.readlink(f"/proc/self/fd/{descriptor}"))

    def recorded_link(source: Any, target: Any, **options: Any) -> None:
        link(source, target, **options)
        steps.add("link", source)

    def recorded_unlink(path: Path, **options: Any) -> None:
        unlink(path, **options)
        steps.add("unlink", path)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "link", recorded_link)
    monkeypatch.setattr(Path, "unlink", recorded_unlink)  # that of Python 3.10 holds os.unlink
    return steps


def test_the_order_of_steps(tmp_path: Path, steps: Steps) -> None:
    legacy = legacy_site.make(tmp_path / "site", 30, kilobytes=1)
    legacy.close()
    names = [path.name for path in legacy.storage.iterdir()]
    store = LocalBlobs(legacy.storage)
    steps.done.clear()

    def trace(connection: sqlite3.Connection, record: Any) -> None:
        connection.set_trace_callback(
            lambda sql: steps.add("commit", legacy.database) if sql == "COMMIT" else None
        )

    event.listen(Engine, "connect", trace)
    try:
        migrate.upgrade(parse_url(f"sqlite:///{legacy.database}"), store)
    finally:
        event.remove(Engine, "connect", trace)

    commit = steps.first("commit", legacy.database)
    linked = [Path(where) for step, where in steps.done if step == "link"]
    assert linked
    for source in linked:
        assert steps.first("sync", source) < steps.first("link", source)
    blobs = list(legacy.storage.glob("blobs/*/*"))
    assert len(blobs) == len(linked)
    for shard in {blob.parent for blob in blobs}:
        synced = [at for at, done in enumerate(steps.done) if done == ("sync", str(shard))]
        assert any(steps.last("link") < at < commit for at in synced)
    part = f"{legacy.database}.adopted-files.unfinished.part"
    assert steps.first("sync", part) < commit
    for name in names:
        assert steps.first("unlink", legacy.storage / name) > commit


def test_an_adopted_blob_is_young(tmp_path: Path) -> None:
    """Or a clean-up could take it for a leftover, before the commit has named it."""
    store = LocalBlobs(tmp_path / "files")
    for name, path in (("a", tmp_path / "files" / "a"), ("b", tmp_path / "files" / "b")):
        path.write_bytes(b"the same")
        os.utime(path, (0, 0))
        assert store.adopt(path, bytes(32)), name
        assert store.path(bytes(32)).stat().st_mtime > 10**9
        os.utime(store.path(bytes(32)), (0, 0))
