"""Who may do what: every route and method, for every kind of caller, as in production.

Everybody is known by a token of the Hub. A route or a method that is new fails
here until it has a row, and a row until it has a cell for every caller.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple
from urllib.parse import quote

import pytest
from tornado.web import Application

from ngshare.actions import debug_records
from ngshare.blobs import sha256
from ngshare.db.transactions import Database
from ngshare.web.application import make_application, routes
from ngshare.web.base import BaseHandler
from ngshare.web.route_access import Audience, allow, audience_of, implemented_methods
from ngshare.web.service import Service
from tests.conftest import ADMIN, PREFIX, Api, Reply, tree
from tests.databases import only_sqlite
from tests.hubstub import HubStub
from tests.web.world import (
    ASSIGNMENT,
    CLASSMATE,
    COURSE,
    FIRST,
    INSTRUCTOR,
    OUTSIDER,
    STRANGER,
    STUDENT,
    tree_body,
)

CALLERS = {
    "nobody": None,
    "unscoped": ADMIN,  # a token of the admin, without the scope to use ngshare
    "stranger": STRANGER,
    "student": STUDENT,
    "classmate": CLASSMATE,
    "instructor": INSTRUCTOR,
    "outsider": OUTSIDER,  # an instructor of another course
    "admin": ADMIN,
}

# The paths are about the course "Physics 101", its assignment "ps1" and its student "sam";
# "ivy" is its instructor, "ian" another one, and "zoe" is not in it.
MATRIX = """
method path                            who                nob uns str stu cla ins out adm

GET    /healthz                             PUBLIC             200 200 200 200 200 200 200 200
GET    /api/healthz                         PUBLIC             200 200 200 200 200 200 200 200
GET    /readyz                              PUBLIC             200 200 200 200 200 200 200 200
GET    /api/readyz                          PUBLIC             200 200 200 200 200 200 200 200
GET    /api/metrics                         METRICS            401 403 403 403 403 403 403 200
GET    /api/favicon.ico                     PUBLIC             200 200 200 200 200 200 200 200
GET    /api/static/style.css                PUBLIC             200 200 200 200 200 200 200 200
GET    /api/oauth_callback                  PUBLIC             400 400 400 400 400 400 400 400
GET    /                                    PUBLIC             302 302 302 302 302 302 302 302
GET    /api                                 PUBLIC             302 302 302 302 302 302 302 302
GET    /api/                                ANYONE             401 403 200 200 200 200 200 200
GET    /api/initialize-Data6ase             DEBUG              401 403 403 403 403 403 403 200
POST   /api/initialize-Data6ase             DEBUG              401 403 403 403 403 403 403 403

GET    /api/courses                         ANYONE             401 403 200 200 200 200 200 200
POST   /api/course/New                      ADMIN              401 403 403 403 403 403 403 200
DELETE /api/course/Physics_101              ADMIN              401 403 403 403 403 403 403 200

GET    /api/instructors/Physics_101         MEMBER             401 403 403 200 200 200 403 200
GET    /api/instructor/Physics_101/ivy      MEMBER             401 403 403 200 200 200 403 200
POST   /api/instructor/Physics_101/ivy      INSTRUCTOR         401 403 403 403 403 200 403 200
POST   /api/instructor/Physics_101/ian      INSTRUCTOR         401 403 403 403 403 400 403 200
POST   /api/instructor/Physics_101/sam      INSTRUCTOR         401 403 403 403 403 400 403 200
POST   /api/instructor/Physics_101/zoe      INSTRUCTOR         401 403 403 403 403 400 403 200
DELETE /api/instructor/Physics_101/ivy      ADMIN              401 403 403 403 403 403 403 200

GET    /api/students/Physics_101            INSTRUCTOR         401 403 403 403 403 200 403 200
POST   /api/students/Physics_101            INSTRUCTOR         401 403 403 403 403 200 403 200
GET    /api/student/Physics_101/sam         INSTRUCTOR_OR_SELF 401 403 403 200 403 200 403 200
POST   /api/student/Physics_101/sam         INSTRUCTOR         401 403 403 403 403 200 403 200
DELETE /api/student/Physics_101/sam         INSTRUCTOR         401 403 403 403 403 200 403 200

