"""What the start page tells people to do next, behind a Hub, where they have servers."""

from __future__ import annotations

import html
from urllib.parse import urlencode

import pytest
from tornado.web import Application

from tests.conftest import ADMIN, Api
from tests.hubstub import HubStub
from tests.web.world import INSTRUCTOR, STRANGER, STUDENT

pytestmark = pytest.mark.gen_test

ADVICE = ("Formgrader", "Assignment List", "create_course", "add you")


@pytest.fixture
def app(hub_app: Application, hub: HubStub) -> Application:
    for name in (ADMIN, INSTRUCTOR, STUDENT, STRANGER, "kay"):
        hub.add(f"of-{name}", name)
    return hub_app


async def start_page(api: Api, user: str) -> str:
    headers = {"Authorization": f"token of-{user}", "Accept": "text/html"}
    reply = await api.send("GET", "", headers=headers)
    assert reply.status == 200
    return html.unescape(reply.body.decode())


async def test_an_instructor_reads_how_to_add_students(api: Api) -> None:
    headers = {"Authorization": f"token of-{ADMIN}"}
    body = urlencode({"instructors": '["kay"]'})
    reply = await api.send("POST", "course", "A 'b' $(c)", headers=headers, body=body)
    assert reply.status == 200
    page = await start_page(api, "kay")
    assert "add_students 'A '\"'\"'b'\"'\"' $(c)' students.csv" in page


@pytest.mark.parametrize(
    ("user", "shown"),
    [
        (INSTRUCTOR, ["Formgrader", "add_students 'Physics 101' students.csv"]),
        (STUDENT, ["Assignment List"]),
        (ADMIN, ["create_course COURSE INSTRUCTOR"]),
        (STRANGER, ["add you, under the name", STRANGER]),
    ],
)
async def test_everybody_reads_what_to_do_next(api: Api, user: str, shown: list[str]) -> None:
    page = await start_page(api, user)
    for words in shown:
        assert words in page
    assert sum(words in page for words in ADVICE) == 1
    assert "curl" not in page
