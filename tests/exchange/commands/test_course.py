"""``ngshare course``, against a running service."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nbgrader.api import Gradebook

from ngshare.exchange.commands.course import main
from tests.exchange.running_service import RunningService

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")  # nbgrader's own
AsUser = Callable[[str], None]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def course(as_user: AsUser, service: RunningService) -> None:
    """The course ``physics``, taught by ada, with the student sam."""
    service.create_course("physics")
    fields = {"first_name": "Sam", "last_name": "Sun", "email": "sam@example.edu"}
    service.call("POST", "student", "physics", "sam", **fields)
    as_user("ada")


@pytest.fixture(autouse=True)
def no_alembic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nbgrader create a gradebook without the program ``alembic``, which takes seconds."""
    monkeypatch.setattr("nbgrader.api.get_alembic_version", lambda: "0")


def students(service: RunningService) -> dict[str, tuple[str, str, str]]:
    people: list[dict[str, Any]] = service.call("GET", "students", "physics")["students"]
    return {
        each["username"]: (each["first_name"], each["last_name"], each["email"]) for each in people
    }


SAM = ("Sam", "Sun", "sam@example.edu")


def in_gradebook(folder: Path) -> dict[str, tuple[str | None, ...]]:
    with Gradebook(f"sqlite:///{folder}/gradebook.db", "physics") as gradebook:
        return {
            each.id: (each.first_name, each.last_name, each.email) for each in gradebook.students
        }


def grade(folder: Path, student: str) -> None:
    """Give a student a grade in the gradebook."""
    with Gradebook(f"sqlite:///{folder}/gradebook.db", "physics") as gradebook:
        gradebook.update_or_create_student(student)
        gradebook.update_or_create_assignment("ps1")
        gradebook.add_submission("ps1", student)


def test_create(as_user: AsUser, service: RunningService, capsys: Capture) -> None:
    as_user("root")
    assert main(["create", "Ökonomie II", "ada", "Bob"]) == 0
    printed, noted = capsys.readouterr()
    assert printed == "Created the course Ökonomie II, taught by ada, Bob.\n"
    assert noted.startswith('"Bob" has capitals')
    assert main(["create", "physics"]) == 1
    assert capsys.readouterr().err == "ngshare: Course already exists\n"
    as_user("ada")
    assert main(["create", "mine"]) == 1
    assert "Permission denied" in capsys.readouterr().err


def test_create_many(as_user: AsUser, folder: Path, capsys: Capture) -> None:
    (folder / "courses.csv").write_text("course;instructors\nmaths;eve\nphysics;ada\nart;\n")
    as_user("root")
    assert main(["create-many", "courses.csv"]) == 1
    printed, error = capsys.readouterr()
    assert printed == "Created the course maths, taught by eve.\nCreated the course art.\n"
    assert error == "ngshare: physics: Course already exists\n"
    as_user("eve")
    assert main(["list"]) == 0
    assert capsys.readouterr().out == "maths  instructor\n"


def test_list_and_show(as_user: AsUser, service: RunningService, capsys: Capture) -> None:
    as_user("root")
    assert main(["list"]) == 0
    assert capsys.readouterr().out == "physics  admin\n"
    as_user("ada")
    service.release("physics", "ps1", {"a.ipynb": b"{}"})
    assert main(["list"]) == 0
    assert capsys.readouterr().out == "physics  instructor\n"
    assert main(["show", "physics"]) == 0
    shown = capsys.readouterr().out
    assert "1 instructors\n  ada\n1 students\n  sam  Sam Sun  <sam@example.edu>\n" in shown
    assert "1 assignments\n  ps1  released 2" in shown
    assert shown.endswith("  submitted by 0\n")
    as_user("sam")
    assert main(["list"]) == 0
    assert capsys.readouterr().out == "physics  student\n"
    assert main(["show", "physics"]) == 1
    assert "Permission denied" in capsys.readouterr().err
    as_user("eve")
    assert main(["list"]) == 0
    printed, noted = capsys.readouterr()
    assert printed == ""
    assert noted.startswith("You are in no course.")


def test_instructors(as_user: AsUser, service: RunningService, capsys: Capture) -> None:
    as_user("root")
    assert main(["add-instructor", "physics", "bob", "-f", "Bob", "-e", "b@x"]) == 0
    assert main(["add-instructor", "physics", "bob", "--last_name", "Bee"]) == 0
    bob = {"first_name": "Bob", "last_name": "Bee", "email": "b@x", "username": "bob"}
    people = service.call("GET", "instructors", "physics")["instructors"]
    assert bob in people
    assert main(["remove-instructor", "physics", "bob"]) == 0
    assert bob not in service.call("GET", "instructors", "physics")["instructors"]
    assert main(["remove-instructor", "physics", "bob"]) == 1
    assert capsys.readouterr().err == "ngshare: Instructor not found\n"


