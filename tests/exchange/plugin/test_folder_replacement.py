"""A folder is replaced by another, and an interruption at any moment loses neither."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from ngshare.exchange.plugin.folder_replacement import finish_replacement, replace_folder
from tests.exchange.plugin.computers import read_files, write_files

OLD = {"a": b"old", "sub/b": b"old"}
NEW = {"a": b"new", "sub/c": b"new"}


def test_replaces_a_folder_or_puts_one_where_none_was(tmp_path: Path) -> None:
    for content in (OLD, NEW):
        write_files(tmp_path / "incoming", content)
        replace_folder(tmp_path / "incoming", tmp_path / "ps1")
        assert read_files(tmp_path) == {f"ps1/{path}": data for path, data in content.items()}
        assert os.listdir(tmp_path) == ["ps1"]


def test_a_failed_move_restores_the_old_folder(tmp_path: Path) -> None:
    write_files(tmp_path / "ps1", OLD)
    with pytest.raises(FileNotFoundError):
        replace_folder(tmp_path / "missing", tmp_path / "ps1")
    assert read_files(tmp_path) == {f"ps1/{path}": data for path, data in OLD.items()}
    assert os.listdir(tmp_path) == ["ps1"]


def test_nothing_to_finish_changes_nothing(tmp_path: Path) -> None:
    write_files(tmp_path / "ps1", OLD)
    finish_replacement(tmp_path / "ps1")
    finish_replacement(tmp_path / "ps2")
    assert read_files(tmp_path / "ps1") == OLD
    assert os.listdir(tmp_path) == ["ps1"]


@pytest.mark.parametrize("moment", range(1, 15))
def test_killed_at_any_call_of_the_system(tmp_path: Path, moment: int) -> None:
    """A process is killed before its nth call that reads or changes the file system."""
    write_files(tmp_path / "ps1", OLD)
    write_files(tmp_path / "incoming", NEW)
    pid = os.fork()
    if pid == 0:
        calls = 0

        def kill(event: str, _: object) -> None:
            nonlocal calls
            calls += event.startswith(("os.", "shutil.", "open"))
            if calls == moment:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(kill)
        replace_folder(tmp_path / "incoming", tmp_path / "ps1")
        os._exit(0)
    killed = os.waitpid(pid, 0)[1]
    assert killed or moment > 10
    finish_replacement(tmp_path / "ps1")
    assert read_files(tmp_path / "ps1") in (OLD, NEW)
    assert set(os.listdir(tmp_path)) <= {"ps1", "incoming"}
