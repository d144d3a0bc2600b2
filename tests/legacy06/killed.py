"""Adopts a site and kills itself on the way, as ``kill -9`` would.

    python -m tests.legacy06.killed FOLDER WHERE NUMBER [no-links]

WHERE is ``statement`` (of SQL), ``link`` (of a file as a blob), ``rename`` (of a copy of one),
``commit`` (just before it) or ``committed`` (just after), and NUMBER which one of them. With
``no-links`` the file system has no hard links. Ends with exit code 0 if that never came.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from ngshare.db import migrate
from ngshare.db.urls import parse_url


def no_link(source: object, target: object) -> None:
    """What a file system without hard links does."""
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def main(folder: Path, where: str, number: int, *, links: bool) -> None:
    left = number

    def countdown(*arguments: Any) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def before(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            countdown()
            return function(*arguments, **options)

        return run

    @event.listens_for(Engine, "connect")
    def trace(connection: Any, record: Any) -> None:
        if where == "statement":
            connection.set_trace_callback(countdown)
        elif where == "commit":
            connection.set_trace_callback(lambda sql: sql == "COMMIT" and countdown())

    if not links:
        os.link = no_link
    if where == "link":
        os.link = before(os.link)
    elif where == "committed":
        migrate._enable_wal = before(migrate._enable_wal)
    elif where == "rename":
        Path.rename = before(Path.rename)
    migrate.upgrade(parse_url(f"sqlite:///{folder}/ngshare.db"), folder / "files")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), links="no-links" not in sys.argv)
