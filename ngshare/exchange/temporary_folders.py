"""Temporary folders beside a destination, so that complete files can be moved into place."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = ".ngshare-"


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Yield a new hidden folder in ``parent``, and remove it at the end with what is left in it.

    ``parent`` is created if necessary. Folders of processes of this computer that were killed are
    removed first. Raises OSError.
    """
    parent.mkdir(parents=True, exist_ok=True)
    # A home may be shared by several computers, whose processes have ids of their own.
    computer = socket.gethostname()
    for stale in parent.glob(f"{_PREFIX}*-{computer}-*"):
        if not _is_running(stale.name.removeprefix(_PREFIX).partition("-")[0]):
            shutil.rmtree(stale, ignore_errors=True)
    prefix = f"{_PREFIX}{os.getpid()}-{computer}-"
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_running(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, OverflowError, ProcessLookupError):
        return False
    except PermissionError:
        pass
    return True
