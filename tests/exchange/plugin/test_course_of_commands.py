"""The course that instructors' commands and formgrader work on, with a real service."""

from __future__ import annotations

import pytest
from nbgrader.apps.api import NbGraderAPI
from nbgrader.coursedir import CourseDirectory
from traitlets.config import Config

from ngshare.exchange.plugin.course_choice import remember_course
from tests.exchange.plugin.computers import COURSE, NOTEBOOK, Computer, Site

FILES = {"p1.ipynb": NOTEBOOK}


def teacher(site: Site, *settings: str) -> Computer:
    ada = site.computer("ada")
    ada.configure(*settings)
    ada.write("release/ps1", FILES)
    ada.write("source/ps1", FILES)
    return ada


def released(site: Site, course: str) -> list[str]:
    reply = site.service.call("GET", "assignments", course, user="root")
    return list(reply["assignments"])


@pytest.mark.parametrize("setting", ["''", "'*'"])
def test_the_only_course_that_one_teaches_is_taken(site: Site, setting: str) -> None:
    site.backend.create_course(COURSE, "sam")
    site.service.create_course("other", "ada", instructors=("tom",))
    ada = teacher(site, f"c.CourseDirectory.course_id = {setting}")
    assert "Released as: abc101 ps1" in ada.succeed("release_assignment", "ps1").messages
    assert released(site, COURSE) == ["ps1"]
    assert released(site, "other") == []


def test_of_several_courses_one_has_to_be_selected(site: Site) -> None:
    site.backend.create_course(COURSE)
    site.backend.create_course("another one")
    ada = teacher(site)
    for command in ("release_assignment", "collect"):
        assert ada.fail(command, "ps1") == (
            "You teach several courses: abc101, another one. Select one with --course NAME, or "
            "with c.CourseDirectory.course_id = 'NAME' in nbgrader_config.py."
        )
    ada.succeed("release_assignment", "ps1", "--course", "another one")
    assert released(site, COURSE) == []
    assert released(site, "another one") == ["ps1"]


def test_who_teaches_nothing_learns_their_name(site: Site) -> None:
    site.service.create_course(COURSE, "ada", instructors=("tom",))
    assert teacher(site).fail("release_assignment", "ps1") == (
        "You are not an instructor of any course. The exchange knows you as 'ada': ask an "
        "administrator of ngshare to create your course, or to add this name to it."
    )


def test_a_course_that_does_not_exist_is_named(site: Site) -> None:
    site.backend.create_course(COURSE)
    message = teacher(site).fail("release_assignment", "ps1", "--course", "typo")
    assert "typo" in message


def formgrader(ada: Computer, course: str) -> NbGraderAPI:
    """Return the object that formgrader's pages call, with the configuration of the computer."""
    config = Config()
    config.CourseDirectory.course_id = course
    config.CourseDirectory.root = str(ada.work)
    text = (ada.work / "nbgrader_config.py").read_text()
    exec(text, {"get_config": lambda: config})
    return NbGraderAPI(CourseDirectory(config=config), config=config)


def test_formgrader_works_on_the_course_selected_in_it(site: Site) -> None:
    site.backend.create_course(COURSE)
    site.backend.create_course("other")
    ada = teacher(site)
    with ada.active():
        failure = formgrader(ada, "*").release_assignment("ps1")
        assert failure["success"] is False
        assert "You teach several courses: abc101, other." in failure["log"]
        remember_course("other")
        assert formgrader(ada, "*").release_assignment("ps1")["success"] is True
        remember_course("not one of them")
        assert formgrader(ada, "*").release_assignment("ps1")["success"] is False
        remember_course("other")
    assert released(site, COURSE) == []
    assert released(site, "other") == ["ps1"]
    assert ada.fail("release_assignment", "ps1").startswith("You teach several courses")


@pytest.mark.parametrize("course", ["*", ""])
def test_formgrader_releases_with_the_one_course_that_is_taught(site: Site, course: str) -> None:
    site.backend.create_course(COURSE, "sam")
    ada = teacher(site)
    with ada.active():
        api = formgrader(ada, course)
        result = api.release_assignment("ps1")
        assert result["success"] is True
        assert "Released as: abc101 ps1" in result["log"]
        again = api.release_assignment("ps1")
        assert again["success"] is False
        assert "Destination already exists" in again["log"]
        assert api.collect("ps1")["success"] is True
        assert api.release_feedback("ps1")["success"] is False
