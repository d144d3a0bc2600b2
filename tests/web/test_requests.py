"""What holds for every request: encodings, names, who says who it is, and the shape of replies."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from tests.conftest import ADMIN, PREFIX, Api, tree
from tests.web.test_assignments import full
from tests.web.world import (
    ASSIGNMENT,
    COURSE,
    FIRST,
    INSTRUCTOR,
    OTHER_COURSE,
    SECOND,
    STUDENT,
)

pytestmark = pytest.mark.gen_test

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}
ADA = {"first_name": "Ada", "last_name": "Łęcka", "email": "ada@x.edu"}
FILES = [{"path": "a/b.txt", "content": "MQ=="}]


def multipart(fields: dict[str, str]) -> tuple[bytes, dict[str, str]]:
    """A body as HTML forms with files send it, and its header."""
    parts = [
        f'--line\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    body = "".join(parts) + "--line--\r\n"
    return body.encode(), {"Content-Type": "multipart/form-data; boundary=line"}


# Names

NAMES = [
    "Physics 102", "Ökonomie III", "O'Hara", "a@b.edu", "100%", "%41", "%2F", "a+b", "x?y=1&z#1",
    "日本語", "semi;colon", 'say "hi"', "<b>bold", "back\\slash", "a.b", "~me",
    "a,b", "=", "🎓", "e\u0301", "N" * 255, "Ü" * 255,
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
async def test_a_name_is_anything_without_a_slash(api: Api, name: str) -> None:
    """One name for a course, its instructor, its assignment, and in another course its student."""
    (await api.post("course", name, user=ADMIN, instructors=json.dumps([name]))).success()
    assert (await api.get("courses", user=name)).json["courses"] == [name]
    (await api.post("instructor", name, name, user=name, **ADA)).success()
    (await api.post("assignment", name, name, user=name, files=tree(a="1"))).success()
    assert (await api.get("assignments", name, user=name)).json["assignments"] == [name]
    reply = await api.post("submission", name, name, user=name, files=tree(a="1"))
    timestamp = reply.success("timestamp")["timestamp"]
    form = {"user": name, "timestamp": timestamp, "files": tree(b="2")}
    (await api.post("feedback", name, name, name, **form)).success()
    reply = await api.get("submissions", name, name, name, user=name)
    assert reply.json["submissions"] == [{"student_id": name, "timestamp": timestamp}]
    (await api.get("submission", name, name, name, user=name)).success("files", "timestamp")
    (await api.delete("assignment", name, name, user=name)).success()

    (await api.post("student", COURSE, name, user=INSTRUCTOR, **ADA)).success()
    reply = await api.get("student", COURSE, name, user=name)
    assert reply.json == {"success": True, "username": name, **ADA}


async def test_names_differ_by_case_and_by_unicode_form(api: Api) -> None:
    for name in ("a", "A", "é", "e\u0301"):
        (await api.post("course", name, user=ADMIN)).success()
    listed = (await api.get("courses", user=ADMIN)).json["courses"]
    assert listed == sorted(["a", "A", "é", "e\u0301", COURSE, OTHER_COURSE])


@pytest.mark.parametrize("name", ["a/b", "/", "a\0b", "a\nb", "\x7f", "N" * 256])
async def test_a_name_that_cannot_be_one_is_refused(api: Api, name: str) -> None:
    for reply in (
        await api.post("course", name, user=ADMIN),
        await api.post("student", COURSE, name, user=INSTRUCTOR, **ADA),
        await api.post("assignment", COURSE, name, user=INSTRUCTOR, files=tree(a="1")),
    ):
        assert reply.status == 400
        assert "name" in reply.message


@pytest.mark.parametrize("path", ["course//x", "course/", "assignment/x/", "assignment//x"])
async def test_no_name_is_empty(api: Api, path: str) -> None:
    for method, form in (("GET", None), ("POST", {"user": ADMIN})):
        reply = await api.send_to(method, PREFIX + path, query={"user": ADMIN}, form=form)
        assert reply.status == 404


# Who says who it is, when there is no Hub


async def test_the_user_of_get_is_in_the_query(api: Api) -> None:
    (await api.send("GET", "courses", query={"user": ADMIN})).success("courses")


async def test_the_user_of_post_is_in_the_form(api: Api) -> None:
    (await api.send("POST", "course", "New", body=urlencode({"user": ADMIN}))).success()


@pytest.mark.parametrize("place", ["query", "form", "json", "multipart"])
async def test_the_user_of_delete_is_in_the_query_or_the_body(api: Api, place: str) -> None:
    fields = {"user": ADMIN}
    encoded, header = multipart(fields)
    ways: dict[str, dict[str, Any]] = {
        "query": {"query": fields},
        "form": {"body": urlencode(fields), "headers": FORM},
        "json": {"body": json.dumps(fields), "headers": JSON},
        "multipart": {"body": encoded, "headers": header},
    }
    (await api.send("DELETE", "course", COURSE, **ways[place])).success()
    assert (await api.get("courses", user=ADMIN)).json["courses"] == [OTHER_COURSE]


@pytest.mark.parametrize("user", [None, "", "  "])
async def test_who_gives_no_name_is_nobody(api: Api, user: str | None) -> None:
    for reply in (
        await api.get("courses", user=user),
        await api.post("course", "New", user=user),
        await api.delete("course", COURSE, user=user),
        await api.get("assignments", "No such course", user=user),
        await api.get("initialize-Data6ase", user=user, action="dump"),
    ):
        assert reply.status == 401
        assert reply.message
        assert reply.headers["WWW-Authenticate"]


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1"])
async def test_pages_of_other_sites_cannot_be_somebody(api: Api, origin: str) -> None:
    reply = await api.send(
        "POST", "course", "New", body=urlencode({"user": ADMIN}), headers={"Origin": origin}
    )
    assert reply.status == 403
    assert reply.message
    assert "New" not in (await api.get("courses", user=ADMIN)).json["courses"]


async def test_pages_of_this_site_can(api: Api) -> None:
    headers = {"Origin": api.base_url}
    reply = await api.send("POST", "course", "New", body="user=" + ADMIN, headers=headers)
    reply.success()


@pytest.mark.parametrize("host", ["evil.example", "evil.example:12121", "10.0.0.1", "localhost.a"])
async def test_a_site_whose_name_was_made_to_lead_here_cannot_be_somebody(
    api: Api, host: str
) -> None:
    headers = {"Host": host, "Origin": f"http://{host}"}
    reply = await api.send("POST", "course", "New", body="user=" + ADMIN, headers=headers)
    assert reply.status == 403
    assert "c.Ngshare.host_names" in reply.message
    reply = await api.send("GET", "courses", query={"user": ADMIN}, headers={"Host": host})
    assert reply.status == 403
    assert "New" not in (await api.get("courses", user=ADMIN)).json["courses"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1", "[::1]:12121"])
async def test_the_names_of_this_machine_lead_here(api: Api, host: str) -> None:
    headers = {"Host": host, "Origin": f"http://{host}"}
    reply = await api.send("POST", "course", "New", body="user=" + ADMIN, headers=headers)
    reply.success()


# Fields: forms, JSON, the query of a POST


def encodings(fields: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The ways to send the same fields, as arguments of ``Api.send``."""
    texts = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in fields.items()
    }
    encoded, header = multipart(texts)
    return {
        "form": {"body": urlencode(texts), "headers": FORM},
        "form with a charset": {
            "body": urlencode(texts),
            "headers": {"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"},
        },
        "form encoded with %20": {
            "body": urlencode(texts, quote_via=quote, safe=""),
            "headers": FORM,
        },
        "form without a type": {"body": urlencode(texts)},
        "multipart": {"body": encoded, "headers": header},
        "json": {"body": json.dumps(fields), "headers": JSON},
        "json with a charset": {
            "body": json.dumps(fields, ensure_ascii=False).encode(),
            "headers": {"Content-Type": "Application/JSON; charset=utf-8"},
        },
        "json that holds json": {"body": json.dumps(texts), "headers": JSON},
        "query": {"query": texts, "body": ""},
    }


