"""The contract of ``healthz`` and of ``initialize-Data6ase``."""

from __future__ import annotations

import base64
import json
import threading
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlencode

import pytest

from ngshare.actions import debug_records
from ngshare.db.transactions import Database
from ngshare.web.api.lists import ENCODE_STEP
from ngshare.web.pages import debug_records as records_page
from tests.conftest import ADMIN, Api, Reply, tree
from tests.web.test_assignments import full
from tests.web.world import (
    COURSE,
    INSTRUCTOR,
    OTHER_COURSE,
    STRANGER,
    STUDENT,
)

pytestmark = pytest.mark.gen_test


def in_modes(*modes: bool) -> Any:
    """Run a test in debug mode, in production, or in both."""

    def decorate(test: Any) -> Any:
        return pytest.mark.usefixtures("debug")(pytest.mark.parametrize("debug", modes)(test))

    return decorate


in_debug_mode = in_modes(True)
in_either_mode = in_modes(True, False)


async def debugging(api: Api, user: str, **query: str) -> Reply:
    return await api.send("GET", "initialize-Data6ase", query={"user": user, **query})


@pytest.mark.parametrize("path", ["/healthz", "/api/healthz"])
async def test_health_is_told_to_anyone(api: Api, path: str) -> None:
    for headers in ({}, {"Accept": "text/html"}, {"Authorization": "token unknown"}):
        reply = await api.send_to("GET", path, headers=headers)
        assert reply.success() == {"success": True}


# The dump

NAMES = ("first_name", "last_name", "email")

KINDS = ["assignments", "courses", "files", "instructors", "students", "submissions", "users"]


@in_either_mode
async def test_an_admin_dumps_every_record(api: Api) -> None:
    tables = (await debugging(api, ADMIN, action="dump")).success(*KINDS)
    for kind in KINDS:
        assert isinstance(tables[kind], list)
        assert all(isinstance(row, dict) for row in tables[kind])
    assert [row["id"] for row in tables["courses"]] == [COURSE, OTHER_COURSE]
    assert len(tables["submissions"]) == 2


@in_debug_mode
async def test_anyone_dumps_in_debug_mode(api: Api) -> None:
    (await debugging(api, STRANGER, action="dump")).success(*KINDS)


@pytest.mark.parametrize("user", [INSTRUCTOR, STUDENT, STRANGER])
async def test_nobody_else_dumps_otherwise(api: Api, user: str) -> None:
    for query in ({}, {"human-readable": "true"}):
        reply = await debugging(api, user, action="dump", **query)
        assert reply.failure == (403, "Debug mode is off")


async def test_a_large_dump_is_whole_and_is_made_off_the_event_loop(
    api: Api, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = [{"username": f"s{n}", **dict.fromkeys(NAMES, "")} for n in range(2 * ENCODE_STEP + 1)]
    (await api.post("students", COURSE, user=INSTRUCTOR, students=json.dumps(people))).success(
        "status"
    )
    threads = []
    encode = records_page._encode

    def record(tables: Any) -> bytes:
        threads.append(threading.current_thread())
        return encode(tables)

    monkeypatch.setattr(records_page, "_encode", record)
    reply = await debugging(api, ADMIN, action="dump")
    assert reply.json == {"success": True, **database.read(debug_records.dump_records)}
    assert threading.main_thread() not in threads


async def test_an_empty_dump_is_json() -> None:
    assert json.loads(records_page._encode({})) == {"success": True}


async def test_a_kind_without_records_is_left_out(api: Api) -> None:
    await api.delete("course", COURSE, user=ADMIN)
    tables = (await debugging(api, ADMIN, action="dump")).success(
        "users", "courses", "instructors", "students"
    )
    assert [row["id"] for row in tables["courses"]] == [OTHER_COURSE]


async def test_after_the_last_course_is_removed_only_users_are_left(api: Api) -> None:
    await api.delete("course", COURSE, user=ADMIN)
    await api.delete("course", OTHER_COURSE, user=ADMIN)
    (await debugging(api, ADMIN, action="dump")).success("users")


async def test_what_was_removed_does_not_show(api: Api) -> None:
    await api.delete("assignment", COURSE, "ps1", user=INSTRUCTOR)
    await api.delete("student", COURSE, STUDENT, user=INSTRUCTOR)
    tables = (await debugging(api, ADMIN, action="dump")).json
    assert [row["id"] for row in tables["assignments"]] == ["ps2"]
    assert "submissions" not in tables
    assert {row["filename"] for row in tables["files"]} == {"problems.ipynb"}
    assert STUDENT not in {row["user"] for row in tables["students"]}


async def test_feedback_that_was_replaced_does_not_show(api: Api) -> None:
    form = {"timestamp": "2020-01-01 00:00:00", "files": tree(new__html="1")}
    place = ("feedback", COURSE, "ps1", STUDENT)
    (await api.post(*place, user=INSTRUCTOR, **form)).success()
    files = (await debugging(api, ADMIN, action="dump")).json["files"]
    assert "new.html" in {row["filename"] for row in files}
    assert "marks.html" not in {row["filename"] for row in files}


@in_either_mode
async def test_the_dump_for_people_is_tables_in_html(api: Api) -> None:
    await api.post("course", "<script>alert(1)", user=ADMIN)
    reply = await debugging(api, ADMIN, **{"action": "dump", "human-readable": "true"})
    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith("text/html")
    page = reply.body.decode()
    assert "<table" in page
    assert ">None<" not in page
    assert 'href="/api/static/style.css"' in page
    assert 'href="/api/"' in page, "a way back"
    assert COURSE in page
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)" in page


