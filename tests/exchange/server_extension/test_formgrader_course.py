"""The folder of the course that formgrader works on."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ngshare.exchange.server_extension.formgrader_course import course_folder


def write_gradebook(folder: Path, course: str) -> None:
    with sqlite3.connect(folder / "gradebook.db") as db:
        db.execute("CREATE TABLE course (id TEXT)")
        db.execute("INSERT INTO course VALUES (?)", (course,))
    db.close()


def test_a_new_course_has_the_folder_of_its_name(tmp_path: Path) -> None:
    assert course_folder(tmp_path, "physics", ["physics"]) == tmp_path / "physics"


def test_an_instructor_of_one_course_keeps_a_folder_with_assignments(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    assert course_folder(tmp_path, "physics", ["physics"]) == tmp_path


def test_a_second_course_does_not_take_the_first_ones_gradebook(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    write_gradebook(tmp_path, "physics")
    taught = ["maths", "physics"]
    assert course_folder(tmp_path, "physics", taught) == tmp_path
    assert course_folder(tmp_path, "maths", taught) == tmp_path / "maths"


def test_a_broken_gradebook_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "gradebook.db").write_bytes(b"not a database" * 100)
    assert course_folder(tmp_path, "physics", ["physics"]) == tmp_path / "physics"
    assert (tmp_path / "gradebook.db").read_bytes() == b"not a database" * 100
