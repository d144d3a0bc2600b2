"""What is left to do once an adoption is committed: the names that 0.6 used go away.

And the way back: the same names put back, for a database restored from its backup.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

from ngshare.adoption.names import (
    finished_list,
    read_names,
    report_file,
    unfinished_list,
    unfinished_report,
    write_names,
)
from ngshare.adoption.report import AdoptionError
from ngshare.blobs import LocalBlobs
from ngshare.durable import sync
from ngshare.progress import Progress

log = logging.getLogger("ngshare")

SHOWN = 5
"""How many files that are lost the log names."""

Name = tuple[bytes, str]
"""An adopted file: its SHA-256, and the name that it had."""


def is_unfinished(database: Path) -> bool:
    """Whether :func:`finish` has anything to do, if the database at this path is ours by now."""
    return unfinished_list(database).exists()


def finish(database: Path, blobs: LocalBlobs, *, files_may_be_lost: bool = False) -> None:
    """Take away the names that adopted files had in 0.6, and publish the report.

    Call it only when the adoption is committed, while no other process does. It can be
    killed, and called again. A file whose bytes are neither in the store nor under its
    old name stays in the list, for the next time, unless ``files_may_be_lost``.

    Raises OSError; and AdoptionError when most files are missing: then the storage is
    the wrong one, and nothing was done.
    """
    names = list(read_names(unfinished_list(database)))
    lost = set() if files_may_be_lost else _lost(database, blobs, names)
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
            progress.advance()
    sync(blobs.folder)
    if unfinished_report(database).exists():
        unfinished_report(database).replace(report_file(database))
        _tell(report_file(database))
    _close_list(database, names, lost)
    sync(database.parent)
    if lost:
        _tell_lost(database, blobs, [name for digest, name in names if digest in lost])


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


def _lost(database: Path, blobs: LocalBlobs, names: Sequence[Name]) -> set[bytes]:
    """Those of these files that are nowhere in the storage and that the database names.

    What it does not name any more was purged since. Raises AdoptionError.
    """
    missing = _missing(blobs, names)
    if not missing:
        return missing
    with contextlib.closing(
        sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)
    ) as connection:
        named = {digest for (digest,) in connection.execute("SELECT DISTINCT sha256 FROM files")}
    lost = missing & named
    # Most may be finished with, and these a few that are lost for good since.
    listed = [*names, *read_names(finished_list(database))]
    wanted = {digest for digest, _ in listed} & named
    if 2 * len(_missing(blobs, listed) & named) > len(wanted):
        raise AdoptionError(
            f"{len(lost)} of the {len(wanted)} files that were adopted from ngshare 0.6 are not in "
            f"{blobs.folder}: mount it, or name the right folder with --storage, or add "
            "--adopt-without-files if they are lost for good"
        )
    return lost


def _missing(blobs: LocalBlobs, names: Iterable[Name]) -> set[bytes]:
    """Those whose bytes are neither in the store nor under an old name."""
    there: set[bytes] = set()
    missing: set[bytes] = set()
    for digest, name in names:
        found = blobs.path(digest).exists() or (blobs.folder / name).exists()
        (there if found else missing).add(digest)
    return missing - there


def _close_list(database: Path, names: Sequence[Name], lost: set[bytes]) -> None:
    """Move what is done from the unfinished list to the finished one."""
    done = dict.fromkeys(read_names(finished_list(database)))
    done.update(dict.fromkeys(one for one in names if one[0] not in lost))
    write_names(finished_list(database), done)
    if lost:
        write_names(unfinished_list(database), [one for one in names if one[0] in lost])
    else:
        unfinished_list(database).unlink()


def _tell_lost(database: Path, blobs: LocalBlobs, names: Sequence[str]) -> None:
    log.error(
        "%s file(s) that were adopted from ngshare 0.6 are not in %s any more. Put them back under "
        "their old names (%s%s; all are in %s) and start again, or start once with "
        "--adopt-without-files if they are lost for good. ngshare storage check says whose they "
        "are; ngshare storage gc removes nothing until then",
        f"{len(names):,}",
        blobs.folder,
        ", ".join(names[:SHOWN]),
        ", ..." if len(names) > SHOWN else "",
        unfinished_list(database),
    )


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
