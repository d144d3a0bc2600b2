"""The contract of ``submission`` and ``submissions``, and of times."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest

from tests.conftest import ADMIN, Api, tree
from tests.web.test_assignments import by_path, full
from tests.web.world import (
    ASSIGNMENT,
    CLASSMATE,
    COLLEAGUE,
    COURSE,
    FIRST,
    INSTRUCTOR,
    NEVER,
    SECOND,
    STRANGER,
    STUDENT,
    UNTOUCHED,
)

pytestmark = pytest.mark.gen_test

TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6} UTC")

SPELLINGS = [
    "2020-01-01 00:00:00.000000 UTC",
    "2020-01-01 00:00:00.000000",
    "  2020-01-01 00:00:00.000000 UTC\n",
    "\t2020-01-01 00:00:00.000000 ",
    "2020-01-01 00:00:00",
    "2020-01-01 00:00:00 UTC",
    "2020-01-01 00:00:00.0",
]
"""How clients write the time of the student's first submission."""

NO_TIMES = [
    "", " ", "now", "UTC", "2020", "2020-01-01", "2020-13-01 00:00:00", "2020-02-30 00:00:00",
    "2020-01-01 24:00:00", "2020-01-01 00:60:00", "2020-01-01 00:00:61", "0000-01-01 00:00:00",
    "2020-01-01 00:00:00.0000000", "2020-01-01 00:00:00 PST", "1577836800", "2020/01/01 00:00:00",
    "01/01/2020 00:00:00 UTC", "2020-01-01 00:00:00.000000 UTC UTC", "٢٠٢٠-01-01 00:00:00",
    "10000-01-01 00:00:00", "-2020-01-01 00:00:00",
    "0001-01-01 00:00:00 +23:59", "9999-12-31 23:59:59 -23:59",
]  # fmt: skip


async def hand_in(api: Api, user: str, content: str = "work", name: str = ASSIGNMENT) -> str:
    reply = await api.post("submission", COURSE, name, user=user, files=tree(work=content))
    timestamp: str = reply.success("timestamp")["timestamp"]
    return timestamp


@pytest.mark.parametrize("user", [STUDENT, INSTRUCTOR])
async def test_members_hand_in(api: Api, user: str) -> None:
    files = tree(a__py="print()", b__txt="")
    reply = await api.post("submission", COURSE, UNTOUCHED, user=user, files=files)
    timestamp = reply.success("timestamp")["timestamp"]
    assert TIME.fullmatch(timestamp)

    reply = await api.get("submission", COURSE, UNTOUCHED, user, user=COLLEAGUE)
    collected = reply.success("files", "timestamp")
    assert collected["timestamp"] == timestamp
    assert by_path(collected["files"]) == full(a__py=b"print()", b__txt=b"")


async def test_the_time_of_a_submission_is_the_present_in_utc(api: Api) -> None:
    before = datetime.now(timezone.utc)
    moment = datetime.strptime(await hand_in(api, STUDENT), "%Y-%m-%d %H:%M:%S.%f UTC")
    assert before <= moment.replace(tzinfo=timezone.utc) <= datetime.now(timezone.utc)


@pytest.mark.parametrize("user", [ADMIN, INSTRUCTOR])
async def test_instructors_see_every_submission_oldest_first(api: Api, user: str) -> None:
    later = await hand_in(api, CLASSMATE)
    last = await hand_in(api, STUDENT)
    reply = await api.get("submissions", COURSE, ASSIGNMENT, user=user)
    assert reply.success("submissions")["submissions"] == [
        {"student_id": STUDENT, "timestamp": FIRST},
        {"student_id": STUDENT, "timestamp": SECOND},
        {"student_id": CLASSMATE, "timestamp": later},
        {"student_id": STUDENT, "timestamp": last},
    ]


@pytest.mark.parametrize("user", [ADMIN, INSTRUCTOR, STUDENT])
async def test_the_student_sees_their_own_submissions(api: Api, user: str) -> None:
    await hand_in(api, CLASSMATE)
    reply = await api.get("submissions", COURSE, ASSIGNMENT, STUDENT, user=user)
    assert reply.success("submissions")["submissions"] == [
        {"student_id": STUDENT, "timestamp": FIRST},
        {"student_id": STUDENT, "timestamp": SECOND},
    ]


async def test_before_anything_is_handed_in_the_lists_are_empty(api: Api) -> None:
    for path in ([UNTOUCHED], [UNTOUCHED, STUDENT], [ASSIGNMENT, CLASSMATE], [UNTOUCHED, "ivy"]):
        reply = await api.get("submissions", COURSE, *path, user=INSTRUCTOR)
        assert reply.success("submissions")["submissions"] == []


@pytest.mark.parametrize("user", [ADMIN, INSTRUCTOR])
async def test_the_latest_submission_is_collected_unless_a_time_is_named(
    api: Api, user: str
) -> None:
    reply = await api.get("submission", COURSE, ASSIGNMENT, STUDENT, user=user)
    latest = reply.success("files", "timestamp")
    assert latest["timestamp"] == SECOND
    assert latest["files"] == full(second__txt=b"2")

    query = {"user": user, "timestamp": FIRST}
    reply = await api.get("submission", COURSE, ASSIGNMENT, STUDENT, **query)
    named = reply.success("files", "timestamp")
    assert named["timestamp"] == FIRST
    assert named["files"] == full(first__txt=b"1")


