"""nbgrader's commands for students change the roster of the service, and ask it for courses."""

from __future__ import annotations

from typing import Any

import pytest
from nbgrader.auth import Authenticator
from nbgrader.exchange import ExchangeError
from traitlets.config import Config

from ngshare.exchange.plugin import base
from ngshare.exchange.plugin.auth import NgshareAuthPlugin
from tests.exchange.plugin.computers import COURSE, Computer, Site
from tests.exchange.plugin.teaching import course_directory, gradebook


def roster(site: Site, course: str = COURSE) -> dict[str, tuple[str, str, str]]:
    """Return first name, last name and email of each student of a course."""
    rows = site.service.call("GET", "students", course, user="root")["students"]
    return {row["username"]: (row["first_name"], row["last_name"], row["email"]) for row in rows}


def local(ada: Computer) -> list[str]:
    """Return the students in the gradebook."""
    with gradebook(ada) as book:
        return sorted(student.id for student in book.students)


def authenticator(ada: Computer) -> Any:
    """Return nbgrader's authenticator, as a Jupyter server has it."""
    config = Config()
    text = (ada.work / "nbgrader_config.py").read_text()
    exec(text, {"get_config": lambda: config})
    authenticator = Authenticator(config=config)
    assert isinstance(authenticator.plugin, NgshareAuthPlugin)
    return authenticator


def test_students_are_added_to_the_roster_and_removed_from_it(site: Site) -> None:
    site.backend.create_course(COURSE, "sam")
    ada = course_directory(site)
    ada.succeed("db", "student", "add", "tom", "--first-name=Tom")
    assert set(roster(site)) == {"sam", "tom"}
    assert local(ada) == ["tom"]
    ada.succeed("db", "student", "remove", "tom")
    assert set(roster(site)) == {"sam"}
    assert local(ada) == []


def test_a_student_of_the_roster_keeps_their_name(site: Site) -> None:
    site.backend.create_course(COURSE, "sam")
    fields = {"first_name": "Sam", "last_name": "Sun", "email": "sam@x"}
    site.service.call("POST", "student", COURSE, "sam", **fields)
    ada = course_directory(site)
    for _ in range(2):
        ada.succeed("db", "student", "add", "sam")
    assert roster(site) == {"sam": ("Sam", "Sun", "sam@x")}


def test_a_csv_file_of_students_is_imported(site: Site) -> None:
    site.backend.create_course(COURSE, "sam")
    ada = course_directory(site)
    ada.write("", {"students.csv": b"id,first_name\nsam,Sam\ntom,Tom\n"})
    ada.succeed("db", "student", "import", "students.csv")
    assert set(roster(site)) == {"sam", "tom"}
    assert local(ada) == ["sam", "tom"]


def test_the_only_course_that_one_teaches_is_taken(site: Site) -> None:
    site.backend.create_course(COURSE)
    ada = site.computer("ada")
    with gradebook(ada):
        pass
    ada.succeed("db", "student", "add", "tom")
    assert set(roster(site)) == {"tom"}


def test_a_refusal_leaves_the_gradebook_as_it_was(site: Site) -> None:
    site.backend.create_course(COURSE, "sam")
    sam = course_directory(site, user="sam")
    outcome = sam.run("db", "student", "add", "tom")
    assert outcome.code == 1
    assert [line for line in outcome.log if line.startswith("ERROR")] == ["ERROR Permission denied"]
    assert local(sam) == []
    assert set(roster(site)) == {"sam"}


def test_an_instructor_is_no_student(site: Site) -> None:
    site.backend.create_course(COURSE)
    ada = course_directory(site)
    outcome = ada.run("db", "student", "add", "ada")
    assert outcome.code == 1
    assert "ERROR Cannot add instructor as student" in outcome.log
    assert local(ada) == []


def test_without_the_service_neither_is_changed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "COMMAND_RETRY_SECONDS", 0)
    site.backend.create_course(COURSE, "sam")
    ada = course_directory(site, "c.Exchange.url = 'http://127.0.0.1:9/api'")
    for command in ("add", "remove"):
        with gradebook(ada) as book:
            book.update_or_create_student("sam")
        outcome = ada.run("db", "student", command, "sam")
        assert outcome.code == 1
        assert len([line for line in outcome.log if line.startswith("ERROR")]) == 1
        assert local(ada) == ["sam"]


def test_who_is_not_in_the_roster_is_removed_from_the_gradebook(site: Site) -> None:
    site.backend.create_course(COURSE)
    ada = course_directory(site)
    with gradebook(ada) as book:
        book.update_or_create_student("tom")
    ada.succeed("db", "student", "remove", "tom")
    assert local(ada) == []


def test_courses_are_those_of_the_service(site: Site) -> None:
    site.service.create_course("taken", "ada", "sam", instructors=("tom",))
    site.service.create_course("taught", "sam")
    site.service.create_course("of others", "sam", instructors=("tom",))
    ada = course_directory(site)
    with ada.active():
        plugin = authenticator(ada)
        assert plugin.get_student_courses("*") == ["taken", "taught"]
        assert plugin.get_student_courses("ada") == ["taken", "taught"]
        assert plugin.get_student_courses("sam") == ["taught"]
        assert plugin.has_access("*", "taken")
        assert not plugin.has_access("*", "of others")


def test_in_a_jupyter_server_a_failure_is_nbgrader_s_error(site: Site) -> None:
    site.backend.create_course(COURSE, "sam")
    sam = course_directory(site, user="sam")
    with sam.active(), pytest.raises(ExchangeError, match="Permission denied"):
        authenticator(sam).add_student_to_course("tom", COURSE)