def test_add_student(service: RunningService, folder: Path) -> None:
    assert main(["add-student", "physics", "zoe", "-f", "Zoë"]) == 0
    assert main(["add-student", "physics", "sam", "-l", "Moon"]) == 0
    assert students(service) == {
        "zoe": ("Zoë", "", ""),
        "sam": ("Sam", "Moon", "sam@example.edu"),
    }
    assert in_gradebook(folder) == {
        "zoe": ("Zoë", None, None),
        "sam": ("Sam", "Moon", "sam@example.edu"),
    }


def test_add_student_not_to_the_gradebook(service: RunningService, folder: Path) -> None:
    assert main(["add-student", "physics", "zoe", "--no-gb"]) == 0
    assert "zoe" in students(service)
    assert not (folder / "gradebook.db").exists()


def test_the_gradebook_is_the_one_that_nbgrader_uses(folder: Path) -> None:
    other = folder / "other"
    other.mkdir()
    (folder / "nbgrader_config.py").write_text(
        f"c = get_config()\nc.CourseDirectory.root = {str(other)!r}\n"
    )
    assert main(["add-student", "physics", "zoe"]) == 0
    assert list(in_gradebook(other)) == ["zoe"]
    assert not (folder / "gradebook.db").exists()


def test_the_gradebook_of_another_course_is_left_alone(folder: Path, capsys: Capture) -> None:
    (folder / "nbgrader_config.py").write_text("get_config().CourseDirectory.course_id = 'maths'\n")
    assert main(["add-student", "physics", "zoe"]) == 0
    assert "The gradebook here is that of the course maths" in capsys.readouterr().err
    assert not (folder / "gradebook.db").exists()


