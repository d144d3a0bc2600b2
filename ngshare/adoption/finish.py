"""What is left to do once an adoption is committed: the names that 0.6 used go away.

And the way back: the same names put back, for a database restored from its backup.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from pathlib import Path

from ngshare.adoption.names import (
    finished_list,
    read_names,
    report_file,
    unfinished_list,
    unfinished_report,
)
from ngshare.blobs import LocalBlobs
from ngshare.durable import sync
from ngshare.progress import Progress

log = logging.getLogger("ngshare")


def is_unfinished(database: Path) -> bool:
    """Whether :func:`finish` has anything to do, if the database at this path is ours by now."""
    return unfinished_list(database).exists()


def finish(database: Path, blobs: LocalBlobs) -> None:
    """Take away the names that adopted files had in 0.6, and publish the report.

    Call it only when the adoption is committed, while no other process does. It can be
    killed, and called again. A name whose bytes are not in the store is left. Raises OSError.
    """
    names = list(read_names(unfinished_list(database)))
    stored = {digest for digest in {digest for digest, _ in names} if blobs.path(digest).exists()}
    # First the files that could not be linked are moved, and that is made durable, ...
    moved = {digest for digest, name in names if _move(blobs, digest, name, stored)}
    for folder in {blobs.path(digest).parent for digest in moved}:
        sync(folder)
    # ... so that no name goes away that is the only one after a crash.
    with Progress("Removing the old names of adopted files", len(names)) as progress:
        for digest, name in names:
            if digest in stored:
                (blobs.folder / name).unlink(missing_ok=True)
            else:
                log.error("The storage does not hold the bytes of %s", blobs.folder / name)
            progress.advance()
    sync(blobs.folder)
    with contextlib.suppress(FileNotFoundError):
        unfinished_report(database).replace(report_file(database))
    unfinished_list(database).replace(finished_list(database))
    sync(database.parent)
    _tell(report_file(database))


def put_back(database: Path, blobs: LocalBlobs) -> int:
    """Give every adopted file its name of 0.6 again, beside its blob; return how many.

    With the backup made before the adoption in place of the database, the site is
    0.6's again. Nothing of what was stored since is lost or shown. Raises OSError.
    """
    number = 0
    for path in (finished_list(database), unfinished_list(database)):
        for digest, name in read_names(path):
            old, blob = blobs.folder / name, blobs.path(digest)
            if old.exists() or not blob.exists():
                continue
            try:
                os.link(blob, old)
            except OSError:
                shutil.copyfile(blob, old)
            number += 1
    return number


def _move(blobs: LocalBlobs, digest: bytes, name: str, stored: set[bytes]) -> bool:
    """Where the file system has no hard links, the file itself becomes the blob."""
    old = blobs.folder / name
    if digest in stored or not old.exists():
        return False
    old.rename(blobs.path(digest))
    stored.add(digest)
    return True


def _tell(report: Path) -> None:
    if not report.exists():
        return
    with report.open(encoding="utf8") as file:
        for line in file:
            if not line.strip():
                break
            log.info("%s", line.rstrip())
    log.info("All of it, name by name: %s", report)
