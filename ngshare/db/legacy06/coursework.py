"""Adopt assignments, submissions and feedback, with their trees."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from ngshare.db.legacy06 import report as odd
from ngshare.db.legacy06.directories import LegacyTrees, Trees, report_nowhere
from ngshare.db.legacy06.legal_names import free_name, legal_names, parse_time, text_of
from ngshare.db.legacy06.people import Roster
from ngshare.db.legacy06.report import Report, quoted

LOST_AND_FOUND = "lost and found"
"""The name of a course without members, and of its assignment, for orphaned records."""

_NEVER = datetime(1970, 1, 1, tzinfo=timezone.utc)
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Assignment:
    """An adopted assignment."""

    id: int
    course_id: int
    name: str


def adopt_work(database: sqlite3.Connection, report: Report, roster: Roster, now: datetime) -> None:
    """Adopt assignments, submissions and feedback, with their trees."""
    Work(database, report, roster, now).adopt()


class Work:
    """Adopts the assignments, submissions and feedback of all courses. For a single use."""

    def __init__(
        self, database: sqlite3.Connection, report: Report, roster: Roster, now: datetime
    ) -> None:
        self.database = database
        self.report = report
        self.roster = roster
        self.now = now
        self.trees = Trees(database, report)
        self.assignments: dict[int, Assignment] = {}
        self._lost_course: int | None = None
        self._lost_assignment: int | None = None

    def adopt(self) -> None:
        self._adopt_assignments()
        self._adopt_submissions()
        self._set_dates()
        self.trees.close()
        report_nowhere(self.database, self.report)

    def _adopt_assignments(self) -> None:
        rows = self.database.execute(
            "SELECT _id, course_id, coalesce(id, '') FROM legacy_assignments ORDER BY _id"
        ).fetchall()
        by_course: dict[int, list[tuple[int, str]]] = {}
        for number, course_id, raw in rows:
            name = text_of(raw)
            if course_id not in self.roster.courses:
                self.report.odd(odd.LOST_COURSE, f"{quoted(name)} of course number {course_id}")
                course_id = self._course_of_the_lost()
            by_course.setdefault(course_id, []).append((number, name))
        for course_id, named in by_course.items():
            legal = legal_names(named, "unnamed assignment")
            for number, name in named:
                self._report_name(course_id, name, legal[number])
                self.assignments[number] = Assignment(number, course_id, legal[number])
        legacy = LegacyTrees(self.database, "assignment")
        for number in sorted(self.assignments):
            found = self.assignments[number]
            self._add_assignment(found, legacy.of(number))
        self.report.count("assignments", len(self.assignments))

    def _report_name(self, course_id: int, old: str, new: str) -> None:
        if old == new:
            return
        kind = odd.SAME_NAME if new.startswith(f"{old} (") else odd.ILLEGAL_NAME
        course = quoted(self.roster.courses[course_id])
        self.report.odd(kind, f"{course}: {quoted(old)} is now {quoted(new)}")

    def _add_assignment(self, found: Assignment, files: Sequence[Any]) -> None:
        where = f"{quoted(self.roster.courses[found.course_id])}, {quoted(found.name)}"
        self.database.execute(
            "INSERT INTO assignments (id, course_id, name, tree_id, released_at) "
            "VALUES (?, ?, ?, ?, ?)",
            (
                found.id,
                found.course_id,
                found.name,
                self.trees.add(found.course_id, files, where),
                _text(self.now),
            ),
        )

    def _adopt_submissions(self) -> None:
        rows = self.database.execute(
            "SELECT _id, assignment_id, timestamp, coalesce(student_id, '') "
            "FROM legacy_submissions ORDER BY _id"
        ).fetchall()
        if any(assignment_id not in self.assignments for _, assignment_id, _, _ in rows):
            self._assignment_of_the_lost()
        moments = self._moments(rows)
        submitted, feedback = (
            LegacyTrees(self.database, kind) for kind in ("submission", "feedback")
        )
        removed: dict[tuple[int, str], int] = {}
        given = 0
        for (number, assignment_id, _, user), moment in zip(rows, moments, strict=True):
            found = self._assignment(assignment_id)
            user_id = self.roster.users[user]
            name, course = self.roster.names[user_id], self.roster.courses[found.course_id]
            where = f"{quoted(course)}, {quoted(found.name)}, {quoted(name)}, {_text(moment)}"
            if found.id != assignment_id:
                self.report.odd(odd.LOST_ASSIGNMENT, where)
            elif (found.course_id, user_id) not in self.roster.members:
                removed[found.course_id, name] = removed.get((found.course_id, name), 0) + 1
            tree_id = self.trees.add(found.course_id, submitted.of(number), where)
            files = feedback.of(number)
            feedback_id = None
            if files:
                given += 1
                feedback_id = self.trees.add(found.course_id, files, f"feedback on {where}")
            self.database.execute(
                "INSERT INTO submissions "
                "(id, assignment_id, student_id, submitted_at, tree_id, feedback_tree_id) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (number, found.id, user_id, _text(moment), tree_id, feedback_id),
            )
        for (course_id, name), handed in removed.items():
            course = quoted(self.roster.courses[course_id])
            self.report.odd(odd.REMOVED, f"{course}: {quoted(name)}, {handed} submission(s)")
        self.report.count("submissions", len(rows))
        self.report.count("with feedback", given)

    def _moments(self, rows: Sequence[Any]) -> Iterator[datetime]:
        """Yield the time of each submission, as recorded or, to be valid and unique, changed."""
        times = []
        for number, assignment_id, raw, user in rows:
            moment = parse_time(text_of(raw))
            if moment is None:
                self.report.odd(odd.NO_TIME, f"number {number} of {quoted(user)}: {quoted(raw)}")
                moment = _NEVER
            times.append((moment, user, self._assignment(assignment_id).id))
        taken = set(times)
        seen: set[tuple[datetime, str, int]] = set()
        for moment, user, assignment_id in times:
            free = moment
            if (moment, user, assignment_id) in seen:
                while (free, user, assignment_id) in taken:
                    free += _TICK
                taken.add((free, user, assignment_id))
                self.report.odd(
                    odd.SAME_TIME, f"{quoted(user)}: {_text(moment)} is now {_text(free)}"
                )
            seen.add((moment, user, assignment_id))
            yield free

    def _assignment(self, number: int | None) -> Assignment:
        found = None if number is None else self.assignments.get(number)
        if found is not None:
            return found
        assert self._lost_assignment is not None, "made before anything is put into it"
        return self.assignments[self._lost_assignment]

    def _set_dates(self) -> None:
        """Set the times of courses and assignments, which 0.6 did not store.

        They get the time of the course's first submission. Assignments of one course get the same
        time, which keeps their order.
        """
        self.database.execute(
            "UPDATE courses SET created_at = coalesce((SELECT min(s.submitted_at) "
            "FROM submissions s JOIN assignments a ON a.id = s.assignment_id "
            "WHERE a.course_id = courses.id AND s.submitted_at >= '1971'), created_at)"
        )
        self.database.execute(
            "UPDATE assignments SET released_at = "
            "(SELECT created_at FROM courses WHERE courses.id = assignments.course_id)"
        )

    def _course_of_the_lost(self) -> int:
        if self._lost_course is None:
            name = free_name(LOST_AND_FOUND, set(self.roster.courses.values()))
            self._lost_course = max(self.roster.courses, default=0) + 1
            self.roster.courses[self._lost_course] = name
            self.database.execute(
                "INSERT INTO courses (id, name, created_at) VALUES (?, ?, ?)",
                (self._lost_course, name, _text(self.now)),
            )
        return self._lost_course

    def _assignment_of_the_lost(self) -> None:
        course_id = self._course_of_the_lost()
        taken = {one.name for one in self.assignments.values() if one.course_id == course_id}
        found = Assignment(
            max(self.assignments, default=0) + 1, course_id, free_name(LOST_AND_FOUND, taken)
        )
        self.assignments[found.id] = found
        self._lost_assignment = found.id
        self._add_assignment(found, [])


def _text(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f").rjust(26, "0")