GET    /api/assignments/Physics_101         MEMBER             401 403 403 200 200 200 403 200
GET    /api/assignment/Physics_101/ps1      MEMBER             401 403 403 200 200 200 403 200
POST   /api/assignment/Physics_101/new      INSTRUCTOR         401 403 403 403 403 200 403 200
DELETE /api/assignment/Physics_101/ps1      INSTRUCTOR         401 403 403 403 403 200 403 200

POST   /api/submission/Physics_101/ps1      MEMBER             401 403 403 200 200 200 403 200
GET    /api/submission/Physics_101/ps1/sam  INSTRUCTOR         401 403 403 403 403 200 403 200
GET    /api/submissions/Physics_101/ps1     INSTRUCTOR         401 403 403 403 403 200 403 200
GET    /api/submissions/Physics_101/ps1/sam INSTRUCTOR_OR_SELF 401 403 403 200 403 200 403 200

GET    /api/feedback/Physics_101/ps1/sam    INSTRUCTOR_OR_SELF 401 403 403 200 403 200 403 200
POST   /api/feedback/Physics_101/ps1/sam    INSTRUCTOR         401 403 403 403 403 200 403 200

POST   /api/tree/submission/Physics_101/ps1 MEMBER             401 403 403 200 200 200 403 200
POST   /api/tree/assignment/Physics_101/new INSTRUCTOR         401 403 403 403 403 200 403 200
POST   /api/tree/feedback/Physics_101/ps1/sam INSTRUCTOR       401 403 403 403 403 200 403 200
POST   /api/tree/missing/Physics_101/ps1    MEMBER             401 403 403 200 200 200 403 200
PUT    /api/part/Physics_101/{sha256}       MEMBER             401 403 403 200 200 200 403 200

GET    /api/log                             ADMIN              401 403 403 403 403 403 403 200
GET    /api/log/Physics_101                 INSTRUCTOR         401 403 403 403 403 200 403 200
GET    /api/missing/Physics_101/ps1         INSTRUCTOR         401 403 403 403 403 200 403 200
GET    /api/usage/Physics_101               INSTRUCTOR         401 403 403 403 403 200 403 200

GET    /api/overview                        ANYONE             401 403 200 200 200 200 200 200
GET    /api/collection/Physics_101/ps1      INSTRUCTOR         401 403 403 403 403 200 403 200
GET /api/manifest/assignment/Physics_101/ps1 MEMBER 401 403 403 200 200 200 403 200
GET /api/manifest/submission/Physics_101/ps1/sam INSTRUCTOR_OR_SELF 401 403 403 200 403 200 403 200
GET /api/manifest/feedback/Physics_101/ps1/sam INSTRUCTOR_OR_SELF 401 403 403 200 403 200 403 200

GET /api/content/assignment/Physics_101/ps1 MEMBER             401 403 403 200 200 200 403 200
GET /api/content/submission/Physics_101/ps1/sam INSTRUCTOR_OR_SELF 401 403 403 200 403 200 403 200
GET /api/content/feedback/Physics_101/ps1/sam INSTRUCTOR_OR_SELF 401 403 403 200 403 200 403 200
GET /api/archive/assignment/Physics_101/ps1 MEMBER             401 403 403 200 200 200 403 200
GET /api/archive/submission/Physics_101/ps1/sam INSTRUCTOR_OR_SELF 401 403 403 200 403 200 403 200
GET /api/archive/feedback/Physics_101/ps1/sam INSTRUCTOR_OR_SELF 401 403 403 200 403 200 403 200
GET    /api/archive/submissions/Physics_101/ps1 INSTRUCTOR     401 403 403 403 403 200 403 200
POST   /api/archive/submissions/Physics_101/ps1 INSTRUCTOR     401 403 403 403 403 200 403 200

