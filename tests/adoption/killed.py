"""Adopts a site and kills itself on the way, as ``kill -9`` would.

    python -m tests.adoption.killed FOLDER WHERE NUMBER

WHERE is ``statement`` (of SQL), ``link`` (of a file into the store), ``commit`` (just
before it), ``committed`` (just after) or ``unlink`` (of an old name), and NUMBER
which one of them. Ends with exit code 0 if that never came.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from ngshare import adoption, migrate
from ngshare.blobs import LocalBlobs
from ngshare.database import parse_url


def main(folder: Path, where: str, number: int) -> None:
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

    if where == "link":
        os.link = before(os.link)
    elif where == "committed":
        adoption.finish = before(adoption.finish)
    elif where == "unlink":
        Path.unlink = before(Path.unlink)
    migrate.upgrade(parse_url(f"sqlite:///{folder}/ngshare.db"), LocalBlobs(folder / "files"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
