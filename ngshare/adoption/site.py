"""The adoption itself, inside the transaction of the revision that brings our tables."""

from __future__ import annotations

import json
import sqlite3
from datetime import datetime, timezone
from pathlib import Path

from ngshare.adoption import people, work
from ngshare.adoption.files import list_orphans, take_files
from ngshare.adoption.legal import text_of
from ngshare.adoption.names import (
    unfinished_list,
    unfinished_report,
    write_durably,
    write_names,
)
from ngshare.adoption.report import Report
from ngshare.blobs import LocalBlobs


def adopt(
    database: sqlite3.Connection, path: Path, blobs: LocalBlobs, *, files_may_be_lost: bool = False
) -> Report:
    """Fill our tables, which are there and empty, from those of 0.6, and the store from its files.

    database: in a transaction, with the tables of 0.6 renamed to ``legacy_...``. path:
    where it lies, so that its report can lie beside it. The caller drops the old
    tables, commits, and calls :func:`ngshare.adoption.finish`; if it does not commit,
    everything is as it was. files_may_be_lost: go on even when not one file is there.

    Raises AdoptionError, OSError and sqlite3.Error.
    """
    now = datetime.now(timezone.utc)
    report = Report(path, blobs.folder, now)
    decode, database.text_factory = database.text_factory, text_of
    try:
        roster = people.adopt_people(database, report, now)
        take_files(database, blobs, report, may_be_lost=files_may_be_lost)
        work.adopt_work(database, report, roster, now)
        _record_submissions(database)
        list_orphans(database, blobs, report)
        database.execute(
            "INSERT INTO audit_log (at, actor, event, detail) VALUES (?, 'ngshare', ?, ?)",
            (moment_text(now), "site adopted", json.dumps(report.counts)),
        )
        write_names(
            unfinished_list(path), database.execute("SELECT sha256, name FROM taken ORDER BY name")
        )
        write_durably(unfinished_report(path), [report.text()])
        database.execute("DROP TABLE temp.taken")
    finally:
        database.text_factory = decode
    return report


def _record_submissions(database: sqlite3.Connection) -> None:
    """Let the audit log tell of each submission as it would if it had been handed in to us.

    So the log answers who handed in what before a deadline, whenever that was. Of a
    release and of feedback 0.6 kept no time, nor of who gave it: there is nothing to tell.
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
    """A moment as SQLite holds it, in 0.6 as now: naive UTC, to the microsecond."""
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")
