"""The list of adopted files: which blob holds what 0.6 kept under which name.

It is written beside the database before an adoption is committed, as
``ngshare.db.adopted-files.unfinished``, and loses its last word when the old names
are gone. It is kept: with it and a backup of the database one can go back.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ngshare.durable import sync


def finished_list(database: Path) -> Path:
    """The list of an adoption that is finished."""
    return database.with_name(f"{database.name}.adopted-files")


def unfinished_list(database: Path) -> Path:
    """The list of an adoption whose old names are not all gone yet, or that never was committed."""
    return database.with_name(f"{database.name}.adopted-files.unfinished")


def report_file(database: Path) -> Path:
    """The report of an adoption."""
    return database.with_name(f"{database.name}.adoption-report.txt")


def unfinished_report(database: Path) -> Path:
    """The report of an adoption that is not finished yet, or that never was committed."""
    return database.with_name(f"{database.name}.adoption-report.txt.unfinished")


def write_names(path: Path, names: Iterable[tuple[bytes, str]]) -> None:
    """Write a list durably, in place of what was there: each file's SHA-256, and its old name."""
    write_durably(path, (json.dumps([digest.hex(), name]) + "\n" for digest, name in names))


def read_names(path: Path) -> Iterator[tuple[bytes, str]]:
    """The list that a file holds; nothing when there is no such file."""
    if not path.exists():
        return
    with path.open(encoding="utf8") as file:
        for line in file:
            digest, name = json.loads(line)
            yield bytes.fromhex(digest), name


def adopted_names(database: Path) -> set[str]:
    """The old names of all adopted files, those included that are not finished with."""
    lists = (finished_list(database), unfinished_list(database))
    return {name for path in lists for _, name in read_names(path)}


def write_durably(path: Path, lines: Iterable[str]) -> None:
    """Write a file all at once: after a crash it is there as a whole, or as it was before."""
    part = path.with_name(f"{path.name}.part")
    with part.open("w", encoding="utf8", errors="backslashreplace") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync(path.parent)
