"""Upgrades a database and kills itself before one of the statements, as ``kill -9`` would.

python -m tests.killed_upgrade URL MIGRATIONS NUMBER
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from ngshare.db import migrate
from ngshare.db.urls import parse_url

left = int(sys.argv[3])


def countdown(*arguments: Any) -> None:
    """Die when the time has come."""
    global left
    left -= 1
    if left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)


event.listen(Engine, "before_cursor_execute", countdown)
event.listen(Engine, "commit", countdown)
migrate.migrations_folder = lambda: Path(sys.argv[2])
migrate.upgrade(parse_url(sys.argv[1]))
