"""nbgrader's cache: copies of what was submitted from this computer, and what is known about it.

A copy is the folder ``COURSE/STUDENT+ASSIGNMENT+TIME``, as nbgrader lays it out. Its receipt is
``.ngshare/receipts/COURSE/STUDENT+ASSIGNMENT+TIME.json``. The other folders in ``.ngshare`` have
records of the plugin: the course that a fetched folder belongs to, the digests that the service
has, and the key of a submission that the service has not acknowledged yet.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TIMESTAMP_FILE = "timestamp.txt"
SECRET_FILE = "submission_secret.txt"  # noqa: S105  # a name

OWN_FOLDER = ".ngshare"
"""The folder of the plugin's own files. nbgrader's cache has a folder for each course."""


@dataclass(frozen=True, slots=True)
class CachedSubmission:
    """A copy of a submission. ``timestamp`` is the text in the name of its folder."""

    course: str
    student: str
    assignment: str
    timestamp: str
    folder: Path


class SubmissionCache:
    """The cache in the folder ``root``. It need not exist."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def submissions(self) -> list[CachedSubmission]:
        """Return all copies, sorted by course and by the name of the folder."""
        return [
            CachedSubmission(course.name, student, assignment, timestamp, folder)
            for course in _folders(self.root)
            for folder in _folders(course)
            # A user's name may have a plus sign; nbgrader forbids it in an assignment's.
            if (components := folder.name.rsplit("+", 2))[2:]
            for student, assignment, timestamp in [components]
        ]

    def copy_folder(self, course: str, student: str, assignment: str, timestamp: str) -> Path:
        """Return the folder of a copy."""
        return self.root / course / f"{student}+{assignment}+{timestamp}"

    def receipt_file(self, course: str, student: str, assignment: str, timestamp: str) -> Path:
        """Return the path of a submission's receipt."""
        folder = self.root / OWN_FOLDER / "receipts" / course
        return folder / f"{student}+{assignment}+{timestamp}.json"

    def keep(self, tree: Path, course: str, student: str, assignment: str, timestamp: str) -> Path:
        """Move the folder ``tree`` into the cache, with nbgrader's timestamp.txt.

        A copy of the same submission, left by a command that was killed, is replaced.
        """
        (tree / TIMESTAMP_FILE).write_text(timestamp)
        folder = self.copy_folder(course, student, assignment, timestamp)
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.exists():
            shutil.rmtree(folder)
        tree.rename(folder)
        return folder

    def keep_receipt(
        self, receipt: Any, course: str, student: str, assignment: str, timestamp: str
    ) -> Path:
        """Store a receipt (a JSON value) beside the copy, and return the path of its file."""
        path = self.receipt_file(course, student, assignment, timestamp)
        _write(path, receipt)
        return path

    def receipt(self, course: str, student: str, assignment: str, timestamp: str) -> Any:
        """Return the receipt that was stored with a submission, or None."""
        return _read(self.receipt_file(course, student, assignment, timestamp))

    def origin_file(self, folder: Path) -> Path:
        """Return the record that names the course of an assignment's folder."""
        return self._record("fetched", os.path.realpath(folder))

    def course_of(self, folder: Path) -> str | None:
        """Return the course that an assignment's folder was fetched from; None if unknown."""
        record = _read(self.origin_file(folder))
        if not isinstance(record, dict) or not folder.is_dir():
            return None
        # Another folder of that name, made after this one was moved away, is not it.
        same = record.get("inode") == folder.stat().st_ino
        course = record.get("course")
        return course if same and isinstance(course, str) else None

    def remember_course(self, folder: Path, course: str) -> None:
        """Record that the assignment in ``folder`` was fetched from this course."""
        record = {"folder": str(folder), "course": course, "inode": folder.stat().st_ino}
        _write(self.origin_file(folder), record)

    def known_digests(self, course: str, assignment: str) -> set[bytes]:
        """Return digests (SHA-256) of contents that the service probably has for the user."""
        record = _read(self._record("known", course, assignment))
        digests = record.get("digests") if isinstance(record, dict) else None
        with contextlib.suppress(TypeError, ValueError):
            return {bytes.fromhex(digest) for digest in digests or ()}
        return set()

    def remember_digests(self, course: str, assignment: str, digests: Collection[bytes]) -> None:
        """Record digests that the service has, in addition to those known before."""
        everything = self.known_digests(course, assignment) | set(digests)
        names = sorted(digest.hex() for digest in everything)
        record = {"course": course, "assignment": assignment, "digests": names}
        _write(self._record("known", course, assignment), record)

    def submission_key(self, course: str, assignment: str, student: str, digest: str) -> str:
        """Return the idempotency key of a submission of the tree with this digest.

        It is the key of an earlier attempt that was not acknowledged, if that had the same tree.
        Otherwise it is a new one, recorded before it is returned.
        """
        if key := self.pending_key(course, assignment, student, digest):
            return key
        key = secrets.token_hex(16)
        record = {"course": course, "assignment": assignment, "digest": digest, "key": key}
        _write(self._record("pending", course, assignment, student), record)
        return key

    def pending_key(self, course: str, assignment: str, student: str, digest: str) -> str | None:
        """Return the key of an attempt to submit this tree that was not acknowledged, or None."""
        record = _read(self._record("pending", course, assignment, student))
        if not isinstance(record, dict) or record.get("digest") != digest:
            return None
        key = record.get("key")
        return key if isinstance(key, str) else None

    def forget_key(self, course: str, assignment: str, student: str) -> None:
        """Remove the key of a submission, because the service has acknowledged it."""
        self._record("pending", course, assignment, student).unlink(missing_ok=True)

    def _record(self, kind: str, *names: str) -> Path:
        """Return the path of a record. Names are hashed: together they may be too long."""
        text = json.dumps(names).encode()
        return self.root / OWN_FOLDER / kind / f"{hashlib.sha256(text).hexdigest()[:32]}.json"


def _folders(parent: Path) -> list[Path]:
    """Return the folders in ``parent``, sorted by name, without hidden ones."""
    try:
        return sorted(
            path for path in parent.iterdir() if path.is_dir() and not path.name.startswith(".")
        )
    except FileNotFoundError:
        return []


def _read(path: Path) -> Any:
    """Return the JSON value in a file; None if there is none or it is damaged."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def _write(path: Path, value: Any) -> None:
    """Write a JSON value durably, so that a file has its former content or all of the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}")
    try:
        with temporary.open("w", encoding="utf8") as file:
            json.dump(value, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
