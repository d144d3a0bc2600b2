"""A whole assignment, stand-alone: the same notebooks and feedback as with nbgrader's exchange."""

from __future__ import annotations

import os
import re
import signal
import sys
import warnings

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, writes

from tests.exchange.conftest import Compare
from tests.exchange.plugin.computers import COURSE, Computer, Files, Site
from tests.exchange.plugin.teaching import ASSIGNMENT, course_directory

_EXECUTED = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z")

STUDENTS = ("sam", "tom o'hara")

_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6} UTC")


def metadata(grade_id: str, *, solution: bool, points: int | None = None) -> dict[str, object]:
    fields: dict[str, object] = {
        "grade_id": grade_id,
        "schema_version": 3,
        "solution": solution,
        "grade": points is not None,
        "locked": points is not None,
        "task": False,
    }
    if points is not None:
        fields["points"] = points
    return {"nbgrader": fields}


def source() -> Files:
    """Return the instructor's version of an assignment: one function to write, and its test."""
    solution = "def double(x):\n    ### BEGIN SOLUTION\n    return 2 * x\n    ### END SOLUTION\n"
    notebook = new_notebook(
        cells=[
            new_markdown_cell("# Doubles", id="title"),
            new_code_cell(solution, id="double", metadata=metadata("double", solution=True)),
            new_code_cell(
                "assert double(2) == int(open('data/four.txt').read())",
                id="test",
                metadata=metadata("test", solution=False, points=3),
            ),
        ],
        metadata={"kernelspec": {"name": "python3", "display_name": "P", "language": "python"}},
    )
    return {"p1.ipynb": writes(notebook).encode(), "data/four.txt": b"4\n"}


def in_process(computer: Computer, *arguments: str) -> None:
    """Run a command that executes notebooks in a process of its own, forked from this one."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        signal.alarm(240)
        warnings.simplefilter("ignore")
        code = 1
        try:
            code = computer.run(*arguments).code
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, arguments


def work(site: Site) -> dict[str, Files]:
    """Release, solve, submit, grade and return an assignment. Return the files of all."""
    site.backend.create_course(COURSE, *STUDENTS)
    ada = course_directory(site)
    ada.write(f"source/{ASSIGNMENT}", source())
    in_process(ada, "generate_assignment", ASSIGNMENT)
    ada.succeed("release_assignment", ASSIGNMENT)
    students = [site.computer(student) for student in STUDENTS]
    for number, student in enumerate(students):
        student.configure(f"c.CourseDirectory.course_id = {COURSE!r}")
        student.succeed("fetch_assignment", ASSIGNMENT)
        path = student.work / ASSIGNMENT / "p1.ipynb"
        notebook = path.read_text()
        assert "return 2 * x" not in notebook
        path.write_text(notebook.replace("raise NotImplementedError()", f"return {number + 2} * x"))
        student.succeed("submit", ASSIGNMENT)
    ada.succeed("collect", ASSIGNMENT)
    in_process(ada, "autograde", ASSIGNMENT)
    in_process(ada, "generate_feedback", ASSIGNMENT)
    ada.succeed("release_feedback", ASSIGNMENT)
    for student in students:
        student.succeed("fetch_feedback", ASSIGNMENT)
    everything = {student.user: student.files() for student in students}
    everything["ada"] = ada.files()
    return {user: comparable(files) for user, files in everything.items()}


def comparable(files: Files) -> Files:
    """Return the notebooks and pages; those of submissions, and of executions, lose their times."""
    return {
        _TIME.sub("TIME", path): _EXECUTED.sub(b"TIME", data)
        for path, data in files.items()
        if path.endswith((".ipynb", ".html", ".txt"))
        and not path.endswith(("timestamp.txt", "submission_secret.txt"))
    }


def test_the_files_are_those_of_nbgrader_s_own_exchange(same: Compare) -> None:
    files = same(work)
    for student in STUDENTS:
        assert set(files[student]) == {
            "ps1/p1.ipynb",
            "ps1/data/four.txt",
            "ps1/feedback/TIME/p1.html",
        }
    good, bad = (files[student]["ps1/feedback/TIME/p1.html"] for student in STUDENTS)
    assert b"(Score: 3.0 / 3.0)" in good
    assert b"(Score: 0.0 / 3.0)" in bad
