"""Adopt directory trees: read the files of each, and store them with legal paths."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ngshare.db.legacy06 import report as odd
from ngshare.db.legacy06.legal_names import is_odd_path, place, text_of
from ngshare.db.legacy06.report import Report, quoted

OWNERS = {"assignment": "assignments", "submission": "submissions", "feedback": "submissions"}
"""The table that the column ``left_id`` of each association table refers to."""

_MD5 = re.compile(r"[0-9a-fA-F]{32}")


@dataclass(frozen=True, slots=True)
class LegacyFile:
    """A file as recorded by 0.6, and as read from disk; ``sha256`` is None if it is missing."""

    path: str
    name: str
    recorded_md5: str
    recorded_size: int | None
    sha256: bytes | None
    md5: bytes | None
    size: int | None


class LegacyTrees:
    """Reads the trees of all assignments or submissions, in the order of their ids."""

    def __init__(self, database: sqlite3.Connection, kind: str) -> None:
        self._rows = database.execute(
            "SELECT o._id, f.filename, f.actual_name, f.checksum, f.size, "
            "t.sha256, t.md5, t.size "
            f"FROM legacy_{kind}_files_assoc_table a "
            f"JOIN legacy_{OWNERS[kind]} o ON o._id = a.left_id "
            "JOIN legacy_files f ON f._id = a.right_id "
            "LEFT JOIN taken t ON t.name = f.actual_name "
            "ORDER BY o._id, f._id"
        )
        self._next: tuple[Any, ...] | None = self._rows.fetchone()

    def of(self, owner: int) -> list[LegacyFile]:
        """Return the files of an assignment or submission. Call this in the order of the ids."""
        files = []
        while self._next is not None and self._next[0] == owner:
            _, path, name, md5, size, *found = self._next
            recorded = size if isinstance(size, int) else None
            files.append(LegacyFile(text_of(path), text_of(name), text_of(md5), recorded, *found))
            self._next = self._rows.fetchone()
        return files


class Trees:
    """Writes the new trees, and reports irregularities of their files."""

    def __init__(self, database: sqlite3.Connection, report: Report) -> None:
        self.database = database
        self.report = report
        self._last = 0
        self._files = 0
        self._unsized: set[str] = set()

    def add(self, course_id: int, files: Sequence[LegacyFile], where: str) -> int:
        """Write a tree; return its id.

        where: describes the owner of the tree, for the report.
        """
        self._last += 1
        paths = place([file.path for file in files])
        rows = [
            (self._last, path, file.sha256, *self._recorded(file, f"{where}: {quoted(file.path)}"))
            for path, file in zip(paths, files, strict=True)
        ]
        for path, file in zip(paths, files, strict=True):
            if path != file.path:
                self.report.odd(
                    odd.CHANGED_PATH, f"{where}: {quoted(file.path)} is now {quoted(path)}"
                )
            elif is_odd_path(path):
                self.report.odd(odd.ODD_PATH, f"{where}: {quoted(path)}")
        self.database.execute(
            "INSERT INTO trees (id, course_id, size) VALUES (?, ?, ?)",
            (self._last, course_id, sum(row[4] for row in rows)),
        )
        self.database.executemany(
            "INSERT INTO files (tree_id, path, sha256, md5, size) VALUES (?, ?, ?, ?, ?)", rows
        )
        self._files += len(rows)
        return self._last

    def close(self) -> None:
        """Report the totals of all trees."""
        self.report.count("files", self._files)
        self.report.odd_number(odd.UNSIZED, len(self._unsized))

    def _recorded(self, file: LegacyFile, where: str) -> tuple[bytes, int]:
        """Return the MD5 and size to store: those on disk, or as recorded for a missing file.

        where: describes the file, for the report.
        """
        md5 = bytes.fromhex(file.recorded_md5) if _MD5.fullmatch(file.recorded_md5) else None
        if file.sha256 is None or file.md5 is None or file.size is None:
            self.report.odd(odd.MISSING, f"{where}, in 0.6 {quoted(file.name)}")
            return md5 or bytes(16), max(file.recorded_size or 0, 0)
        if md5 is None or file.recorded_size is None:
            self._unsized.add(file.name)
        if md5 not in (None, file.md5) or file.recorded_size not in (None, file.size):
            self.report.odd(
                odd.CHANGED,
                f"{where}: MD5 {file.recorded_md5}, now {file.md5.hex()}; "
                f"{file.recorded_size} bytes, now {file.size}",
            )
        return file.md5, file.size


def report_nowhere(database: sqlite3.Connection, report: Report) -> None:
    """Report file records that refer to no tree or file, or to which none refers."""
    for kind, owners in OWNERS.items():
        for left, right, name, path in database.execute(
            "SELECT a.left_id, a.right_id, f.actual_name, f.filename "
            f"FROM legacy_{kind}_files_assoc_table a "
            f"LEFT JOIN legacy_{owners} o ON o._id = a.left_id "
            "LEFT JOIN legacy_files f ON f._id = a.right_id "
            "WHERE o._id IS NULL OR f._id IS NULL"
        ):
            report.odd(
                odd.NOWHERE,
                f"file number {right} ({quoted(path)}, {quoted(name)}) of the {kind} of {left}",
            )
    tables = (f"legacy_{kind}_files_assoc_table" for kind in OWNERS)
    every = " UNION ".join(f"SELECT right_id FROM {table}" for table in tables)
    for path, name in database.execute(
        f"SELECT filename, actual_name FROM legacy_files WHERE _id NOT IN ({every})"
    ):
        report.odd(odd.UNNAMED, f"{quoted(path)}, in 0.6 {quoted(name)}")
