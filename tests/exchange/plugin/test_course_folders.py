"""The students' folders in a course directory, found without globs and regular expressions."""

from __future__ import annotations

from pathlib import Path

import pytest
from nbgrader.coursedir import CourseDirectory

from ngshare.exchange.plugin.course_folders import (
    excluded_students,
    matches_student,
    student_folders,
    submission_time,
)
from ngshare.protocol.times import format_time

UNUSUAL = ["+", "a b", "a[b]", "x*y?", "(z)", "{w}", "50%", "o'hara", "ü", "u\u0308", "back\\slash"]


def found(root: Path, structure: str, assignment: str) -> list[str]:
    coursedir = CourseDirectory(root=str(root), directory_structure=structure)
    folders = list(student_folders(coursedir, "feedback", assignment))
    for student, folder in folders:
        assert folder == Path(coursedir.format_path("feedback", student, assignment))
    return [student for student, _ in folders]


@pytest.mark.parametrize(
    "structure",
    [
        "{nbgrader_step}/{student_id}/{assignment_id}",
        "{nbgrader_step}/{assignment_id}/{student_id}",
        "{nbgrader_step}/all/of-{student_id}.d/{assignment_id}",
        "[x]/{student_id}/{nbgrader_step}-{assignment_id}-{student_id}",
    ],
)
@pytest.mark.parametrize("assignment", ["ps1", "a [b] (c)*?", "ps\\1"])
def test_finds_students_of_any_name_in_any_layout(
    tmp_path: Path, structure: str, assignment: str
) -> None:
    for student in UNUSUAL:
        path = structure.format(
            nbgrader_step="feedback", student_id=student, assignment_id=assignment
        )
        (tmp_path / path).mkdir(parents=True)
    assert found(tmp_path, structure, assignment) == sorted(UNUSUAL)
    assert found(tmp_path, structure, "other") == []


def test_leaves_out_files_and_hidden_folders(tmp_path: Path) -> None:
    (tmp_path / "feedback" / ".hidden" / "ps1").mkdir(parents=True)
    (tmp_path / "feedback" / "sam").mkdir()
    (tmp_path / "feedback" / "sam" / "ps1").write_text("")
    (tmp_path / "feedback" / "notes.txt").write_text("")
    structure = "{nbgrader_step}/{student_id}/{assignment_id}"
    assert found(tmp_path, structure, "ps1") == []
    assert found(tmp_path, "{nbgrader_step}/{assignment_id}", "ps1") == []
    assert found(tmp_path / "nowhere", structure, "ps1") == []


@pytest.mark.parametrize(
    ("pattern", "student", "expected"),
    [
        ("*", "sam", True),
        ("", "sam", True),
        ("sam", "sam", True),
        ("sam", "samuel", False),
        ("s*", "samuel", True),
        ("a[b]", "a[b]", True),
        ("a[b]", "ab", True),
        ("SAM", "sam", False),
    ],
)
def test_selects_students_by_glob_or_exact_name(pattern: str, student: str, expected: bool) -> None:
    assert matches_student(CourseDirectory(student_id=pattern), student) is expected


def test_excludes_a_list_of_students() -> None:
    assert excluded_students(CourseDirectory(student_id_exclude="sam,tom")) == {"sam", "tom"}
    assert excluded_students(CourseDirectory()) == set()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-28 12:00:00.000001 UTC\n", "2026-11-28 12:00:00.000001 UTC"),
        ("2026-11-28 12:00:00 +0200", "2026-11-28 10:00:00.000000 UTC"),
        ("2026-11-28 12:00:00.5 America/Los_Angeles", "2026-11-28 20:00:00.500000 UTC"),
        ("2026-11-28T12:00:00", "2026-11-28 12:00:00.000000 UTC"),
        ("", None),
        ("yesterday", None),
    ],
)
def test_reads_the_time_of_a_submission(tmp_path: Path, text: str, expected: str | None) -> None:
    (tmp_path / "timestamp.txt").write_text(text)
    time = submission_time(tmp_path)
    assert (time and format_time(time)) == expected


def test_a_folder_or_no_file_is_no_time(tmp_path: Path) -> None:
    assert submission_time(tmp_path) is None
    (tmp_path / "timestamp.txt").mkdir()
    assert submission_time(tmp_path) is None
    (tmp_path / "timestamp.txt").rmdir()
    (tmp_path / "timestamp.txt").write_bytes(b"\xff\xfe")
    assert submission_time(tmp_path) is None