# Clearing and the sample data


@pytest.mark.parametrize("user", [ADMIN, STRANGER])
@pytest.mark.parametrize("action", ["clear", "init"])
async def test_records_are_replaced_in_debug_mode_only(api: Api, user: str, action: str) -> None:
    before = (await debugging(api, ADMIN, action="dump")).body
    reply = await debugging(api, user, action=action)
    assert reply.failure == (403, "Debug mode is off")
    assert (await debugging(api, ADMIN, action="dump")).body == before


@pytest.mark.parametrize("user", [ADMIN, STRANGER])
@pytest.mark.parametrize("query", [{}, {"action": ""}, {"action": "foo"}, {"action": "Dump"}])
async def test_outside_of_debug_mode_another_action_is_refused_for_that(
    api: Api, user: str, query: dict[str, str]
) -> None:
    assert (await debugging(api, user, **query)).failure == (403, "Debug mode is off")


@in_debug_mode
@pytest.mark.parametrize("query", [{}, {"action": ""}, {"action": "drop"}, {"action": "Dump"}])
async def test_another_action_is_refused(api: Api, query: dict[str, str]) -> None:
    reply = await debugging(api, ADMIN, **query)
    assert reply.failure == (400, "action should be clear, init, or dump")


@in_debug_mode
async def test_clearing_leaves_nothing(api: Api) -> None:
    (await api.get("courses", user=ADMIN)).success("courses")
    reply = await debugging(api, STRANGER, action="clear")
    assert reply.success("message")["message"] == "done"
    tables = (await debugging(api, ADMIN, action="dump")).success("users")
    assert [row["id"] for row in tables["users"]] == [ADMIN], "who asks is seen again"
    (await api.post("course", COURSE, user=ADMIN)).success()


@in_debug_mode
async def test_the_sample_data(api: Api) -> None:
    before = datetime.now(timezone.utc)
    reply = await debugging(api, "kevin", action="init")
    assert reply.success("message") == {"success": True, "message": "done"}

    tables = (await debugging(api, "kevin", action="dump")).success(*KINDS)
    assert {row["id"] for row in tables["users"]} == {"kevin", "abigail", "lawrence", "eric"}

    courses = (await api.get("courses", user=ADMIN)).json["courses"]
    assert courses == ["course1", "course2"]
    for course, instructor, student in (
        ("course1", "kevin", "lawrence"),
        ("course2", "abigail", "eric"),
    ):
        nameless: dict[str, Any] = dict.fromkeys(NAMES)
        for kind, user in (("instructors", instructor), ("students", student)):
            reply = await api.get(kind, course, user=instructor)
            assert reply.json[kind] == [{"username": user, **nameless}]

    async def files(*path: str, **query: str) -> Any:
        return (await api.get(*path, user=ADMIN, **query)).json["files"]

    for course, assignments in (
        ("course1", {"challenge": full(file2=b"22222")}),
        ("course2", {"assignment2a": full(file0=b"00000"), "assignment2b": full(file1=b"11111")}),
    ):
        reply = await api.get("assignments", course, user=ADMIN)
        assert reply.json["assignments"] == list(assignments)
        for name, released in assignments.items():
            assert await files("assignment", course, name) == released

    handed_in = (await api.get("submissions", "course1", "challenge", user="kevin")).json
    first, second = handed_in["submissions"]
    assert first == {"student_id": "lawrence", "timestamp": "2020-01-01 00:00:00.000000 UTC"}
    assert second["student_id"] == "lawrence"
    now = datetime.strptime(second["timestamp"], "%Y-%m-%d %H:%M:%S.%f UTC")
    assert before <= now.replace(tzinfo=timezone.utc) <= datetime.now(timezone.utc)
    for name in ("assignment2a", "assignment2b"):
        reply = await api.get("submissions", "course2", name, user=ADMIN)
        assert reply.json["submissions"] == []

    place = ("course1", "challenge", "lawrence")
    for submission, work, marks in (
        (first, full(file3=b"33333"), full(file5=b"55555")),
        (second, full(file4=b"44444"), []),
    ):
        query = {"timestamp": submission["timestamp"]}
        assert await files("submission", *place, **query) == work
        assert await files("feedback", *place, **query) == marks


