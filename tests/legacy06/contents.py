"""All that a site holds, by SQL and from its files alone: before its adoption, and after."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

Contents = dict[tuple[Any, ...], Any]
"""What there is by where it is; of a file, the MD5 of the bytes on the disk."""

LEGACY = {
    "assignment": "SELECT c.id, a.id, NULL, NULL, f.filename, f.actual_name "
    "FROM assignment_files_assoc_table t JOIN files f ON f._id = t.right_id "
    "JOIN assignments a ON a._id = t.left_id JOIN courses c ON c._id = a.course_id",
    "submission": "SELECT c.id, a.id, s.student_id, s.timestamp, f.filename, f.actual_name "
    "FROM submission_files_assoc_table t JOIN files f ON f._id = t.right_id "
    "JOIN submissions s ON s._id = t.left_id JOIN assignments a ON a._id = s.assignment_id "
    "JOIN courses c ON c._id = a.course_id",
    "feedback": "SELECT c.id, a.id, s.student_id, s.timestamp, f.filename, f.actual_name "
    "FROM feedback_files_assoc_table t JOIN files f ON f._id = t.right_id "
    "JOIN submissions s ON s._id = t.left_id JOIN assignments a ON a._id = s.assignment_id "
    "JOIN courses c ON c._id = a.course_id",
    "instructor": "SELECT right_id, left_id, first_name, last_name, email "
    "FROM instructor_assoc_table",
    "student": "SELECT right_id, left_id, first_name, last_name, email FROM student_assoc_table",
    "user": "SELECT id FROM users",
}

OURS = {
    "assignment": "SELECT c.name, a.name, NULL, NULL, f.path, f.sha256 FROM assignments a "
    "JOIN courses c ON c.id = a.course_id JOIN files f ON f.tree_id = a.tree_id",
    "submission": "SELECT c.name, a.name, u.name, s.submitted_at, f.path, f.sha256 "
    "FROM submissions s JOIN users u ON u.id = s.student_id "
    "JOIN assignments a ON a.id = s.assignment_id JOIN courses c ON c.id = a.course_id "
    "JOIN files f ON f.tree_id = s.tree_id",
    "feedback": "SELECT c.name, a.name, u.name, s.submitted_at, f.path, f.sha256 "
    "FROM submissions s JOIN users u ON u.id = s.student_id "
    "JOIN assignments a ON a.id = s.assignment_id JOIN courses c ON c.id = a.course_id "
    "JOIN files f ON f.tree_id = s.feedback_tree_id",
    "instructor": "SELECT c.name, u.name, first_name, last_name, email FROM memberships m "
    "JOIN courses c ON c.id = m.course_id JOIN users u ON u.id = m.user_id "
    "WHERE role = 'instructor'",
    "student": "SELECT c.name, u.name, first_name, last_name, email FROM memberships m "
    "JOIN courses c ON c.id = m.course_id JOIN users u ON u.id = m.user_id "
    "WHERE role = 'student'",
    "user": "SELECT name FROM users",
}


def legacy_contents(database: Path, storage: Path) -> Contents:
    """What a site of ngshare 0.6 holds."""
    return _contents(database, LEGACY, lambda name: storage / name)


def our_contents(database: Path, storage: Path) -> Contents:
    """What an adopted site holds."""

    def blob(digest: bytes) -> Path:
        return storage / "blobs" / digest.hex()[:2] / digest.hex()

    return _contents(database, OURS, blob)


def revision(database: Path) -> str:
    """The revision of a database, whatever state a crash left it in."""
    with closing(sqlite3.connect(database)) as connection:
        [(found,)] = connection.execute("SELECT version_num FROM alembic_version")
        return str(found)


def dump(database: Path) -> list[str]:
    """All that a database holds, as SQL."""
    with closing(sqlite3.connect(database)) as connection:
        return list(connection.iterdump())


def _contents(database: Path, queries: dict[str, str], place: Callable[[Any], Path]) -> Contents:
    found: Contents = {}
    with closing(sqlite3.connect(database)) as connection:
        for kind, query in queries.items():
            rows: Iterable[Any] = connection.execute(query)
            for row in rows:
                if kind in ("assignment", "submission", "feedback"):
                    *where, name = row
                    content = place(name).read_bytes()
                    found[(kind, *where)] = hashlib.md5(content).hexdigest()
                else:
                    found[(kind, *row)] = True
    return found
