"""Whatever a request holds: it is answered, never with an error of ours, and changes nothing.

Tables of what is known to be bad, and then whatever Hypothesis thinks of. After
each request that was refused, the dump of all records is what it was before.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ngshare.actions import debug_records
from ngshare.blobs import LocalBlobs
from ngshare.db.transactions import Database
from ngshare.web.service import Service
from tests.conftest import ADMIN, PREFIX, Api, Reply, tree
from tests.protocol.test_formats import paths
from tests.web.test_uploads import json_values
from tests.web.world import ASSIGNMENT, COURSE, FIRST, INSTRUCTOR, SECOND, STUDENT

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}
PERSON = {"first_name": "", "last_name": "", "email": ""}

SUBMISSION = ("submission", COURSE, ASSIGNMENT)
FEEDBACK = ("feedback", COURSE, ASSIGNMENT, STUDENT)

Send = Callable[..., Awaitable[Reply]]


@pytest.fixture
def send(api: Api, database: Database, blobs: LocalBlobs) -> Send:
    """Send a request as ``Api.send`` does. Unless it succeeds, it must have changed nothing."""

    def state() -> tuple[Any, Any]:
        return database.read(debug_records.dump_records), sorted(blobs.folder.glob("*/*/*"))

    async def send(*args: Any, **kwargs: Any) -> Reply:
        before = state()
        reply = await api.send(*args, **kwargs)
        assert reply.status < 500, reply
        if reply.status != 200:
            assert reply.message
            assert state() == before
        return reply

    return send


# JSON of every type where another is expected

NOT_TEXT = [7, 1.5, True, False, [], {}, ["a"], {"a": "b"}]


@pytest.mark.gen_test
@pytest.mark.parametrize("field", ["first_name", "last_name", "email"])
async def test_names_of_people_are_texts(send: Send, field: str) -> None:
    for value in NOT_TEXT:
        for path in (("student", COURSE, STUDENT), ("instructor", COURSE, INSTRUCTOR)):
            body = json.dumps({"user": INSTRUCTOR, **PERSON, field: value})
            reply = await send("POST", *path, body=body, headers=JSON)
            assert reply.status == 400, f"{path[0]}, {value!r}: {reply}"
            assert field in reply.message, f"{path[0]}, {value!r}: {reply}"


@pytest.mark.gen_test
async def test_the_user_is_a_text(send: Send) -> None:
    for value in NOT_TEXT:
        for method, path in (("POST", SUBMISSION), ("DELETE", ("course", COURSE))):
            body = json.dumps({"user": value, "files": []})
            reply = await send(method, *path, body=body, headers=JSON)
            assert reply.status == 400, f"{method}, {value!r}: {reply}"
            assert "user" in reply.message, f"{method}, {value!r}: {reply}"


@pytest.mark.gen_test
async def test_a_timestamp_is_a_text(send: Send) -> None:
    for value in NOT_TEXT:
        body = json.dumps({"user": INSTRUCTOR, "timestamp": value, "files": []})
        reply = await send("POST", *FEEDBACK, body=body, headers=JSON)
        assert reply.status == 400, f"{value!r}: {reply}"
        assert "timestamp" in reply.message, f"{value!r}: {reply}"


@pytest.mark.gen_test
@pytest.mark.parametrize("value", [7, True, "a", {}, [7], [None], [[]], [{}], ["a", ""]], ids=str)
async def test_instructors_are_a_list_of_names(send: Send, value: Any) -> None:
    body = json.dumps({"user": ADMIN, "instructors": value})
    reply = await send("POST", "course", "New", body=body, headers=JSON)
    assert reply.status == 400


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "value", [None, 0, 7, "", [], {}, True, [7], [None], [[]], [{}], [[{}]], {"a": []}], ids=str
)
async def test_students_are_a_list_of_objects(send: Send, value: Any) -> None:
    body = json.dumps({"user": INSTRUCTOR, "students": value})
    reply = await send("POST", "students", COURSE, body=body, headers=JSON)
    assert reply.status == 400


@pytest.mark.gen_test
@pytest.mark.parametrize("text", ["\ud800", "a\udfff", "\ud83d", "\ude00\ud83d"], ids=ascii)
async def test_half_a_character_is_no_text(send: Send, text: str) -> None:
    for field in ("user", "timestamp"):
        body = json.dumps({"user": INSTRUCTOR, "timestamp": FIRST, "files": [], field: text})
        assert (await send("POST", *FEEDBACK, body=body, headers=JSON)).status == 400
    for field in PERSON:
        body = json.dumps({"user": INSTRUCTOR, **PERSON, field: text})
        path = ("student", COURSE, STUDENT)
        assert (await send("POST", *path, body=body, headers=JSON)).status == 400
    body = json.dumps({"user": ADMIN, "instructors": [text]})
    assert (await send("POST", "course", "New", body=body, headers=JSON)).status == 400


@pytest.mark.gen_test
async def test_control_characters_become_blanks(send: Send, api: Api) -> None:
    names = {"first_name": "A\0B", "last_name": "\x1b[2J", "email": "\x00"}
    body = urlencode({"user": INSTRUCTOR, **names})
    (await send("POST", "student", COURSE, STUDENT, body=body)).success()
    reply = await api.get("student", COURSE, STUDENT, user=STUDENT)
    kept = {"first_name": "A B", "last_name": "[2J", "email": ""}
    assert reply.json == {"success": True, "username": STUDENT, **kept}


@pytest.mark.gen_test
async def test_null_is_the_same_as_absent(send: Send) -> None:
    body = json.dumps({"user": STUDENT, "files": None})
    reply = await send("POST", *SUBMISSION, body=body, headers=JSON)
    assert reply.failure == (400, "Please supply files")
    body = json.dumps({"user": INSTRUCTOR, "timestamp": None, "files": []})
    reply = await send("POST", *FEEDBACK, body=body, headers=JSON)
    assert reply.failure == (400, "Please supply timestamp")


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "body",
    ["", "{", "[]", "null", "7", '"a"', "user=sam", "{'user': 'sam'}", '{"user": "sam"', "\ufeff{}",
     '{"user": "sam"}' * 2, "[" * 100_000, '{"a":' * 100_000, '{"user": ' + "9" * 5_000 + "}",
     '{"user": "\\ud800"}', '{"user": NaN}', '{"user": 1e999}'],
)  # fmt: skip
async def test_a_json_body_is_an_object(send: Send, body: str) -> None:
    reply = await send("POST", *SUBMISSION, body=body, headers=JSON)
    assert reply.status in (400, 401)


@pytest.mark.gen_test
@pytest.mark.parametrize("depth", [10, 500, 900, 5_000, 200_000])
async def test_json_may_be_nested_as_deeply_as_it_likes(send: Send, depth: int) -> None:
    nested = "[" * depth + "]" * depth
    for field in ("files", "timestamp", "email"):
        body = f'{{"user": "{INSTRUCTOR}", "first_name": "", "last_name": "", "{field}": {nested}}}'
        for path in (SUBMISSION, FEEDBACK, ("student", COURSE, STUDENT)):
            assert (await send("POST", *path, body=body, headers=JSON)).status == 400
    form = urlencode({"user": STUDENT, "files": nested})
    assert (await send("POST", *SUBMISSION, body=form)).status == 400
    form = urlencode({"user": INSTRUCTOR, "students": nested})
    assert (await send("POST", "students", COURSE, body=form)).status == 400


# Sizes


@pytest.mark.gen_test
async def test_ten_thousand_fields_are_refused(send: Send) -> None:
    fields = {f"field{n}": "1" for n in range(10_000)}
    reply = await send("POST", *SUBMISSION, body=urlencode({"user": STUDENT, **fields}))
    assert reply.status == 400
    assert "1000" in reply.message
    parts = "".join(
        f'--line\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n1\r\n' for name in fields
    )
    headers = {"Content-Type": "multipart/form-data; boundary=line"}
    reply = await send("POST", *SUBMISSION, body=parts + "--line--\r\n", headers=headers)
    assert reply.status in (400, 401)


@pytest.mark.gen_test
async def test_a_tree_of_ten_thousand_files_is_fine(send: Send) -> None:
    files = json.dumps([{"path": f"folder/{n}", "content": ""} for n in range(10_000)])
    reply = await send("POST", *SUBMISSION, body=urlencode({"user": STUDENT, "files": files}))
    reply.success("timestamp")
    query = {"user": INSTRUCTOR, "list_only": "true"}
    reply = await send("GET", *SUBMISSION, STUDENT, query=query)
    assert len(reply.json["files"]) == 10_000


@pytest.mark.gen_test
@pytest.mark.parametrize("name", ["n" * 256, "n" * 10_000, "ü" * 256])
async def test_a_name_that_is_too_long_is_refused(send: Send, name: str) -> None:
    for method, path, fields in (
        ("POST", ("course", name), {"user": ADMIN}),
        ("GET", ("assignments", name), {"user": ADMIN}),
        ("POST", ("student", COURSE, name), {"user": INSTRUCTOR, **PERSON}),
        ("POST", ("instructor", COURSE, name), {"user": ADMIN, **PERSON}),
        ("POST", ("assignment", COURSE, name), {"user": INSTRUCTOR, "files": "[]"}),
        ("GET", ("courses",), {"user": name}),
    ):
        query = fields if method == "GET" else None
        body = urlencode(fields) if method == "POST" else None
        assert (await send(method, *path, query=query, body=body)).status == 400


@pytest.mark.gen_test
async def test_a_name_of_a_person_may_be_long(send: Send, api: Api) -> None:
    fields = {"first_name": "Ü" * 100_000, "last_name": "x", "email": ""}
    body = urlencode({"user": INSTRUCTOR, **fields})
    (await send("POST", "student", COURSE, STUDENT, body=body)).success()
    reply = await api.get("student", COURSE, STUDENT, user=STUDENT)
    assert reply.json == {"success": True, "username": STUDENT, **fields}


@pytest.mark.gen_test
@pytest.mark.parametrize("headers", [FORM, JSON, {"Content-Type": "text/plain"}, {}], ids=str)
@pytest.mark.parametrize("mebibytes", [4, 6])
async def test_a_body_that_is_too_large_is_refused(
    send: Send, headers: dict[str, str], mebibytes: int
) -> None:
    """The service of these tests takes 4 MiB; the last byte here is one too many."""
    body = b"x" * (mebibytes * 2**20 + 1)
    for path in (SUBMISSION, ("course", "New"), ("assignment", "No such course", "x")):
        reply = await send("POST", *path, query={"user": STUDENT}, body=body, headers=headers)
        assert reply.status == 413
        assert "4 MiB" in reply.message


@pytest.mark.gen_test
async def test_a_body_of_just_the_allowed_size_is_read(send: Send) -> None:
    reply = await send("POST", *SUBMISSION, query={"user": STUDENT}, body=b"x" * 4 * 2**20)
    assert reply.failure == (400, "Please supply files")


# Encodings

BAD_UTF8 = ["%ff", "%c3", "%ed%a0%80", "%c0%af", "%f5%80%80%80", "a%80b"]


@pytest.mark.gen_test
@pytest.mark.parametrize("bad", BAD_UTF8)
async def test_names_in_a_path_are_utf8(api: Api, send: Send, bad: str) -> None:
    course = quote(COURSE)
    for method, path in (
        ("GET", f"assignments/{bad}"),
        ("POST", f"course/{bad}"),
        ("DELETE", f"course/{bad}"),
        ("POST", f"student/{course}/{bad}"),
        ("GET", f"submission/{course}/{bad}/sam"),
        ("POST", f"feedback/{course}/{ASSIGNMENT}/{bad}"),
    ):
        form = None if method == "GET" else {"user": ADMIN}
        reply = await api.send_to(method, PREFIX + path, query={"user": ADMIN}, form=form)
        assert reply.status == 400
        assert reply.message


@pytest.mark.gen_test
@pytest.mark.parametrize("bad", BAD_UTF8)
async def test_fields_are_utf8(api: Api, send: Send, bad: str) -> None:
    for query in (f"user={bad}", f"{bad}=1&user=root", f"user=root&x={bad}"):
        reply = await api.send_to("GET", f"{PREFIX}courses?{query}")
        assert reply.failure == (400, "The request's fields are not UTF-8 text")
        reply = await send("POST", "course", "New", body=query, headers=FORM)
        assert reply.failure == (400, "The request's fields are not UTF-8 text")


@pytest.mark.gen_test
async def test_bytes_that_are_not_encoded_at_all(send: Send) -> None:
    for kind in (FORM, JSON, {"Content-Type": "multipart/form-data; boundary=x"}):
        for body in (b"user=\xff", b'{"user": "\xff"}', b"--x\r\n\xff", bytes(range(256))):
            reply = await send("POST", *SUBMISSION, body=body, headers=kind)
            assert reply.status in (400, 401)


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "kind", ["text/plain", "application/xml", "application/octet-stream", "x", "multipart/mixed"]
)
async def test_other_content_types_are_refused(send: Send, kind: str) -> None:
    body = urlencode({"user": STUDENT, "files": tree(a="1")})
    reply = await send("POST", *SUBMISSION, body=body, headers={"Content-Type": kind})
    assert reply.status == 400
    assert kind in reply.message


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "kind",
    ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=x"],
)
async def test_multipart_that_is_none_is_refused(send: Send, kind: str) -> None:
    body = urlencode({"user": STUDENT, "files": tree(a="1")})
    reply = await send("POST", *SUBMISSION, body=body, headers={"Content-Type": kind})
    assert reply.status == 400


@pytest.mark.gen_test
async def test_a_compressed_body_is_refused(send: Send) -> None:
    headers = {**FORM, "Content-Encoding": "gzip"}
    reply = await send("POST", *SUBMISSION, body=b"\x1f\x8b", headers=headers)
    assert reply.status == 400
    assert "Content-Encoding" in reply.message


# Requests that are broken as HTTP


async def raw(api: Api, head: str, body: bytes = b"", *, end: bool = False) -> list[int]:
    """Send bytes as they are, and return the statuses of all replies until the connection ends."""
    port = urlsplit(api.base_url).port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head.replace("\n", "\r\n").encode("latin1") + body)
    if end:
        writer.write_eof()
    replies = b""
    with contextlib.suppress(ConnectionError):
        while received := await reader.read(65536):
            replies += received
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return [int(status) for status in re.findall(rb"HTTP/1.1 (\d+)", replies)]


POST = f"POST {PREFIX}submission/{quote(COURSE)}/{ASSIGNMENT} HTTP/1.1\nHost: localhost\n"
BODY = urlencode({"user": STUDENT, "files": tree(a="1")}).encode()


def dump(database: Database) -> Any:
    return database.read(debug_records.dump_records)


@pytest.mark.gen_test
async def test_the_request_of_the_next_tests_would_be_good(api: Api) -> None:
    head = f"{POST}Content-Length: {len(BODY)}\nConnection: close\n\n"
    assert await raw(api, head, BODY) == [200]


@pytest.mark.gen_test
@pytest.mark.parametrize("missing", [1, 20, len(BODY) - 1, len(BODY)])
async def test_a_body_that_ends_too_early_is_not_stored(
    api: Api, database: Database, service: Service, missing: int
) -> None:
    before = dump(database)
    head = f"{POST}Content-Length: {len(BODY)}\n\n"
    assert await raw(api, head, BODY[: len(BODY) - missing], end=True) == []
    assert dump(database) == before
    await service.idle()
    (await api.get("courses", user=STUDENT)).success("courses")


@pytest.mark.gen_test
@pytest.mark.parametrize("length", [0, 1, 8, 40])
async def test_a_body_that_goes_on_too_long_is_cut_and_refused(
    api: Api, database: Database, length: int
) -> None:
    before = dump(database)
    head = f"{POST}Content-Length: {length}\n\n"
    first, *rest = await raw(api, head, BODY + b"\r\n\r\n")
    assert first in (400, 401)
    assert all(status == 400 for status in rest)
    assert dump(database) == before


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "lines",
    [
        "Content-Length: many",
        "Content-Length: -1",
        "Content-Length: +{n}",
        "Content-Length: 0x10",
        "Content-Length: {n}.0",
        "Content-Length: 1_0",
        "Content-Length: 5 5",
        "Content-Length: \xb2",
        "Content-Length: 5, 6",
        "Content-Length: {n}\nContent-Length: 1",
        "Content-Length: {n}\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked",
        "Content-Length: {n}\n : x",
        "Content-Length: {n}\n\x00: x",
    ],
)
async def test_a_length_that_is_none_is_refused(api: Api, database: Database, lines: str) -> None:
    before = dump(database)
    head = f"{POST}{lines.format(n=len(BODY))}\nConnection: close\n\n"
    statuses = await raw(api, head, BODY, end=True)
    assert all(400 <= status < 500 for status in statuses), statuses
    assert dump(database) == before
    (await api.get("courses", user=STUDENT)).success("courses")


@pytest.mark.gen_test
@pytest.mark.parametrize("length", ["4194305", "999999999999", "9" * 30])
async def test_a_length_that_is_too_large_is_refused(
    api: Api, database: Database, length: str
) -> None:
    before = dump(database)
    statuses = await raw(api, f"{POST}Content-Length: {length}\n\n", BODY, end=True)
    assert all(400 <= status < 500 for status in statuses), statuses
    assert dump(database) == before
    (await api.get("courses", user=STUDENT)).success("courses")


CHUNK = b"100000\r\n" + b"x" * 2**20 + b"\r\n"  # 1 MiB


@pytest.mark.gen_test
async def test_a_chunked_body_that_is_too_large_is_refused(api: Api, database: Database) -> None:
    before = dump(database)
    head = f"{POST}Transfer-Encoding: chunked\nConnection: close\n\n"
    assert await raw(api, head, CHUNK * 6 + b"0\r\n\r\n") == [413]
    assert dump(database) == before


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("line", "body"),
    [("Content-Length: 20971520", b"x" * 20 * 2**20), ("Transfer-Encoding: chunked", CHUNK * 20)],
    ids=["length", "chunked"],
)
async def test_a_body_without_end_is_not_read_to_its_end(
    api: Api, database: Database, service: Service, line: str, body: bytes
) -> None:
    """Who sends that much may see the connection end before the reply."""
    before = dump(database)
    assert await raw(api, f"{POST}{line}\n\n", body) in ([413], [])
    assert dump(database) == before
    await service.idle()
    (await api.get("courses", user=STUDENT)).success("courses")


@pytest.mark.gen_test
async def test_a_chunked_body_is_understood(api: Api) -> None:
    head = f"{POST}Transfer-Encoding: chunked\nConnection: close\n\n"
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
    assert await raw(api, head, body) == [200]


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "head",
    [
        "rubbish\n\n",
        "GET\n\n",
        "GET /api/courses\n\n",
        "GET /api/courses HTTP/9.9\n\n",
        "GET http://[ HTTP/1.1\nHost: localhost\n\n",
        "GET * HTTP/1.1\nHost: localhost\n\n",
        "GET /api/\xff HTTP/1.1\nHost: localhost\n\n",
        "GET /api/courses?user=\xff HTTP/1.1\nHost: localhost\nConnection: close\n\n",
        "GET /api/courses HTTP/1.1\n\n",
        "GET /api/courses HTTP/1.1\nHost: \xff\n\n",
        "GET /api/courses HTTP/1.1\nHost: localhost\nCookie: \xff=\xff; a\n\n",
        "GET /api/courses HTTP/1.1\nHost: localhost\nX: " + "x" * 100_000 + "\n\n",
    ],
    ids=range(12),
)
async def test_a_request_that_is_no_http_is_refused(
    api: Api, caplog: pytest.LogCaptureFixture, head: str
) -> None:
    statuses = await raw(api, head, end=True)
    assert all(400 <= status < 500 for status in statuses), statuses
    assert "Traceback" not in caplog.text
    (await api.get("courses", user=STUDENT)).success("courses")


# Whatever Hypothesis thinks of

bounded = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@bounded
@given(json_values | st.lists(st.fixed_dictionaries({"path": paths, "content": st.text()})))
@example([{"path": "a", "content": "MQ=="}])
def test_any_files(io_loop: Any, send: Send, files: Any) -> None:
    async def run() -> None:
        body = json.dumps({"user": STUDENT, "files": files})
        reply = await send("POST", *SUBMISSION, body=body, headers=JSON)
        assert reply.status in (200, 400)
        if reply.status == 200:
            query = {"user": INSTRUCTOR, "list_only": "true"}
            stored = (await send("GET", *SUBMISSION, STUDENT, query=query)).json["files"]
            sent = json.loads(files) if isinstance(files, str) else files
            assert {file["path"] for file in stored} == {file["path"] for file in sent}

    io_loop.run_sync(run)


@bounded
@given(paths)
@example("a/b")
def test_any_path(io_loop: Any, send: Send, path: str) -> None:
    async def run() -> None:
        files = [{"path": "folder/file", "content": ""}, {"path": path, "content": "MQ=="}]
        body = json.dumps({"user": STUDENT, "files": files})
        reply = await send("POST", *SUBMISSION, body=body, headers=JSON)
        if reply.status == 200:
            query = {"user": INSTRUCTOR, "list_only": "true"}
            stored = (await send("GET", *SUBMISSION, STUDENT, query=query)).json["files"]
            assert {file["path"] for file in stored} == {"folder/file", path}
        else:
            assert reply.failure == (400, "Illegal path")

    io_loop.run_sync(run)


@bounded
@given(
    st.sampled_from(["POST", "DELETE", "GET"]),
    st.sampled_from([SUBMISSION, FEEDBACK, ("student", COURSE, STUDENT), ("students", COURSE)]),
    st.sampled_from([FORM, JSON, {"Content-Type": "multipart/form-data; boundary=x"}])
    | st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1).map(
        lambda kind: {"Content-Type": kind}
    ),
    st.binary(max_size=100),
)
def test_any_body(
    io_loop: Any, send: Send, method: str, path: tuple[str, ...], kind: Any, body: bytes
) -> None:
    async def run() -> None:
        query = {"user": INSTRUCTOR}
        reply = await send(method, *path, query=query, body=body, headers=kind)
        assert reply.status in (200, 400, 401, 404, 405)

    io_loop.run_sync(run)


@bounded
@given(
    st.sampled_from(["GET", "POST", "DELETE"]),
    st.sampled_from(
        ["course", "assignments", "assignment", "student", "submission", "submissions", "feedback"]
    ),
    st.lists(st.binary(max_size=8) | st.sampled_from([COURSE.encode(), b"ps1"]), max_size=4),
    st.binary(max_size=20),
)
def test_any_names_and_any_query(
    io_loop: Any, api: Api, database: Database, method: str, kind: str, names: Any, query: bytes
) -> None:
    async def run() -> None:
        before = dump(database)
        path = "/".join([kind, *(quote(name, safe="") for name in names)])
        raw_query = quote(query, safe="=&+%")
        body = "" if method == "POST" else None
        url = f"{PREFIX}{path}?user={STUDENT}&{raw_query}"
        reply = await api.send_to(method, url, body=body)
        assert reply.status in (200, 400, 401, 403, 404, 405), reply
        if reply.status != 200:
            assert reply.message
            if not query:
                assert dump(database) == before

    io_loop.run_sync(run)


@bounded
@given(st.text(max_size=30) | st.sampled_from([FIRST, SECOND]))
def test_any_timestamp(io_loop: Any, send: Send, timestamp: str) -> None:
    async def run() -> None:
        fields = {"user": INSTRUCTOR, "timestamp": timestamp, "files": []}
        reply = await send("POST", *FEEDBACK, body=json.dumps(fields), headers=JSON)
        assert reply.status in (200, 400, 404)
        assert (reply.status == 200) is (timestamp in (FIRST, SECOND))

    io_loop.run_sync(run)


@bounded
@given(json_values)
def test_any_roster(io_loop: Any, send: Send, students: Any) -> None:
    async def run() -> None:
        body = json.dumps({"user": INSTRUCTOR, "students": students})
        reply = await send("POST", "students", COURSE, body=body, headers=JSON)
        assert reply.status == 400

    io_loop.run_sync(run)


@bounded
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "username": st.text(max_size=5) | st.sampled_from([STUDENT, INSTRUCTOR]),
                "first_name": st.text(max_size=5),
                "last_name": st.text(max_size=5),
                "email": st.text(max_size=5),
            }
        ),
        min_size=1,
        max_size=5,
    )
)
def test_any_people(io_loop: Any, send: Send, students: list[dict[str, str]]) -> None:
    async def run() -> None:
        body = json.dumps({"user": INSTRUCTOR, "students": students})
        reply = await send("POST", "students", COURSE, body=body, headers=JSON)
        if reply.status == 400:
            assert reply.message == "Incorrect request format"
            return
        status = reply.success("status")["status"]
        assert [one["username"] for one in status] == [one["username"] for one in students]
        listed = (await send("GET", "students", COURSE, query={"user": INSTRUCTOR})).json
        enrolled = {one["username"]: one for one in listed["students"]}
        for sent, one in zip(students, status, strict=True):
            assert one["success"] is (sent["username"] in enrolled)
        assert INSTRUCTOR not in enrolled

    io_loop.run_sync(run)


@bounded
@given(st.text(max_size=10), st.text(max_size=10), st.text(max_size=10))
def test_any_names_of_a_person(io_loop: Any, send: Send, first: str, last: str, mail: str) -> None:
    async def run() -> None:
        fields = {"first_name": first, "last_name": last, "email": mail}
        body = json.dumps({"user": INSTRUCTOR, **fields})
        reply = await send("POST", "student", COURSE, STUDENT, body=body, headers=JSON)
        assert reply.status in (200, 400)

    io_loop.run_sync(run)