@in_debug_mode
async def test_the_sample_data_replaces_whatever_was_there(api: Api) -> None:
    await debugging(api, ADMIN, action="init")
    await api.delete("course", "course1", user=ADMIN)
    (await debugging(api, ADMIN, action="init")).success("message")
    reply = await api.get("assignment", "course1", "challenge", user="lawrence")
    assert base64.b64decode(reply.json["files"][0]["content"]) == b"22222"
    assert COURSE not in (await api.get("courses", user=ADMIN)).json["courses"]


@in_debug_mode
@pytest.mark.parametrize("action", ["clear", "init"])
async def test_the_records_are_replaced_by_post_too(
    api: Api, database: Database, action: str
) -> None:
    page = await debugging(api, STRANGER, action="dump", **{"human-readable": "true"})
    assert f'<input type="hidden" name="user" value="{STRANGER}">' in page.body.decode()
    before = database.read(debug_records.dump_records)
    body = urlencode({"user": STRANGER, "action": action})
    headers = {"Origin": "http://evil.example"}
    reply = await api.send("POST", "initialize-Data6ase", body=body, headers=headers)
    assert reply.failure == (403, "Pages of other sites may not use this service")
    assert database.read(debug_records.dump_records) == before
    reply = await api.send("POST", "initialize-Data6ase", body=body)
    reply.success("message")
    courses = database.read(debug_records.dump_records).get("courses", [])
    assert [row["id"] for row in courses] == (["course1", "course2"] if action == "init" else [])


@in_debug_mode
async def test_a_browser_is_led_back_to_the_records(api: Api) -> None:
    body = urlencode({"user": STRANGER, "action": "init"})
    headers = {"Accept": "text/html", "Origin": api.base_url}
    reply = await api.send("POST", "initialize-Data6ase", body=body, headers=headers)
    assert reply.status == 303
    page = await api.send_to("GET", reply.headers["Location"])
    assert page.status == 200
    assert "lawrence" in page.body.decode()


@in_debug_mode
@pytest.mark.parametrize("action", ["clear", "init"])
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_a_link_on_another_site_changes_nothing(
    api: Api, database: Database, action: str, site: str
) -> None:
    before = database.read(debug_records.dump_records)
    query = {"user": ADMIN, "action": action}
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}
    reply = await api.send("GET", "initialize-Data6ase", query=query, headers=headers)
    assert reply.failure == (403, "Pages of other sites may not use this service")
    assert database.read(debug_records.dump_records) == before
    for header in ({"Referer": "http://evil.example/"}, {"Origin": "http://evil.example"}):
        reply = await api.send("GET", "initialize-Data6ase", query=query, headers=header)
        assert reply.failure == (403, "Pages of other sites may not use this service")
    assert database.read(debug_records.dump_records) == before
    for own in ("none", "same-origin"):
        headers = {"Sec-Fetch-Site": own}
        reply = await api.send("GET", "initialize-Data6ase", query=query, headers=headers)
        reply.success("message")


@pytest.mark.parametrize(
    "path",
    [
        "/healthz",
        "/api/",
        "/api/courses",
        "/api/nothing",
        "/api/students/Physics%20101",
        "/api/initialize-Data6ase?action=dump",
        "/api/initialize-Data6ase?action=dump&human-readable=true",
    ],
)
async def test_nothing_can_be_framed_by_another_page(api: Api, path: str) -> None:
    sign = "&" if "?" in path else "?"
    reply = await api.send_to("GET", f"{path}{sign}user={ADMIN}", headers={"Accept": "text/html"})
    policy = reply.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
