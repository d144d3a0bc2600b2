"""The audit log, who is missing, and the room a course takes, over HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import Connection
from tornado.web import Application

from ngshare.actions import access, audit
from ngshare.actions.access import Caller
from ngshare.db.transactions import Database
from ngshare.web.service import Service
from tests.conftest import ADMIN, Api, tree
from tests.web.world import (
    ASSIGNMENT,
    CLASSMATE,
    COURSE,
    FIRST,
    INSTRUCTOR,
    OTHER_COURSE,
    SECOND,
    STUDENT,
    UNTOUCHED,
)

pytestmark = pytest.mark.gen_test

KEYS = {"id", "timestamp", "actor", "event", "course", "assignment", "student", "detail"}


async def log(api: Api, **query: str) -> list[dict[str, Any]]:
    reply = await api.send("GET", "log", COURSE, query={"user": INSTRUCTOR, **query})
    entries: list[dict[str, Any]] = reply.success("entries", "next")["entries"]
    return entries


async def test_an_instructor_sees_who_did_what_and_when(api: Api) -> None:
    newest, *_ = await log(api, assignment=ASSIGNMENT, event="submission handed in")
    assert newest.keys() == KEYS
    assert (newest["actor"], newest["student"]) == (STUDENT, STUDENT)
    assert (newest["course"], newest["assignment"]) == (COURSE, ASSIGNMENT)
    assert newest["timestamp"] == newest["detail"]["timestamp"] == SECOND


async def test_did_she_submit_before_the_deadline(api: Api) -> None:
    question = {"event": "submission handed in", "assignment": ASSIGNMENT, "student": STUDENT}
    handed_in = [entry["timestamp"] for entry in await log(api, **question, until=FIRST)]
    assert handed_in == [FIRST]
    assert await log(api, **question, until="2019-12-31 23:59:59") == []
    assert len(await log(api, **question, since=FIRST, until=SECOND)) == 2


async def test_who_has_not_submitted(api: Api) -> None:
    place = ("missing", COURSE, ASSIGNMENT)
    missing = (await api.get(*place, user=INSTRUCTOR)).success("missing")["missing"]
    sue = {"username": CLASSMATE, "first_name": "Sue", "last_name": "Sea", "email": "sue@x.edu"}
    assert missing == [{**sue, "late": None}]
    reply = await api.get(*place, user=INSTRUCTOR, by="2019-12-31 00:00:00")
    late = {one["username"]: one["late"] for one in reply.json["missing"]}
    assert late == {STUDENT: FIRST, CLASSMATE: None}
    reply = await api.get("missing", COURSE, UNTOUCHED, user=INSTRUCTOR, by="")
    assert len(reply.json["missing"]) == 2


async def test_pages(api: Api) -> None:
    everything = await log(api, order="oldest")
    seen: list[dict[str, Any]] = []
    query = {"user": INSTRUCTOR, "limit": "3", "order": "oldest"}
    while True:
        reply = (await api.send("GET", "log", COURSE, query=query)).json
        seen += reply["entries"]
        assert len(reply["entries"]) <= 3
        if reply["next"] is None:
            break
        query["after"] = str(reply["next"])
    assert seen == everything
    assert await log(api) == everything[::-1]
    assert await log(api, before=str(everything[2]["id"])) == everything[1::-1]


async def test_fields_may_be_json(api: Api) -> None:
    body = json.dumps({"user": INSTRUCTOR, "limit": 1, "order": "oldest"})
    headers = {"Content-Type": "application/json"}
    reply = await api.send("GET", "log", COURSE, body=body, headers=headers)
    assert [entry["event"] for entry in reply.json["entries"]] == ["course created"]


async def test_an_admin_sees_everything(api: Api) -> None:
    await api.delete("course", OTHER_COURSE, user=ADMIN)
    entries = (await api.send("GET", "log", query={"user": ADMIN})).json["entries"]
    assert {entry["course"] for entry in entries} == {COURSE, OTHER_COURSE}
    query = {"user": ADMIN, "course": OTHER_COURSE, "actor": ADMIN}
    entries = (await api.send("GET", "log", query=query)).json["entries"]
    events = [entry["event"] for entry in entries]
    assert events == ["course removed", "instructor added", "course created"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"limit": "many"}, "limit should be a whole number, above 0"),
        ({"limit": "-1"}, "limit should be a whole number, above 0"),
        ({"limit": "0"}, "limit should be a whole number, above 0"),
        ({"before": "1" + "0" * 19}, "before should be a whole number, above 0"),
        ({"after": "0" * 19 + "1" + "9" * 30}, "after should be a whole number, above 0"),
        ({"before": "9" * 5000}, "before should be a whole number, above 0"),
        ({"before": "²"}, "before should be a whole number, above 0"),
        ({"after": "99999"}, "There is no entry 99999 in this log"),
        ({"order": "random"}, "order should be newest or oldest"),
        ({"since": "soon"}, "Time format incorrect"),
    ],
)
async def test_what_cannot_be_looked_for(api: Api, query: dict[str, str], message: str) -> None:
    reply = await api.send("GET", "log", COURSE, query={"user": INSTRUCTOR, **query})
    assert reply.failure == (400, message)


async def test_numbers_of_json_are_numbers(api: Api) -> None:
    for value in (True, 1.5, [], -1):
        body = json.dumps({"user": INSTRUCTOR, "limit": value})
        headers = {"Content-Type": "application/json"}
        reply = await api.send("GET", "log", COURSE, body=body, headers=headers)
        assert reply.status == 400, value


async def test_an_import_that_was_logged_with_all_its_names(api: Api, database: Database) -> None:
    names = [f"student {number}" for number in range(3)]
    caller = Caller(INSTRUCTOR)

    def record(connection: Connection) -> None:
        course = access.get_access(connection, caller, COURSE)
        audit.record(connection, caller, "students imported", course=course, students=names)

    database.write(record)
    [entry] = await log(api, event="students imported")
    assert entry["detail"] == {"students": names}


# Reads, which are written a little later


async def reads(api: Api, service: Service) -> list[tuple[str, str, str | None, Any]]:
    """Who read what so far, oldest first."""
    await service.reads.flush()
    return [
        (entry["actor"], entry["event"], entry["student"], entry["detail"])
        for entry in await log(api, order="oldest", since="2024-01-01 00:00:00")
    ]


async def test_what_is_fetched_and_collected_is_in_the_log(api: Api, service: Service) -> None:
    await api.get("assignment", COURSE, ASSIGNMENT, user=STUDENT)
    await api.get("submission", COURSE, ASSIGNMENT, STUDENT, user=INSTRUCTOR)
    await api.get("feedback", COURSE, ASSIGNMENT, STUDENT, user=STUDENT, timestamp=FIRST)
    assert await reads(api, service) == [
        (STUDENT, "assignment fetched", None, {"files": 1}),
        (INSTRUCTOR, "submission collected", STUDENT, {"files": 1, "timestamp": SECOND}),
        (STUDENT, "feedback fetched", STUDENT, {"files": 1, "timestamp": FIRST}),
    ]


async def test_what_sends_no_content_is_no_read(api: Api, service: Service) -> None:
    place = (COURSE, ASSIGNMENT, STUDENT)
    await api.get("assignment", COURSE, ASSIGNMENT, user=STUDENT, list_only="true")
    await api.get("feedback", *place, user=STUDENT, timestamp=FIRST, list_only="true")
    await api.get("feedback", *place, user=STUDENT, timestamp=SECOND)  # there is none
    await api.get("submission", *place, user=STUDENT)  # not allowed
    await api.get("assignment", COURSE, "no such", user=STUDENT)
    assert await reads(api, service) == []


async def test_a_read_is_in_the_log_without_anybody_asking(
    api: Api, app: Application, monkeypatch: pytest.MonkeyPatch, service: Service
) -> None:
    monkeypatch.setattr("ngshare.web.read_log.FLUSH_SECONDS", 0.01)
    await api.get("assignment", COURSE, ASSIGNMENT, user=STUDENT)
    while not await log(api, event="assignment fetched"):  # the log is asked
        pass


# Room


async def test_the_room_that_a_course_takes(api: Api) -> None:
    before = (await api.get("usage", COURSE, user=INSTRUCTOR)).success("bytes", "quota")
    assert before["quota"] is None
    files = tree(a=b"x" * 1000, b=b"x" * 1000)
    await api.post("submission", COURSE, ASSIGNMENT, user=STUDENT, files=files)
    after = (await api.get("usage", COURSE, user=INSTRUCTOR)).json["bytes"]
    assert after - before["bytes"] == 2000
    await api.delete("assignment", COURSE, ASSIGNMENT, user=INSTRUCTOR)
    assert (await api.get("usage", COURSE, user=INSTRUCTOR)).json["bytes"] == after
