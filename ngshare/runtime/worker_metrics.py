"""Share Prometheus metrics between worker processes, by files in a temporary folder."""

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
def share_metrics() -> Iterator[None]:
    """Store the metrics created from now on, in child processes too, in a shared folder."""
    folder = _make_folder()
    os.environ[SHARED_FOLDER] = folder
    # The library reads the variable when it is imported, before the settings are known.
    values.ValueClass = values.get_value_class()  # type: ignore[no-untyped-call]  # no types
    try:
        yield
    finally:
        del os.environ[SHARED_FOLDER]
        values.ValueClass = values.get_value_class()  # type: ignore[no-untyped-call]  # no types
        shutil.rmtree(folder, ignore_errors=True)


def _make_folder() -> str:
    """Create a temporary folder; delete those of services that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER_NAME}*"):
        pid = folder.name.removeprefix(_FOLDER_NAME).partition("-")[0]
        # One with our own process id is older: in a container, ids repeat after a restart.
        if pid.isdecimal() and (int(pid) == os.getpid() or not _is_running(int(pid))):
            shutil.rmtree(folder, ignore_errors=True)
    return tempfile.mkdtemp(prefix=f"{_FOLDER_NAME}{os.getpid()}-")


def forget_worker(pid: int) -> None:
    """Drop the gauges of a worker that has ended. Its counters are kept."""
    if folder := os.environ.get(SHARED_FOLDER):
        multiprocess.mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]  # no types


def _is_running(pid: int) -> bool:
    with contextlib.suppress(PermissionError):  # it runs as another user
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True
