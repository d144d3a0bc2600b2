"""Adopt a site, inside the transaction of the revision that makes the new tables."""

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
    """Fill our tables, which are there and empty, from those of 0.6, and the blobs from its files.

    database: in a transaction, with the tables of 0.6 renamed to ``legacy_...``. path:
    where it is, so that the report, which is on the disk when this returns, is beside it. The
    caller drops the old tables and commits; if it does not, the site is as it was.
    files_may_be_lost: go on even when not one file is there.

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
    """Write an entry of the audit log for each submission, at its old time.

    So the log answers who submitted what before a deadline in the past. For releases and
    feedback 0.6 kept neither a time nor an author, so they have no entries.
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
    """Return a time as SQLite stores it, in 0.6 as now: naive UTC, to the microsecond."""
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")