def test_a_gradebook_that_cannot_be_changed(
    service: RunningService, folder: Path, capsys: Capture
) -> None:
    (folder / "gradebook.db").write_text("this is no database, but a text of some length")
    assert main(["add-student", "physics", "zoe"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"ngshare: the gradebook sqlite:///{folder}/gradebook.db cannot be")
    assert error.count("\n") == 1
    assert "zoe" in students(service)


def test_import(service: RunningService, folder: Path, capsys: Capture) -> None:
    text = "Username;Vorname;Nachname\nsam;Sam;Moon\nzoe;Zoë;Groß\n"
    (folder / "students.csv").write_bytes(text.encode("cp1252"))
    assert main(["add-students", "physics", "students.csv"]) == 0
    printed, noted = capsys.readouterr()
    assert printed == "1 added, 1 changed, 0 unchanged, 0 not in the file\n"
    assert "read as Windows-1252" in noted
    expected = {"sam": ("Sam", "Moon", "sam@example.edu"), "zoe": ("Zoë", "Groß", "")}
    assert students(service) == expected
    assert set(in_gradebook(folder)) == {"sam", "zoe"}
    assert main(["add-students", "physics", "students.csv"]) == 0
    assert capsys.readouterr().out == "0 added, 0 changed, 2 unchanged, 0 not in the file\n"
    assert service.requests.count("POST /api/students/physics") == 1


def test_dry_run_of_an_import(service: RunningService, folder: Path, capsys: Capture) -> None:
    fields = {"first_name": "Old", "last_name": "", "email": ""}
    service.call("POST", "student", "physics", "old", **fields)
    (folder / "students.csv").write_text(
        "student_id,first_name,last_name,email\nsam,Sam,Moon,\nzoe,Zoë,,z@x\nada,Ada,,\n"
    )
    before = students(service)
    assert main(["add-students", "physics", "students.csv", "--dry-run"]) == 1
    printed, error = capsys.readouterr()
    assert printed == (
        "added      zoe  Zoë  <z@x>\n"
        "changed    sam  Sam Sun  <sam@example.edu>  ->  sam  Sam Moon\n"
        "not in the file  old, who stays a student\n"
        "1 added, 1 changed, 0 unchanged, 1 not in the file\n"
        "Nothing was changed: this was a dry run.\n"
    )
    assert error == (
        "ngshare: ada is an instructor of physics, who cannot be its student as well\n"
    )
    assert students(service) == before
    assert not (folder / "gradebook.db").exists()


def test_nothing_is_sent_of_a_bad_file(
    service: RunningService, folder: Path, capsys: Capture
) -> None:
    (folder / "students.csv").write_text("student_id,email\nzoe,z@x\n,y@x\na/b,\n")
    assert main(["add-students", "physics", "students.csv"]) == 1
    assert capsys.readouterr().err == (
        "ngshare: line 3 has no student_id\n"
        "ngshare: line 4 has a slash in its student_id a/b; ngshare allows none\n"
    )
    assert not [each for each in service.requests if "students" in each]


def test_instructors_in_a_file_are_left_out(
    service: RunningService, folder: Path, capsys: Capture
) -> None:
    (folder / "students.csv").write_text("student_id\nada\nzoe\n")
    assert main(["add-students", "physics", "students.csv"]) == 1
    assert "ada is an instructor of physics" in capsys.readouterr().err
    assert set(students(service)) == {"sam", "zoe"}
    assert list(in_gradebook(folder)) == ["zoe"]


def test_remove_students(service: RunningService, folder: Path, capsys: Capture) -> None:
    assert main(["add-student", "physics", "zoe"]) == 0
    capsys.readouterr()
    assert main(["remove-students", "physics", "zoe", "eve", "sam"]) == 1
    printed, error = capsys.readouterr()
    assert printed == (
        "zoe is no longer a student of physics.\nsam is no longer a student of physics.\n"
    )
    assert error == "ngshare: eve: Student not found\n"
    assert students(service) == {}
    assert in_gradebook(folder) == {}


def test_students_with_grades_stay_in_the_gradebook(
    service: RunningService, folder: Path, capsys: Capture
) -> None:
    grade(folder, "sam")
    assert main(["remove-students", "physics", "sam"]) == 1
    assert capsys.readouterr().err == (
        "ngshare: sam has grades in the gradebook and stays there; --force removes both\n"
    )
    assert students(service) == {}
    assert list(in_gradebook(folder)) == ["sam"]
    assert main(["remove-students", "physics", "sam", "--force"]) == 1  # no student any more
    assert in_gradebook(folder) == {}


def test_students_stay_in_the_gradebook_with_no_gb(service: RunningService, folder: Path) -> None:
    grade(folder, "sam")
    assert main(["remove-students", "physics", "sam", "--no-gb"]) == 0
    assert students(service) == {}
    assert list(in_gradebook(folder)) == ["sam"]


def test_a_wrong_course_removes_nobody_from_the_gradebook(folder: Path, capsys: Capture) -> None:
    grade(folder, "sam")
    assert main(["remove-students", "chemistry", "sam", "--force"]) == 1
    assert capsys.readouterr().err == "ngshare: sam: Course not found\n"
    assert list(in_gradebook(folder)) == ["sam"]


@pytest.mark.parametrize("name", ["x;touch y", "$(touch y)", "`touch y`", "x\ntouch y", "--help"])
def test_no_name_reaches_a_shell(service: RunningService, folder: Path, name: str) -> None:
    assert main(["remove-students", "physics", "--", name]) == 1
    assert main(["add-student", "physics", "--", name]) == (1 if "\n" in name else 0)
    assert {each.name for each in folder.iterdir()} <= {"gradebook.db"}


def test_rename(service: RunningService, capsys: Capture) -> None:
    assert main(["rename", "physics", "sam", "--last-name", "Moon", "-e", ""]) == 0
    assert students(service) == {"sam": ("Sam", "Moon", "")}
    assert main(["rename", "physics", "ada", "-f", "Ada"]) == 0
    [ada] = service.call("GET", "instructors", "physics")["instructors"]
    assert ada["first_name"] == "Ada"
    capsys.readouterr()
    assert main(["rename", "physics", "eve", "-f", "Eve"]) == 1
    assert main(["rename", "physics", "sam"]) == 1
    assert capsys.readouterr().err == (
        "ngshare: eve is neither an instructor nor a student of physics\n"
        "ngshare: say what to change: --first-name, --last-name or --email\n"
    )


def test_export_is_what_an_import_reads(folder: Path, capsys: Capture) -> None:
    assert main(["add-student", "physics", "zoe", "-f", "Zoë", "-l", "a, b", "--no-gb"]) == 0
    capsys.readouterr()
    assert main(["export", "physics"]) == 0
    assert capsys.readouterr().out == (
        'student_id,first_name,last_name,email\nsam,Sam,Sun,sam@example.edu\nzoe,Zoë,"a, b",\n'
    )
    assert main(["export", "physics", "--output", "s.csv"]) == 0
    assert (folder / "s.csv").read_bytes().startswith(b"\xef\xbb\xbfstudent_id")
    assert main(["add-students", "physics", "s.csv", "--no-gb"]) == 0
    assert "0 added, 0 changed, 2 unchanged" in capsys.readouterr().out
    assert main(["export", "physics", "--output", "s.csv"]) == 1
    assert capsys.readouterr().err == "ngshare: s.csv cannot be written: File exists\n"


def test_a_service_that_is_not_there(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    assert main(["list", "--url", "http://127.0.0.1:9/api"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("ngshare: ")
    assert error.count("\n") == 1


def test_address_of_the_configuration(
    service: RunningService, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("NGSHARE_URL", "http://127.0.0.1:9/api")
    (folder / "nbgrader_config.py").write_text(f"get_config().Exchange.url = {service.url!r}\n")
    assert main(["list"]) == 0
    assert capsys.readouterr().out == "physics  instructor\n"