ENCODINGS = list(encodings({}))


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_files_are_understood_in_every_encoding(api: Api, encoding: str) -> None:
    sent = encodings({"user": STUDENT, "files": FILES})[encoding]
    reply = await api.send("POST", "submission", COURSE, ASSIGNMENT, **sent)
    reply.success("timestamp")
    reply = await api.get("submission", COURSE, ASSIGNMENT, STUDENT, user=INSTRUCTOR)
    assert reply.json["files"] == full(**{"a/b__txt": b"1"})


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_a_roster_is_understood_in_every_encoding(api: Api, encoding: str) -> None:
    roster = [{"username": "Jürgen & Söhne", **ADA}]
    sent = encodings({"user": INSTRUCTOR, "students": roster})[encoding]
    reply = await api.send("POST", "students", COURSE, **sent)
    assert reply.success("status")["status"] == [{"username": "Jürgen & Söhne", "success": True}]
    reply = await api.get("student", COURSE, "Jürgen & Söhne", user=INSTRUCTOR)
    assert reply.json["last_name"] == "Łęcka"


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_instructors_are_understood_in_every_encoding(api: Api, encoding: str) -> None:
    sent = encodings({"user": ADMIN, "instructors": ["nora", "Jürgen"]})[encoding]
    (await api.send("POST", "course", "New", **sent)).success()
    reply = await api.get("instructors", "New", user=ADMIN)
    assert {one["username"] for one in reply.json["instructors"]} == {"nora", "Jürgen"}


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_text_is_understood_in_every_encoding(api: Api, encoding: str) -> None:
    sent = encodings({"user": INSTRUCTOR, **ADA})[encoding]
    (await api.send("POST", "student", COURSE, STUDENT, **sent)).success()
    reply = await api.get("student", COURSE, STUDENT, user=STUDENT)
    assert reply.json == {"success": True, "username": STUDENT, **ADA}


