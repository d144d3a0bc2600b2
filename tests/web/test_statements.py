"""How many statements a request sends to the database: the same, however much is in it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from sqlalchemy import Engine, event
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port

from ngshare.actions import assignments, courses, feedback, roster, roster_import, submissions
from ngshare.actions.access import Caller
from ngshare.blobs import LocalBlobs, sha256
from ngshare.db.transactions import Database
from ngshare.db.urls import parse_url
from ngshare.web.application import make_application, routes
from ngshare.web.auth.standalone import StandaloneIdentity
from ngshare.web.route_access import implemented_methods
from ngshare.web.service import Service
from tests.conftest import ADMIN, PREFIX, Api, Reply, tree
from tests.databases import Databases
from tests.web.world import (
    ASSIGNMENT,
    COLLEAGUE,
    COURSE,
    FIRST,
    INSTRUCTOR,
    STUDENT,
    stored,
    tree_body,
)

pytestmark = pytest.mark.gen_test

MANY = 40

NAMES = {"first_name": "", "last_name": "", "email": ""}
WORK = {"files": tree(one="1", two="2", three="3")}
LINE = '[{"username": "sam", "first_name": "", "last_name": "", "email": ""}]'
OWN = (COURSE, ASSIGNMENT, STUDENT)
RECEIPT = {
    **{"course": COURSE, "assignment": ASSIGNMENT, "student": STUDENT, "timestamp": FIRST},
    **{"files": 1, "bytes": 1, "digest": "0" * 64, "signature": ""},
}

REQUESTS: dict[str, tuple[str, tuple[str, ...], str, dict[str, str]]] = {
    "": ("GET", ("",), INSTRUCTOR, {}),
    "courses": ("GET", ("courses",), INSTRUCTOR, {}),
    "every course": ("GET", ("courses",), ADMIN, {}),
    "course, create": ("POST", ("course", "new"), ADMIN, {}),
    "course, remove": ("DELETE", ("course", COURSE), ADMIN, {}),
    "instructors": ("GET", ("instructors", COURSE), STUDENT, {}),
    "instructor": ("GET", ("instructor", COURSE, INSTRUCTOR), STUDENT, {}),
    "instructor, change": ("POST", ("instructor", COURSE, INSTRUCTOR), INSTRUCTOR, NAMES),
    "instructor, remove": ("DELETE", ("instructor", COURSE, COLLEAGUE), ADMIN, {}),
    "students": ("GET", ("students", COURSE), INSTRUCTOR, {}),
    "students, import": ("POST", ("students", COURSE), INSTRUCTOR, {"students": LINE}),
    "student": ("GET", ("student", COURSE, STUDENT), STUDENT, {}),
    "student, change": ("POST", ("student", COURSE, STUDENT), INSTRUCTOR, NAMES),
    "student, remove": ("DELETE", ("student", COURSE, STUDENT), INSTRUCTOR, {}),
    "assignments": ("GET", ("assignments", COURSE), STUDENT, {}),
    "assignment": ("GET", ("assignment", COURSE, ASSIGNMENT), STUDENT, {}),
    "assignment, release": ("POST", ("assignment", COURSE, "new"), INSTRUCTOR, WORK),
    "assignment, remove": ("DELETE", ("assignment", COURSE, ASSIGNMENT), INSTRUCTOR, {}),
    "submissions": ("GET", ("submissions", COURSE, ASSIGNMENT), INSTRUCTOR, {}),
    "submissions, a part": ("GET", ("submissions", COURSE, ASSIGNMENT), INSTRUCTOR, {"limit": "2"}),
    "one's submissions": ("GET", ("submissions", *OWN), STUDENT, {}),
    "submission": ("GET", ("submission", *OWN), INSTRUCTOR, {}),
    "submission, by time": ("GET", ("submission", *OWN), INSTRUCTOR, {"timestamp": FIRST}),
    "submission, hand in": ("POST", ("submission", COURSE, ASSIGNMENT), STUDENT, WORK),
    "feedback": ("GET", ("feedback", *OWN), STUDENT, {"timestamp": FIRST}),
    "feedback, give": ("POST", ("feedback", *OWN), INSTRUCTOR, {"timestamp": FIRST, **WORK}),
    "tree/submission": ("POST", ("tree/submission", COURSE, ASSIGNMENT), STUDENT, {}),
    "tree/assignment": ("POST", ("tree/assignment", COURSE, "new"), INSTRUCTOR, {}),
    "tree/feedback": ("POST", ("tree/feedback", *OWN), INSTRUCTOR, {"timestamp": FIRST}),
    "tree/missing": (
        "POST",
        ("tree/missing", COURSE, ASSIGNMENT),
        STUDENT,
        {"files": json.dumps([{"path": "a", "sha256": "0" * 64, "size": 1}])},
    ),
    "part": ("PUT", ("part", COURSE, sha256(b"1").hex()), STUDENT, {"start": "0", "size": "1"}),
    "log": ("GET", ("log",), ADMIN, {}),
    "log of a course": ("GET", ("log", COURSE), INSTRUCTOR, {"student": STUDENT}),
    "missing": ("GET", ("missing", COURSE, ASSIGNMENT), INSTRUCTOR, {}),
    "usage": ("GET", ("usage", COURSE), INSTRUCTOR, {}),
    "overview": ("GET", ("overview",), STUDENT, {}),
    "overview of an instructor": ("GET", ("overview",), INSTRUCTOR, {"counts": "true"}),
    "overview of a course": ("GET", ("overview",), INSTRUCTOR, {"course": COURSE}),
    "collection": ("GET", ("collection", COURSE, ASSIGNMENT), INSTRUCTOR, {"before": FIRST}),
    "collection, all": ("GET", ("collection", COURSE, ASSIGNMENT), INSTRUCTOR, {"all": "true"}),
    "manifest": ("GET", ("manifest/assignment", COURSE, ASSIGNMENT), STUDENT, {}),
    "manifest of a submission": ("GET", ("manifest/submission", *OWN), STUDENT, {}),
    "manifest of feedback": ("GET", ("manifest/feedback", *OWN), STUDENT, {"timestamp": FIRST}),
    "content": (
        "GET",
        ("content/assignment", COURSE, ASSIGNMENT),
        STUDENT,
        {"path": "problems.ipynb"},
    ),
    "content of a submission": (
        *("GET", ("content/submission", *OWN), STUDENT),
        {"path": "first.txt", "timestamp": FIRST},
    ),
    "content of feedback": (
        *("GET", ("content/feedback", *OWN), STUDENT),
        {"path": "marks.html", "timestamp": FIRST},
    ),
    "archive": ("GET", ("archive/assignment", COURSE, ASSIGNMENT), STUDENT, {}),
    "archive of a submission": ("GET", ("archive/submission", *OWN), STUDENT, {}),
    "archive of feedback": ("GET", ("archive/feedback", *OWN), STUDENT, {"timestamp": FIRST}),
    "archive of all": ("GET", ("archive/submissions", COURSE, ASSIGNMENT), INSTRUCTOR, {}),
    "archive of some": (
        *("POST", ("archive/submissions", COURSE, ASSIGNMENT), INSTRUCTOR),
        {"submissions": json.dumps([{"student_id": STUDENT, "timestamp": FIRST}])},
    ),
    "receipt": ("GET", ("receipt", *OWN), STUDENT, {}),
    "receipt, verify": ("POST", ("receipts/verify",), STUDENT, {"receipt": json.dumps(RECEIPT)}),
    "receipt, key": ("GET", ("receipt-key",), STUDENT, {}),
    "every record": ("GET", ("initialize-Data6ase",), ADMIN, {"action": "dump"}),
    "every record, clear": ("POST", ("initialize-Data6ase",), ADMIN, {"action": "clear"}),
}
"""Method, path, caller and fields of a request for every method of every route of records."""

BODIES = {
    "tree/submission": tree_body(a=b"1", unsent={"problems.ipynb": b"{}", "first.txt": b"1"}),
    "tree/assignment": tree_body(a=b"1"),
    "tree/feedback": tree_body(a=b"1"),
    "part": b"1",
}
"""The bodies of requests that are no forms."""

OTHERS = {"healthz", "readyz", "metrics", "/", "/healthz", "/readyz"}
OTHERS |= {r"static/style\.css", r"favicon\.ico"}
"""Routes that ask for no records."""


@pytest.fixture(scope="session")
def filled_template(databases: Databases, populated_template: str) -> str:
    """That database with many more of everything, in the same course and in others."""

    def fill(url: str) -> None:
        database = Database(parse_url(url))
        _fill(database)
        database.close()

    return databases.template("filled", fill, of=populated_template)


def _fill(database: Database) -> None:
    admin, instructor = Caller(ADMIN, admin=True), Caller(INSTRUCTOR)
    people = [roster.Person(f"student{at}", "", "", "") for at in range(MANY)]
    database.write(roster_import.import_students, instructor, COURSE, people)
    for at in range(MANY):
        moment = datetime(2021, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=at)
        files = [stored("first.txt")]
        with patch("ngshare.actions.audit.now", return_value=moment):
            database.write(courses.create_course, admin, f"course{at}", [INSTRUCTOR])
            database.write(roster.put_instructor, admin, COURSE, f"teacher{at}", "", "", "")
            database.write(assignments.release_assignment, instructor, COURSE, f"more{at}", files)
            for name in (STUDENT, people[at].username):
                database.write(submissions.submit, Caller(name), COURSE, ASSIGNMENT, files)
            own = (COURSE, ASSIGNMENT, STUDENT, FIRST, [stored("marks.html")])
            database.write(feedback.give_feedback, instructor, *own)


@contextlib.contextmanager
def counted() -> Iterator[list[str]]:
    """The statements that this process sends to databases meanwhile."""
    statements: list[str] = []

    def note(*arguments: Any) -> None:
        statements.append(arguments[2])

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def send(api: Api, name: str) -> Reply:
    method, (words, *names), caller, fields = REQUESTS[name]
    path = (*words.split("/"), *names)
    if method == "POST" and name not in BODIES:
        return await api.post(*path, user=caller, **fields)
    return await api.send(method, *path, query={"user": caller, **fields}, body=BODIES.get(name))


async def statements_of(api: Api, name: str) -> list[str]:
    await api.get("courses", user=REQUESTS[name][2])  # from now on the caller is known
    with counted() as statements:
        reply = await send(api, name)
    assert reply.status == 200
    return statements


@contextlib.contextmanager
def served(url: str, blobs: LocalBlobs, http_client: AsyncHTTPClient) -> Iterator[Api]:
    """A service on this database."""
    service = Service(
        database=Database(parse_url(url)),
        blobs=blobs,
        identity=StandaloneIdentity(),
        admins=[ADMIN],
        debug=True,
    )
    application = make_application(service, PREFIX, hub=False, cookie_secret=b"secret")
    server = HTTPServer(application)
    sock, port = bind_unused_port()
    server.add_socket(sock)
    try:
        yield Api(http_client, f"http://127.0.0.1:{port}")
    finally:
        server.stop()
        service.close()


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_request_sends_no_more_statements_where_there_is_more(
    name: str,
    databases: Databases,
    populated_template: str,
    filled_template: str,
    blobs: LocalBlobs,
    http_client: AsyncHTTPClient,
    tmp_path: Path,
) -> None:
    sent = []
    for template in (populated_template, filled_template):
        folder = tmp_path / str(len(sent))
        folder.mkdir()
        with databases.copy(template, folder) as url, served(url, blobs, http_client) as api:
            sent.append(await statements_of(api, name))
    few, many = sent
    assert 0 < len(few) <= 20
    assert len(many) <= len(few), "\n".join(many)


def test_every_route_is_counted() -> None:
    counted = {(method, path[0]) for method, path, _, _ in REQUESTS.values()}
    for pattern, handler in routes("", hub=False):
        name = pattern.partition("/([")[0]
        if name not in OTHERS:
            assert {(method.upper(), name) for method in implemented_methods(handler)} <= counted
