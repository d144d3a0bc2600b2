"""Checks before a start whose effects a test of the process cannot observe."""

from __future__ import annotations

from pathlib import Path

import pytest

from ngshare.runtime.checks import check_writable
from tests.blobs.test_local import DiskLog


def test_folders_of_a_new_database_are_created_durably(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = DiskLog(monkeypatch)
    check_writable(str(tmp_path / "a" / "b" / "ngshare.db"))
    assert log.events == [("fsync", str(tmp_path / "a")), ("fsync", str(tmp_path))]
