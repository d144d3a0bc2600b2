"""Temporary folders beside the destination of a download."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ngshare.exchange.temporary_folders import temporary_folder

DIE_IN_IT = """
import os, signal, sys
from pathlib import Path
from ngshare.exchange.temporary_folders import temporary_folder
with temporary_folder(Path(sys.argv[1])) as folder:
    (folder / "half").write_bytes(b"")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_it_is_removed_whatever_happens(tmp_path: Path) -> None:
    parent = tmp_path / "a" / "b"
    with pytest.raises(KeyError), temporary_folder(parent) as folder:
        assert folder.parent == parent
        (folder / "x").mkdir()
        raise KeyError
    assert list(parent.iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_no_other(tmp_path: Path) -> None:
    (tmp_path / ".ngshare-mine").mkdir()
    with temporary_folder(tmp_path) as running:
        subprocess.run([sys.executable, "-c", DIE_IN_IT, tmp_path], check=False)
        assert len(list(tmp_path.iterdir())) == 3
        with temporary_folder(tmp_path) as folder:
            names = {path.name for path in tmp_path.iterdir()}
            assert names == {running.name, folder.name, ".ngshare-mine"}
