"""The order of an adoption's steps: bytes durable, then their names as blobs, then the commit."""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from benchmarks import legacy_site
from ngshare.db import migrate
from ngshare.db.urls import parse_url


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
    """Records syncs, links and commits of this process."""
    steps = Steps()
    fsync, link = os.fsync, os.link

    def recorded_fsync(descriptor: int) -> None:
        fsync(descriptor)
        steps.add("sync", os.readlink(f"/proc/self/fd/{descriptor}"))

    def recorded_link(source: Any, target: Any, **options: Any) -> None:
        link(source, target, **options)
        steps.add("link", source)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "link", recorded_link)
    return steps


def test_the_order_of_steps(tmp_path: Path, steps: Steps) -> None:
    legacy = legacy_site.make(tmp_path / "site", 30, kilobytes=1)
    legacy.close()

    def trace(connection: sqlite3.Connection, record: Any) -> None:
        connection.set_trace_callback(
            lambda sql: steps.add("commit", legacy.database) if sql == "COMMIT" else None
        )

    event.listen(Engine, "connect", trace)
    try:
        migrate.upgrade(parse_url(f"sqlite:///{legacy.database}"), legacy.storage)
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
    for folder in (legacy.storage / "blobs", legacy.storage):
        assert steps.first("sync", folder) < commit
    assert steps.first("sync", f"{legacy.database}.adoption-report.txt.part") < commit


def test_an_adopted_blob_is_young(tmp_path: Path) -> None:
    """Or a clean-up could take it for a leftover, before the commit has named it."""
    legacy = legacy_site.make(tmp_path / "site", 2, kilobytes=1)
    legacy.close()
    before = legacy.database.read_bytes()
    for _ in range(2):
        for path in [*legacy.storage.glob("*.*"), *legacy.storage.glob("blobs/*/*")]:
            os.utime(path, (0, 0))
        migrate.upgrade(parse_url(f"sqlite:///{legacy.database}"), legacy.storage)
        blobs = list(legacy.storage.glob("blobs/*/*"))
        assert blobs
        assert all(path.stat().st_mtime > 10**9 for path in blobs)
        for path in legacy.folder.glob("ngshare.db-*"):
            path.unlink()
        legacy.database.write_bytes(before)
