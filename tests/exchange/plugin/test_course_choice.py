"""The course to work on: the given one, the only one, or a sentence with those to choose from."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from ngshare.exchange.plugin.course_choice import (
    choose_course,
    chosen_course,
    explain_error,
    remember_course,
)
from ngshare.exchange.service_error import ServiceError
from ngshare.protocol.overview import CourseInfo, Overview


def client(**roles: str | None) -> Any:
    """Return a client whose service knows the caller in these roles."""
    courses = [CourseInfo(name, role) for name, role in roles.items()]
    return Mock(overview=Mock(return_value=Overview("ada", False, None, None, courses)))


def test_a_given_course_needs_no_request() -> None:
    service = client()
    assert choose_course(service, "physics", role="student") == "physics"
    assert not service.overview.called


@pytest.mark.parametrize("nothing", ["", "*"])
def test_the_only_course_in_a_role_is_taken(nothing: str) -> None:
    service = client(taught="instructor", taken="student", administered=None)
    assert choose_course(service, nothing, role="instructor") == "taught"
    assert choose_course(service, nothing, role="student") == "taken"
    assert choose_course(client(taught="instructor"), nothing, role="student") == "taught"


@pytest.mark.parametrize(("role", "verb"), [("instructor", "teach"), ("student", "are in")])
def test_several_courses_are_listed(role: str, verb: str) -> None:
    service = client(b=role, a=role, other=None)
    with pytest.raises(ServiceError) as failure:
        choose_course(service, "*", role=role)
    assert failure.value.message == (
        f"You {verb} several courses: a, b. Select one with --course NAME, or with "
        "c.CourseDirectory.course_id = 'NAME' in nbgrader_config.py."
    )
    assert choose_course(service, "*", role=role, chosen="b") == "b"
    with pytest.raises(ServiceError):
        choose_course(service, "*", role=role, chosen="other")
    assert choose_course(client(a=role), "*", role=role, chosen="b") == "a"


@pytest.mark.parametrize("role", ["instructor", "student"])
def test_without_a_course_the_caller_learns_the_own_name(role: str) -> None:
    with pytest.raises(ServiceError, match="The exchange knows you as 'ada': ask") as failure:
        choose_course(client(other=None), "", role=role)
    assert ("not an instructor" in failure.value.message) == (role == "instructor")


def test_of_an_unknown_course_the_known_ones_are_listed() -> None:
    service = client(b="instructor", a="instructor", c="student")
    unknown = ServiceError("Course not found", 404)
    assert explain_error(service, "x", "instructor", unknown) == (
        "Course not found: x. The courses that you teach: a, b."
    )
    assert explain_error(client(), "x", "student", unknown) == (
        "Course not found: x. The courses that you are in: none."
    )
    service.overview.side_effect = ServiceError("down")
    assert explain_error(service, "x", "student", unknown) == "Course not found: x"
    assert explain_error(service, "x", "student", ServiceError("no", 403)) == "no"


def test_the_selection_is_remembered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    assert chosen_course() is None
    remember_course("phýsics / 1")
    assert chosen_course() == "phýsics / 1"
    remember_course("other")
    assert chosen_course() == "other"
    assert len(list((tmp_path / "data").iterdir())) == 1
    remember_course(None)
    remember_course(None)
    assert chosen_course() is None


@pytest.mark.parametrize("content", ["", "[]", '{"course": 1}', '{"course": ""}', "\x00"])
def test_a_damaged_selection_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str
) -> None:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
    remember_course("x")
    (file,) = tmp_path.iterdir()
    file.write_text(content)
    assert chosen_course() is None