GET    /api/receipt/Physics_101/ps1/sam     INSTRUCTOR_OR_SELF 401 403 403 200 403 200 403 200
POST   /api/receipts/verify                 INSTRUCTOR_OR_SELF 401 403 403 200 403 200 403 200
GET    /api/receipt-key                     PUBLIC             200 200 200 200 200 200 200 200
"""

PERSON = {"first_name": "Ada", "last_name": "Abel", "email": "ada@x.edu"}
ROSTER = '[{"username": "sam", "first_name": "", "last_name": "", "email": ""}]'
RECEIPT = {
    **{"course": COURSE, "assignment": ASSIGNMENT, "student": STUDENT, "timestamp": FIRST},
    **{"files": 1, "bytes": 1, "digest": "0" * 64, "signature": ""},
}
FIELDS = {
    "GET /api/initialize-Data6ase": {"action": "dump"},
    "POST /api/initialize-Data6ase": {"action": "clear"},
    "GET /api/feedback": {"timestamp": FIRST},
    "GET /api/manifest/feedback": {"timestamp": FIRST},
    "GET /api/content/assignment": {"path": "problems.ipynb"},
    "GET /api/content/submission": {"path": "second.txt"},
    "GET /api/content/feedback": {"path": "marks.html", "timestamp": FIRST},
    "GET /api/archive/feedback": {"timestamp": FIRST},
    "POST /api/archive/submissions": {"submissions": "[]"},
    "POST /api/receipts/verify": {"receipt": json.dumps(RECEIPT)},
    "POST /api/instructor": PERSON,
    "POST /api/student": PERSON,
    "POST /api/students": {"students": ROSTER},
    "POST /api/assignment": {"files": tree(a="1")},
    "POST /api/submission": {"files": tree(a="1")},
    "POST /api/feedback": {"timestamp": FIRST, "files": tree(a="1")},
    "POST /api/tree": {"timestamp": FIRST, "files": "[]"},
    "PUT /api/part": {"start": "0", "size": "1"},
}
"""The fields with which a request succeeds, by its method and the first words of its path."""


ONE = sha256(b"1").hex()
"""The digest of the file that is uploaded in one part."""

BODIES = {
    "/api/tree/submission": tree_body(a=b"1"),
    "/api/tree/assignment": tree_body(a=b"1"),
    "/api/tree/feedback": tree_body(a=b"1"),
    f"/api/part/Physics%20101/{ONE}": b"1",
}
"""Bodies that are no forms, by the beginning of the path."""


class Row(NamedTuple):
    """One line of the matrix."""

    method: str
    path: str
    who: Audience
    cells: list[int]

    @property
    def fields(self) -> dict[str, str]:
        parts = self.path.split("/")
        first = ("/".join(parts[:length]) for length in (4, 3))
        return next(filter(None, (FIELDS.get(f"{self.method} {path}") for path in first)), {})

    @property
    def body(self) -> bytes | None:
        """The body, if it is no form; the fields are in the query then."""
        return next((body for path, body in BODIES.items() if self.path.startswith(path)), None)


def _rows() -> list[Row]:
    lines = [line.split() for line in MATRIX.splitlines()[2:] if line]
    return [
        Row(
            method,
            quote(path.replace("_101", " 101").replace("{sha256}", ONE)),
            Audience[who],
            [int(cell) for cell in cells],
        )
        for method, path, who, *cells in lines
    ]


ROWS = _rows()


@pytest.fixture
def app(hub_app: Application, hub: HubStub) -> Application:
    for caller, name in CALLERS.items():
        if name is not None:
            hub.add(f"token-of-{caller}", name)
    hub.add("token-of-unscoped", ADMIN, scopes=["self", "access:services!service=another"])
    return hub_app


async def send(api: Api, row: Row, caller: str) -> Reply:
    headers = {} if caller == "nobody" else {"Authorization": f"token token-of-{caller}"}
    in_query = row.method == "GET" or row.body is not None
    return await api.send_to(
        row.method,
        row.path,
        query=row.fields if in_query else None,
        form=None if in_query else row.fields,
        body=row.body,
        headers=headers,
    )


GRANTED = [
    pytest.param(row, caller, id=f"{row.method} {row.path} {caller}")
    for row in ROWS
    for caller, cell in zip(CALLERS, row.cells, strict=True)
    if cell == 200 and row.method != "GET"
]
"""The cells that change something. Each needs a database that no other has changed."""


@pytest.mark.gen_test
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.method} {row.path}")
async def test_who_may_do_what(api: Api, database: Database, row: Row) -> None:
    before = database.read(debug_records.dump_records)
    cells = list(zip(CALLERS, row.cells, strict=True))
    # Requests that must change nothing come first, so that the dump above holds for each.
    for caller, expected in [cell for cell in cells if cell[1] != 200]:
        reply = await send(api, row, caller)
        assert reply.status == expected, f"{caller}: {reply}"
        assert reply.status == 302 or reply.message, f"{caller}: {reply}"
        assert database.read(debug_records.dump_records) == before, (
            f"{caller} was refused, after a change"
        )
    if row.method == "GET":
        for caller in [caller for caller, expected in cells if expected == 200]:
            reply = await send(api, row, caller)
            assert reply.status == 200, f"{caller}: {reply}"


@pytest.mark.gen_test
@pytest.mark.parametrize(("row", "caller"), GRANTED)
async def test_who_may_change_what(api: Api, row: Row, caller: str) -> None:
    reply = await send(api, row, caller)
    assert reply.status == 200, reply


@pytest.mark.gen_test
@only_sqlite
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.method} {row.path}")
async def test_the_field_user_is_ignored_with_a_hub(api: Api, row: Row) -> None:
    if row.who is Audience.PUBLIC:
        return
    for caller, expected in (("nobody", 401), ("stranger", row.cells[2])):
        fields = {**row.fields, "user": ADMIN}
        headers = {} if caller == "nobody" else {"Authorization": f"token token-of-{caller}"}
        form = fields if row.method != "GET" and row.body is None else None
        reply = await api.send_to(
            row.method, row.path, query=fields, form=form, body=row.body, headers=headers
        )
        assert reply.status == expected, f"{caller}: {reply}"


def test_every_route_and_method_has_a_row() -> None:
    every = {
        (pattern, method)
        for pattern, handler in routes(PREFIX, hub=True)
        for method in implemented_methods(handler)
    }
    covered = {(_route(row.path)[0], row.method.lower()) for row in ROWS}
    assert covered == every


def test_every_row_has_a_cell_for_every_caller() -> None:
    for row in ROWS:
        assert len(row.cells) == len(CALLERS), row


def test_every_row_says_what_its_handler_declares() -> None:
    for row in ROWS:
        _, handler = _route(row.path)
        assert audience_of(handler, row.method.lower()) is row.who, row


def test_routes_do_not_overlap() -> None:
    for row in ROWS:
        _route(row.path)


def test_stand_alone_has_the_same_routes_but_for_the_way_in_through_the_hub() -> None:
    with_hub = {pattern for pattern, _ in routes(PREFIX, hub=True)}
    alone = {pattern for pattern, _ in routes(PREFIX, hub=False)}
    assert {_route("/api/oauth_callback")[0]} == with_hub - alone
    assert alone < with_hub


def test_a_method_that_does_not_say_who_may_call_it_stops_the_start(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Forgetful(BaseHandler):
        @allow(Audience.ANYONE)
        async def get(self) -> None:
            self.reply()

        async def post(self) -> None:
            self.reply()

    monkeypatch.setattr("ngshare.web.api.health.routes", [("forgetful", Forgetful)])
    with pytest.raises(ValueError, match=r"Forgetful\.post.*does not say who may call it"):
        make_application(service, PREFIX, hub=False, cookie_secret=b"secret")


def _route(path: str) -> tuple[str, type]:
    """The one route of a path."""
    (found,) = [
        (pattern, handler)
        for pattern, handler in routes(PREFIX, hub=True)
        if re.fullmatch(pattern, path)
    ]
    return found
