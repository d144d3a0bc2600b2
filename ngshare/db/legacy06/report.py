"""Report the result and the irregularities of an adoption, in the log and in a file."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

MISSING = "file(s) missing on disk. The rest of their trees is readable; they say they are missing"
CHANGED = "file(s) whose bytes are not those that were recorded. Kept as they are on disk"
UNSIZED = "file(s) whose size or checksum was never filled in. Taken from the disk"
UNREADABLE = "file(s) that the disk fails to read. They count as missing, and stay where they are"
SAME_NAME = "assignment(s) renamed, because another one of the course has their name"
ILLEGAL_NAME = "name(s) changed that cannot stand in an address"
CHANGED_PATH = "path(s) changed that cannot be unpacked as they were"
ODD_PATH = "path(s) kept that nobody may use for new files"
BOTH_ROLES = "user(s) both instructor and student of a course. They are its instructors"
REMOVED = (
    "user(s) no longer in the course they submitted to. Instructors can "
    "read their work with removed=true, see docs/api.md"
)
NO_USER = "user(s) named by other records only. They are users now"
SAME_TIME = "submission(s) of one student at one moment. The later ones were moved by a microsecond"
NO_TIME = "submission(s) without a readable time. They stand in 1970"
NOWHERE = "record(s) that point to nothing"
LOST_COURSE = "assignment(s) without a course. They are in a course of the lost, for admins"
LOST_ASSIGNMENT = "submission(s) without an assignment. They are in the course of the lost too"
UNNAMED = "file record(s) that belong to nothing. Their bytes stay where they are"
ORPHANS = "file(s) on disk that belong to nothing. They stay where they are"


COUNTED = (
    *("courses", "users", "memberships", "assignments", "submissions", "with feedback"),
    *("files", "blobs", "bytes"),
)
"""The names of the totals, in the order of the report."""


class AdoptionError(Exception):
    """A site cannot be adopted. The message is one line that says what to do."""


class Report:
    """The report of an adoption, collected while it runs."""

    def __init__(self, database: Path, storage: Path, started: datetime) -> None:
        self.database = database
        self.storage = storage
        self.started = started
        self.path = database.with_name(f"{database.name}.adoption-report.txt")
        self.copied = self.copied_bytes = 0
        self.counts = dict.fromkeys(COUNTED, 0)
        self._odd: dict[str, list[str]] = {}
        self._more: dict[str, int] = {}

    def count(self, thing: str, number: int = 1) -> None:
        """Add ``number`` to a total, whose name is one of ``COUNTED``."""
        self.counts[thing] += number

    def odd(self, kind: str, line: str) -> None:
        """Add a line about an irregularity of a kind, one of the constants of this module."""
        self._odd.setdefault(kind, []).append(line)

    def odd_number(self, kind: str, number: int) -> None:
        """Add to the number of irregularities of a kind, without lines."""
        if number:
            self._odd.setdefault(kind, [])
            self._more[kind] = self._more.get(kind, 0) + number

    def number(self, kind: str) -> int:
        """Return the number of irregularities of a kind."""
        return len(self._odd.get(kind, ())) + self._more.get(kind, 0)

    def summary(self) -> list[str]:
        """Return the lines for the log."""
        done = ", ".join(f"{number:,} {thing}" for thing, number in self.counts.items())
        lines = [f"Adopted the site of ngshare 0.6: {done}"]
        lines += [f"Odd: {self.number(kind):,} {kind}" for kind in self._odd]
        if not self._odd:
            lines.append("Nothing in it was odd")
        if self.copied:
            lines.append(
                f"{self.copied:,} file(s) could not be hard-linked and were copied: their "
                f"{self.copied_bytes:,} bytes take their room twice until the old names are removed"
            )
        lines.append(
            "All files keep their old names as well. Once you are sure not to go back to ngshare "
            "0.6, remove those with: ngshare storage remove-legacy"
        )
        return lines

    def write(self) -> None:
        """Write the report beside the database, atomically and durably."""
        part = self.path.with_name(f"{self.path.name}.part")
        with part.open("w", encoding="utf8", errors="backslashreplace") as file:
            file.write(self.text())
            file.flush()
            os.fsync(file.fileno())
        part.replace(self.path)
        sync(self.path.parent)

    def text(self) -> str:
        """Return the text of the whole report, with a line for each irregularity."""
        parts = [
            *self.summary(),
            "",
            f"Made: {self.started:%Y-%m-%d %H:%M:%S} UTC",
            f"Database: {self.database}",
            f"Storage: {self.storage}",
        ]
        for kind, lines in self._odd.items():
            parts += ["", f"{self.number(kind):,} {kind}", *(f"  {line}" for line in lines)]
        return "\n".join(parts) + "\n"


def quoted(name: object) -> str:
    """Return a name in quotes, on one line, with control characters escaped."""
    return repr(name)


def sync(folder: Path) -> None:
    """Flush a folder's entries to disk. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
