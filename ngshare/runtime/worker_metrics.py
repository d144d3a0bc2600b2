"""Share Prometheus metrics between worker processes, in files of one temporary folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import (
    multiprocess,
    values,
)

from ngshare.web.monitoring.metrics import SHARED_FOLDER

_FOLDER_NAME = "ngshare-metrics-"


@contextlib.contextmanager
def shared() -> Iterator[None]:
    """Have every metric that is made from now on, in children too, counted in one folder."""
    folder = _make_folder()
    os.environ[SHARED_FOLDER] = folder
    # The library looks at the variable when it is imported, long before we know the settings.
    values.ValueClass = values.get_value_class()  # type: ignore[no-untyped-call]  # no types
    try:
        yield
    finally:
        del os.environ[SHARED_FOLDER]
        values.ValueClass = values.get_value_class()  # type: ignore[no-untyped-call]  # no types
        shutil.rmtree(folder, ignore_errors=True)


def _make_folder() -> str:
    """A new temporary folder. Folders of services that were killed are removed."""
    for left in Path(tempfile.gettempdir()).glob(f"{_FOLDER_NAME}*"):
        pid = left.name.removeprefix(_FOLDER_NAME).partition("-")[0]
        # Of our own id it was an earlier process: in a container all have the same.
        if pid.isdecimal() and (int(pid) == os.getpid() or not _runs(int(pid))):
            shutil.rmtree(left, ignore_errors=True)
    return tempfile.mkdtemp(prefix=f"{_FOLDER_NAME}{os.getpid()}-")


def forget_worker(pid: int) -> None:
    """Take a worker that ended out of what is counted now. What it counted up remains."""
    if folder := os.environ.get(SHARED_FOLDER):
        multiprocess.mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]  # no types


def _runs(pid: int) -> bool:
    with contextlib.suppress(PermissionError):  # then it runs, as somebody else
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True
