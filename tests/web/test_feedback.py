"""The contract of ``feedback``."""

from __future__ import annotations

import pytest

from tests.conftest import ADMIN, Api, tree
from tests.web.test_assignments import full
from tests.web.world import (
    ASSIGNMENT,
    CLASSMATE,
    COURSE,
    FIRST,
    INSTRUCTOR,
    NEVER,
    SECOND,
    STUDENT,
)

pytestmark = pytest.mark.gen_test

PLACE = ("feedback", COURSE, ASSIGNMENT, STUDENT)


@pytest.mark.parametrize("user", [ADMIN, INSTRUCTOR, STUDENT])
async def test_instructors_and_the_student_fetch_feedback(api: Api, user: str) -> None:
    reply = await api.get(*PLACE, user=user, timestamp=FIRST)
    fetched = reply.success("files", "timestamp")
    assert fetched["timestamp"] == FIRST
    assert fetched["files"] == full(marks__html=b"<p>good</p>")


@pytest.mark.parametrize("user", [INSTRUCTOR, STUDENT])
async def test_where_there_is_no_feedback_there_are_no_files(api: Api, user: str) -> None:
    reply = await api.get(*PLACE, user=user, timestamp=SECOND)
    assert reply.success("files", "timestamp") == {
        "success": True,
        "files": [],
        "timestamp": SECOND,
    }


async def test_feedback_can_be_listed_only(api: Api) -> None:
    reply = await api.get(*PLACE, user=STUDENT, timestamp=FIRST, list_only="true")
    (file,) = reply.success("files", "timestamp")["files"]
    assert file.keys() == {"path", "checksum"}
    assert file["path"] == "marks.html"


@pytest.mark.parametrize("user", [ADMIN, INSTRUCTOR])
async def test_feedback_is_given_on_one_submission(api: Api, user: str) -> None:
    form = {"user": user, "timestamp": SECOND, "files": tree(new__html="fine")}
    (await api.post(*PLACE, **form)).success()
    reply = await api.get(*PLACE, user=STUDENT, timestamp=SECOND)
    assert reply.json["files"] == full(new__html=b"fine")
    reply = await api.get(*PLACE, user=STUDENT, timestamp=FIRST)
    assert reply.json["files"] == full(marks__html=b"<p>good</p>")


@pytest.mark.parametrize("files", [{"new__html": "fine"}, {"marks__html": "other"}, {}])
async def test_feedback_replaces_what_was_there(api: Api, files: dict[str, str]) -> None:
    form = {"user": INSTRUCTOR, "timestamp": FIRST, "files": tree(**files)}
    (await api.post(*PLACE, **form)).success()
    reply = await api.get(*PLACE, user=STUDENT, timestamp=FIRST)
    expected = {path: content.encode() for path, content in files.items()}
    assert reply.json["files"] == full(**expected)


async def test_an_instructor_who_handed_in_gets_feedback(api: Api) -> None:
    reply = await api.post("submission", COURSE, ASSIGNMENT, user=INSTRUCTOR, files=tree(a="1"))
    timestamp = reply.json["timestamp"]
    place = ("feedback", COURSE, ASSIGNMENT, INSTRUCTOR)
    form = {"user": INSTRUCTOR, "timestamp": timestamp, "files": tree(b="2")}
    (await api.post(*place, **form)).success()
    reply = await api.get(*place, user=INSTRUCTOR, timestamp=timestamp)
    assert reply.json["files"] == full(b=b"2")


async def test_feedback_is_on_a_submission_that_exists(api: Api) -> None:
    for place, timestamp in ((PLACE, NEVER), ((*PLACE[:3], CLASSMATE), FIRST)):
        reply = await api.get(*place, user=INSTRUCTOR, timestamp=timestamp)
        assert reply.failure == (404, "Submission not found")
        form = {"user": INSTRUCTOR, "timestamp": timestamp, "files": tree(a="1")}
        reply = await api.post(*place, **form)
        assert reply.failure == (404, "Submission not found")


async def test_feedback_is_asked_for_with_a_time(api: Api) -> None:
    for reply in (
        await api.get(*PLACE, user=STUDENT),
        await api.post(*PLACE, user=INSTRUCTOR, files=tree(a="1")),
    ):
        assert reply.failure == (400, "Please supply timestamp")
