"""Adopt a site of ngshare 0.6 within the transaction of a migration."""

from __future__ import annotations

import json
import sqlite3
from datetime import datetime, timezone
from pathlib import Path

from ngshare.db.legacy06 import coursework, people
from ngshare.db.legacy06.blob_files import Progress, list_orphans, take_files
from ngshare.db.legacy06.legal_names import text_of
from ngshare.db.legacy06.report import Report


def adopt(
    database: sqlite3.Connection,
    path: Path,
    storage: Path,
    progress: Progress,
    *,
    files_may_be_lost: bool = False,
) -> Report:
    """Fill the new, empty tables from those of 0.6, and make blobs of its files.

    Return the report, which is also written beside the database. Afterwards, the caller drops
    the old tables and commits; a rollback restores the site of 0.6.

    database: a connection in a transaction, with the tables of 0.6 renamed to ``legacy_...``.
    path: the path of the database.
    storage: the folder of the files.
    progress: opens a progress display.
    files_may_be_lost: go on even when every file is missing.

    Raises AdoptionError, OSError and sqlite3.Error.
    """
    now = datetime.now(timezone.utc)
    report = Report(path, storage, now)
    decode, database.text_factory = database.text_factory, text_of
    try:
        roster = people.adopt_people(database, report, now)
        take_files(database, report, progress, may_be_lost=files_may_be_lost)
        coursework.adopt_work(database, report, roster, now)
        _record_submissions(database)
        list_orphans(database, report)
        database.execute(
            "INSERT INTO audit_log (at, actor, event, detail) VALUES (?, 'ngshare', ?, ?)",
            (moment_text(now), "site adopted", json.dumps(report.counts)),
        )
        report.write()
        database.execute("DROP TABLE temp.taken")
    finally:
        database.text_factory = decode
    return report


def _record_submissions(database: sqlite3.Connection) -> None:
    """Write an audit log entry for each submission, with its original time.

    Releases and feedback get none, because 0.6 stored neither their times nor their authors.
    """
    database.execute(
        "INSERT INTO audit_log (at, actor, event, course_id, course, assignment, student, detail) "
        "SELECT s.submitted_at, u.name, 'submission handed in', c.id, c.name, a.name, u.name, "
        # No function of JSON: not every SQLite has them, and nothing here needs quoting.
        """'{"files": ' || (SELECT count(*) FROM files f WHERE f.tree_id = s.tree_id) || """
        """', "timestamp": "' || s.submitted_at || ' UTC", "adopted": true}' """
        "FROM submissions s JOIN users u ON u.id = s.student_id "
        "JOIN assignments a ON a.id = s.assignment_id JOIN courses c ON c.id = a.course_id "
        "ORDER BY s.submitted_at, s.id"
    )


def moment_text(moment: datetime) -> str:
    """Format a time as it is stored in SQLite, by 0.6 too: naive UTC with microseconds."""
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")
