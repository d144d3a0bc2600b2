"""The students' folders in an instructor's course directory, by nbgrader's ``directory_structure``.

nbgrader looks for them with globs and regular expressions, in which it does not escape the name of
the assignment. Here names are compared as they are; only ``CourseDirectory.student_id`` is a glob,
as nbgrader documents it.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from nbgrader.coursedir import CourseDirectory
from nbgrader.utils import parse_utc

from ngshare.errors import BadRequest
from ngshare.protocol.times import parse_time

TIMESTAMP_FILE = "timestamp.txt"
"""The file with the time of a submission, which nbgrader copies from step to step."""

_STUDENT = "\0"
"""Stands for the student's name in a path, since no path contains it."""


def matches_student(coursedir: CourseDirectory, student: str) -> bool:
    """Return True if the option ``--student`` selects this student.

    A name that contains ``*``, ``?`` or brackets selects the student of exactly this name, too.
    """
    pattern = coursedir.student_id or "*"
    return student == pattern or fnmatch.fnmatchcase(student, pattern)


def excluded_students(coursedir: CourseDirectory) -> set[str]:
    """Return the students that ``CourseDirectory.student_id_exclude`` names."""
    return set(filter(None, coursedir.student_id_exclude.split(",")))


def student_folder(coursedir: CourseDirectory, step: str, student: str, assignment: str) -> Path:
    """Return the folder of a student's assignment in a step of grading, such as "submitted"."""
    return Path(coursedir.format_path(step, student, assignment))


def students_parent(coursedir: CourseDirectory, step: str, assignment: str) -> Path:
    """Return the folder that has those of the students, in a step of grading."""
    before = coursedir.format_path(step, _STUDENT, assignment).partition(_STUDENT)[0]
    return Path(os.path.split(before)[0])


def student_folders(
    coursedir: CourseDirectory, step: str, assignment: str
) -> Iterator[tuple[str, Path]]:
    """Yield the students, sorted, that have a folder in a step of grading, each with the folder.

    Names that begin with a dot are left out, as by nbgrader.
    """
    template = coursedir.format_path(step, _STUDENT, assignment)
    before, separator, after = template.partition(_STUDENT)
    if not separator:  # the directory structure has no students
        return
    prefix = os.path.split(before)[1]
    suffix = after.partition("/")[0].partition(_STUDENT)[0]
    try:
        folders = students_parent(coursedir, step, assignment).iterdir()
        names = sorted(path.name for path in folders)
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        if name.startswith(".") or not (name.startswith(prefix) and name.endswith(suffix)):
            continue
        student = name[len(prefix) : len(name) - len(suffix)]
        if student and (folder := student_folder(coursedir, step, student, assignment)).is_dir():
            yield student, folder


def submission_time(folder: Path) -> datetime | None:
    """Return the time (UTC) of the submission in ``folder``; None if it is missing or malformed.

    Raises OSError when the file cannot be read.
    """
    try:
        text = (folder / TIMESTAMP_FILE).read_text().strip()
    except (FileNotFoundError, IsADirectoryError, UnicodeError):
        return None
    with contextlib.suppress(BadRequest):
        return parse_time(text)
    with contextlib.suppress(ValueError, OverflowError):  # another Exchange.timestamp_format
        return parse_utc(text).replace(tzinfo=timezone.utc) if text else None
    return None