async def test_fields_of_a_post_may_stand_partly_in_the_query(api: Api) -> None:
    place = ("feedback", COURSE, ASSIGNMENT, STUDENT)
    query = {"user": INSTRUCTOR, "timestamp": SECOND}
    body = urlencode({"files": json.dumps(FILES)})
    (await api.send("POST", *place, query=query, body=body)).success()
    reply = await api.get(*place, user=STUDENT, timestamp=SECOND)
    assert reply.json["files"] == full(**{"a/b__txt": b"1"})


async def test_unknown_fields_are_ignored(api: Api) -> None:
    query = {"user": STUDENT, "colour": "blue", "timestamp": "x", "files": "["}
    (await api.get("courses", **query)).success("courses")


@pytest.mark.parametrize(("value", "contents"), [(True, False), ("true", False), (False, True)])
async def test_list_only_may_be_json(api: Api, value: Any, contents: bool) -> None:
    reply = await api.send(
        "GET",
        "assignment",
        COURSE,
        ASSIGNMENT,
        body=json.dumps({"user": STUDENT, "list_only": value}),
        headers=JSON,
    )
    (file,) = reply.success("files")["files"]
    assert ("content" in file) is contents


async def test_a_large_request_is_stored_and_comes_back_whole(api: Api) -> None:
    content = bytes(range(256)) * 8 * 1024  # 2 MiB
    reply = await api.post("submission", COURSE, ASSIGNMENT, user=STUDENT, files=tree(big=content))
    reply.success("timestamp")
    reply = await api.get("submission", COURSE, ASSIGNMENT, STUDENT, user=INSTRUCTOR)
    assert reply.json["files"] == full(big=content)


# Routes and replies


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/apiX/courses", "/api/nothing", "/api/courses/", "/api/Courses",
     "/api/course", "/api/course/a/b", "/api/submission/a", "/api/feedback/a/b", "/healthz/",
     "/api/healthz/x", "/api//courses", "/api/oauth_callback", "/api/static/", "/api/static/../x"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PUT"])
async def test_an_unknown_path_is_not_found(api: Api, method: str, path: str) -> None:
    body = "" if method in ("POST", "PUT") else None
    reply = await api.send_to(method, path, query={"user": ADMIN}, body=body)
    assert reply.failure == (404, "Not Found")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/healthz", "GET"),
        ("/readyz", "GET"),
        ("/api/readyz", "GET"),
        ("/api/metrics", "GET"),
        ("/api/log", "GET"),
        ("/api/log/a", "GET"),
        ("/api/missing/a/b", "GET"),
        ("/api/usage/a", "GET"),
        ("/api/healthz", "GET"),
        ("/api/", "GET"),
        ("/api/favicon.ico", "GET"),
        ("/api/initialize-Data6ase", "GET POST"),
        ("/api/courses", "GET"),
        ("/api/course/a", "POST DELETE"),
        ("/api/instructors/a", "GET"),
        ("/api/instructor/a/b", "GET POST DELETE"),
        ("/api/students/a", "GET POST"),
        ("/api/student/a/b", "GET POST DELETE"),
        ("/api/assignments/a", "GET"),
        ("/api/assignment/a/b", "GET POST DELETE"),
        ("/api/submission/a/b", "POST"),
        ("/api/submission/a/b/c", "GET"),
        ("/api/submissions/a/b", "GET"),
        ("/api/submissions/a/b/c", "GET"),
        ("/api/feedback/a/b/c", "GET POST"),
    ],
)
async def test_a_known_path_with_a_wrong_method_is_not_allowed(
    api: Api, path: str, allowed: str
) -> None:
    for method in ("GET", "POST", "DELETE", "PUT", "PATCH", "OPTIONS", "HEAD", "PROPFIND"):
        if method in allowed.split():
            continue
        body = "x=1" if method in ("POST", "PUT", "PATCH") else None
        reply = await api.send_to(method, path, query={"user": ADMIN}, body=body)
        assert reply.status == 405, method
        if method != "HEAD":
            assert reply.message == "Method Not Allowed"


async def test_replies_are_not_cached_or_guessed_at_by_browsers(api: Api) -> None:
    for reply in (
        await api.get("courses", user=ADMIN),
        await api.get("courses"),
        await api.get("feedback", COURSE, ASSIGNMENT, STUDENT, user=STUDENT, timestamp=FIRST),
    ):
        assert reply.headers["Content-Type"] == "application/json"
        assert reply.headers["Cache-Control"] == "no-store"
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert "Server" not in reply.headers


async def test_an_error_of_ours_says_a_number_and_nothing_else(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: object) -> None:
        raise RuntimeError("a detail")

    monkeypatch.setattr("ngshare.actions.courses.list_courses", broken)
    reply = await api.get("courses", user=ADMIN)
    assert reply.status == 500
    assert "a detail" not in reply.message
    number = reply.message.split()[2].rstrip(";")
    error, request = [record for record in caplog.records if number in record.getMessage()]
    assert "a detail" in caplog.text
    assert (error.name, request.name) == ("ngshare", "ngshare.access")
    assert request.getMessage().endswith(f" error={number}")
