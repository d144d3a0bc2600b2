"""Adopt users, courses and memberships."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from ngshare.db.legacy06 import report as odd
from ngshare.db.legacy06.legal_names import legal_names, text_of
from ngshare.db.legacy06.report import Report, quoted


@dataclass(frozen=True, slots=True)
class Roster:
    """The adopted users, courses and memberships.

    users: ids of users by their names in 0.6.
    names: new names of users by id.
    courses: new names of courses by id.
    members: pairs of a course id and a user id.
    """

    users: dict[str, int]
    names: dict[int, str]
    courses: dict[int, str]
    members: set[tuple[int, int]]


def adopt_people(database: sqlite3.Connection, report: Report, now: datetime) -> Roster:
    """Adopt users, courses and memberships."""
    users, names = _adopt_users(database, report)
    courses = _adopt_courses(database, report, now)
    return Roster(users, names, courses, _adopt_members(database, report, users))


def _adopt_users(
    database: sqlite3.Connection, report: Report
) -> tuple[dict[str, int], dict[int, str]]:
    known = [name for (name,) in database.execute("SELECT id FROM legacy_users ORDER BY rowid")]
    others = [
        name
        for (name,) in database.execute(
            "SELECT left_id FROM legacy_instructor_assoc_table "
            "UNION SELECT left_id FROM legacy_student_assoc_table "
            "UNION SELECT coalesce(student_id, '') FROM legacy_submissions "
            "EXCEPT SELECT id FROM legacy_users"
        )
    ]
    for name in others:
        report.odd(odd.NO_USER, quoted(name))
    ids = {name: number for number, name in enumerate([*known, *others], 1)}
    legal = legal_names(((number, text_of(name)) for name, number in ids.items()), "unknown")
    _report_renamed(report, "user", ((name, legal[number]) for name, number in ids.items()))
    database.executemany("INSERT INTO users (id, name) VALUES (?, ?)", legal.items())
    report.count("users", len(legal))
    return ids, legal


def _adopt_courses(database: sqlite3.Connection, report: Report, now: datetime) -> dict[int, str]:
    rows = database.execute("SELECT _id, coalesce(id, '') FROM legacy_courses ORDER BY _id")
    old = dict(rows.fetchall())
    legal = legal_names(((key, text_of(name)) for key, name in old.items()), "unnamed course")
    _report_renamed(report, "course", ((name, legal[key]) for key, name in old.items()))
    database.executemany(
        "INSERT INTO courses (id, name, created_at) VALUES (?, ?, ?)",
        ((key, name, now.strftime("%Y-%m-%d %H:%M:%S.%f")) for key, name in legal.items()),
    )
    report.count("courses", len(legal))
    return legal


def _adopt_members(
    database: sqlite3.Connection, report: Report, users: dict[str, int]
) -> set[tuple[int, int]]:
    members: set[tuple[int, int]] = set()
    # Instructors first: who is both stays one.
    for role in ("instructor", "student"):
        rows = database.execute(
            "SELECT c._id, a.left_id, a.right_id, a.first_name, a.last_name, a.email "
            f"FROM legacy_{role}_assoc_table a LEFT JOIN legacy_courses c ON c.id = a.right_id "
            "ORDER BY a.rowid"
        ).fetchall()
        for course_id, user, course, *person in rows:
            who = f"{quoted(user)} as {role} of {quoted(course)}, {person}"
            if course_id is None:
                report.odd(odd.NOWHERE, who)
            elif (course_id, users[user]) in members:
                report.odd(odd.BOTH_ROLES, who)
            else:
                members.add((course_id, users[user]))
                database.execute(
                    "INSERT INTO memberships "
                    "(course_id, user_id, role, first_name, last_name, email) "
                    "VALUES (?, ?, ?, ?, ?, ?)",
                    (course_id, users[user], role, *person),
                )
    report.count("memberships", len(members))
    return members


def _report_renamed(report: Report, what: str, pairs: Iterable[tuple[str, str]]) -> None:
    for old, new in pairs:
        if old != new:
            report.odd(odd.ILLEGAL_NAME, f"{what} {quoted(old)} is now {quoted(new)}")
