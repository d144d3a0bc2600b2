"""Rosters and lists of courses as CSV files, read and written.

A file is read whole or not at all: :class:`TableError` has one sentence for each fault in it.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass

from ngshare.exchange.commands.csv_table import Columns, TableError, escape_formula, read_table
from ngshare.protocol.names import CONTROL_CHARACTERS, MAX_NAME_LENGTH, SURROGATES
from ngshare.protocol.usernames import name_warnings

STUDENT_COLUMNS = Columns(
    {
        "student_id": {
            *("studentid", "username", "userid", "user", "login", "loginid", "loginname"),
            *("netid", "sisloginid", "uid", "benutzername", "anmeldename", "identifiant"),
        },
        "first_name": {"firstname", "first", "givenname", "forename", "vorname", "prenom"},
        "last_name": {"lastname", "last", "surname", "familyname", "nachname", "nomdefamille"},
        "email": {"email", "mail", "emailaddress", "emailadresse", "mailadresse", "courriel"},
    },
    substitute="id",  # of nbgrader's files; beside a better column it is another system's number
)

COURSE_COLUMNS = Columns(
    {
        "course": {"course", "courseid", "coursename", "kurs", "cours"},
        "instructors": {"instructors", "instructor", "teachers", "teacher", "dozenten"},
    }
)

_SCIENTIFIC = re.compile(r"[0-9](?:[.,][0-9]+)?[eE]\+[0-9]+")


@dataclass(frozen=True, slots=True)
class RosterEntry:
    """A member of a course. Names and address are None where they are not known or not given."""

    username: str
    first_name: str | None = None
    last_name: str | None = None
    email: str | None = None


@dataclass(frozen=True, slots=True)
class Roster:
    """The students of a roster file, and sentences about what was odd and yet accepted."""

    entries: list[RosterEntry]
    notes: list[str]


def parse_roster(content: bytes, encoding: str | None = None) -> Roster:
    """Return the students in the content of a CSV file. Raises TableError."""
    table = read_table(content, STUDENT_COLUMNS, encoding)
    entries: dict[str, tuple[int, RosterEntry]] = {}
    for line, cells in table.rows:
        if fault := _find_fault("student_id", cells):
            table.faults.append((line, f"line {line} {fault}"))
            continue
        username = cells.pop("student_id")
        entry = RosterEntry(username, **cells)
        first_line, earlier = entries.setdefault(username, (line, entry))
        if earlier != entry:
            fault = (
                f"line {line}: {username} is in line {first_line} already, with other names or "
                "another address"
            )
            table.faults.append((line, fault))
        elif first_line != line:
            table.notes.append(f"line {line}: {username} is in line {first_line} already")
        else:
            table.notes += [
                f'line {line}: "{username}" {warning}' for warning in name_warnings(username)
            ]
    table.raise_faults()
    if not entries:
        raise TableError("there is no student in the file")
    return Roster([entry for _, entry in entries.values()], table.notes)


def parse_courses(content: bytes, encoding: str | None = None) -> dict[str, list[str]]:
    """Return the courses in the content of a CSV file, each with its instructors.

    The instructors of a course are separated by blanks, commas or semicolons, and a course may
    have several lines. Raises TableError.
    """
    table = read_table(content, COURSE_COLUMNS, encoding)
    courses: dict[str, dict[str, None]] = {}
    for line, cells in table.rows:
        if fault := _find_fault("course", cells):
            table.faults.append((line, f"line {line} {fault}"))
            continue
        names = re.split(r"[\s,;]+", cells.get("instructors", ""))
        courses.setdefault(cells["course"], {}).update(dict.fromkeys(filter(None, names)))
    table.raise_faults()
    if not courses:
        raise TableError("there is no course in the file")
    return {course: list(instructors) for course, instructors in courses.items()}


def format_roster(people: Iterable[RosterEntry]) -> str:
    """Return a CSV file of members, with a header; :func:`parse_roster` reads it.

    An apostrophe precedes what a spreadsheet would read as a formula.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(STUDENT_COLUMNS.synonyms)
    for person in people:
        cells = (person.username, person.first_name, person.last_name, person.email)
        writer.writerow([escape_formula(cell or "") for cell in cells])
    return text.getvalue()


def _find_fault(column: str, cells: dict[str, str]) -> str | None:
    """Return what is wrong with a row, as words that follow its number; None when it is right.

    column: the one with a name of a user or a course.
    """
    name = cells[column]
    if not name:
        return f"has no {column}"
    for each, value in cells.items():
        if "\n" in value or "\r" in value:
            return f"has a line break in its {each}: is a quotation mark missing?"
        if CONTROL_CHARACTERS.search(value) or SURROGATES.search(value):
            return f"has a control character in its {each}"
    if "/" in name:
        return f"has a slash in its {column} {name}; ngshare allows none"
    if len(name) > MAX_NAME_LENGTH:
        return f"has a {column} of more than {MAX_NAME_LENGTH} characters"
    if _SCIENTIFIC.fullmatch(name):
        return (
            f"has the {column} {name}, which a spreadsheet made of a long number: format that "
            "column as text"
        )
    return None
