"""What is made sure of before a start, where starting a process shows too little."""

from __future__ import annotations

from pathlib import Path

import pytest

from ngshare.runtime.checks import check_writable
from tests.blobs.test_local import DiskLog


def test_the_folders_that_a_new_database_needs_outlast_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = DiskLog(monkeypatch)
    check_writable(str(tmp_path / "a" / "b" / "ngshare.db"))
    assert log.events == [("fsync", str(tmp_path / "a")), ("fsync", str(tmp_path))]