async def test_a_submission_can_be_listed_only(api: Api) -> None:
    query = {"user": INSTRUCTOR, "timestamp": FIRST, "list_only": "true"}
    reply = await api.get("submission", COURSE, ASSIGNMENT, STUDENT, **query)
    (file,) = reply.success("files", "timestamp")["files"]
    assert file.keys() == {"path", "checksum"}
    assert file["path"] == "first.txt"


async def test_what_was_never_handed_in_is_not_found(api: Api) -> None:
    for path in ((UNTOUCHED, STUDENT), (ASSIGNMENT, CLASSMATE), (ASSIGNMENT, INSTRUCTOR)):
        reply = await api.get("submission", COURSE, *path, user=INSTRUCTOR)
        assert reply.failure == (404, "Submission not found")
    query = {"user": INSTRUCTOR, "timestamp": NEVER}
    reply = await api.get("submission", COURSE, ASSIGNMENT, STUDENT, **query)
    assert reply.failure == (404, "Submission not found")


@pytest.mark.parametrize("username", [STRANGER, "nobody", ADMIN])
async def test_who_is_not_in_the_course_is_no_student(api: Api, username: str) -> None:
    for kind in ("submission", "submissions", "feedback"):
        query = {"user": INSTRUCTOR, "timestamp": FIRST}
        reply = await api.get(kind, COURSE, ASSIGNMENT, username, **query)
        assert reply.failure == (404, "Student not found")


async def test_the_submissions_of_who_left_are_listed_and_they_are_no_student(api: Api) -> None:
    await api.delete("student", COURSE, STUDENT, user=INSTRUCTOR)
    reply = await api.get("submissions", COURSE, ASSIGNMENT, user=INSTRUCTOR)
    assert [one["student_id"] for one in reply.json["submissions"]] == [STUDENT, STUDENT]
    reply = await api.get("submissions", COURSE, ASSIGNMENT, STUDENT, user=INSTRUCTOR)
    assert reply.failure == (404, "Student not found")


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_a_time_may_be_spelled_as_clients_spell_it(api: Api, spelling: str) -> None:
    for kind in ("submission", "feedback"):
        query = {"user": INSTRUCTOR, "timestamp": spelling}
        reply = await api.get(kind, COURSE, ASSIGNMENT, STUDENT, **query)
        assert reply.success("files", "timestamp")["timestamp"] == FIRST
    form = {"user": INSTRUCTOR, "timestamp": spelling, "files": tree(a="1")}
    (await api.post("feedback", COURSE, ASSIGNMENT, STUDENT, **form)).success()


@pytest.mark.parametrize("text", NO_TIMES)
async def test_what_is_no_time_is_refused(api: Api, text: str) -> None:
    query = {"user": INSTRUCTOR, "timestamp": text}
    refused = [
        await api.get("feedback", COURSE, ASSIGNMENT, STUDENT, **query),
        await api.post("feedback", COURSE, ASSIGNMENT, STUDENT, **query, files=tree(a="1")),
    ]
    if text.strip():
        refused.append(await api.get("submission", COURSE, ASSIGNMENT, STUDENT, **query))
    for reply in refused:
        assert reply.failure == (400, "Time format incorrect")


@pytest.mark.parametrize("text", ["", " "])
async def test_an_empty_time_means_the_latest_submission(api: Api, text: str) -> None:
    reply = await api.get(
        "submission", COURSE, ASSIGNMENT, STUDENT, user=INSTRUCTOR, timestamp=text
    )
    assert reply.success("files", "timestamp")["timestamp"] == SECOND


MORNING = datetime(2026, 9, 1, 8, tzinfo=timezone.utc)


def standing_still() -> Iterator[datetime]:
    while True:
        yield MORNING


def going_back() -> Iterator[datetime]:
    moment = MORNING
    while True:
        yield moment
        moment -= timedelta(minutes=1)


def jumping_back_and_forth() -> Iterator[datetime]:
    while True:
        yield MORNING
        yield MORNING - timedelta(days=365)
        yield MORNING + timedelta(microseconds=1)


@pytest.mark.parametrize("clock", [standing_still, going_back, jumping_back_and_forth])
async def test_a_students_times_increase_whatever_the_clock_does(
    api: Api, monkeypatch: pytest.MonkeyPatch, clock: Iterator[datetime]
) -> None:
    ticks = clock()  # type: ignore[operator]
    monkeypatch.setattr("ngshare.actions.audit.now", lambda: next(ticks))
    times = [await hand_in(api, STUDENT, content=str(count)) for count in range(5)]
    assert times == sorted(set(times))
    reply = await api.get("submissions", COURSE, ASSIGNMENT, STUDENT, user=STUDENT)
    assert [one["timestamp"] for one in reply.json["submissions"]] == [FIRST, SECOND, *times]
    for count, timestamp in enumerate(times):
        query = {"user": INSTRUCTOR, "timestamp": timestamp}
        reply = await api.get("submission", COURSE, ASSIGNMENT, STUDENT, **query)
        assert reply.json["files"] == full(work=str(count).encode())


async def test_two_students_may_hand_in_at_one_moment(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ngshare.actions.audit.now", lambda: MORNING)
    assert await hand_in(api, STUDENT) == await hand_in(api, CLASSMATE)


async def test_a_time_carries_microseconds_even_when_they_are_zero(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ngshare.actions.audit.now", lambda: MORNING)
    assert await hand_in(api, STUDENT) == "2026-09-01 08:00:00.000000 UTC"
