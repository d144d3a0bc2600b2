"""A service that adopts a site of ngshare 0.6 as it starts, killed at a moment on the way."""

from __future__ import annotations

import os
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from ngshare.db import migrate
from tests.legacy06.contents import revision
from tests.process.forked import ForkedProcess
from tests.process.site import PATIENCE

LOOK = 0.002
"""After how many seconds the log of a start is read again."""

LONG = 30 * PATIENCE
"""The most seconds that an adoption of a very large site may take."""

BEGUN = "Backup of the database before its upgrade"
"""What the log says first of an adoption that is not committed yet."""

OVER = ("Adopted the site of ngshare 0.6", "listens on")
"""What the log says only when there is nothing left to adopt."""


@dataclass(frozen=True, slots=True)
class Killed:
    """A start that was killed."""

    after: float
    """How many seconds it had run."""
    adopting: float
    """For how many of them it had been adopting."""
    said: str
    """All that its log says."""
    too_late: bool
    """Whether the adoption was over by then."""

    def __str__(self) -> str:
        last = self.said.rstrip().rpartition("\n")[2] or "nothing"
        return (
            f"killed {self.after:.2f} s after its start, {self.adopting:.2f} s into the adoption"
            f"{', too late' if self.too_late else ''}; its log ends: {last}"
        )


def kill_service(folder: Path, log: Path, seconds: float) -> Killed:
    """Start a service on this site, and kill it after so many seconds of adopting, or when done."""
    database = folder / "ngshare.db"
    with log.open("w") as output:
        started = time.monotonic()
        process = ForkedProcess(
            [
                *("--vngshare", "--port=0"),
                *(f"--database=sqlite:///{database}", f"--storage={folder}/files"),
            ],
            folder=log.parent,
            environment=os.environ,
            stdout=output,
            stderr=output,
        )
    try:
        began: float | None = None
        while True:
            said, now = log.read_text(), time.monotonic()
            assert process.poll() is None, said
            assert now - started < LONG, said
            if began is None:
                began = now if BEGUN in said else None
            if any(word in said for word in OVER):
                break
            if began is not None and now - began >= seconds:
                break
            time.sleep(LOOK)
    finally:
        process.kill()
        code = process.wait(PATIENCE)
    ended = time.monotonic()
    said = log.read_text()  # to its very end: nobody writes to it any more
    assert code == -signal.SIGKILL, said
    over = revision(database) == migrate.head()
    return Killed(
        after=ended - started,
        adopting=0 if began is None else ended - began,
        said=said,
        too_late=over or any(word in said for word in OVER),
    )


def copy_site(folder: Path, target: Path) -> None:
    """Copy a site as it is now. What is in its storage is linked: no file there is ever changed."""
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns("files"))
    shutil.copytree(folder / "files", target / "files", copy_function=os.link)
