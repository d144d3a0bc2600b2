"""Debug mode behind a Hub: everybody reads all records, and only admins may replace them."""

from __future__ import annotations

import html
import logging
from typing import Any

import pytest
from sqlalchemy import Connection, select
from tornado.web import Application

from ngshare.actions import debug_records
from ngshare.db.models import AuditEntry
from ngshare.db.transactions import Database
from tests.conftest import ADMIN, Api, Reply
from tests.hubstub import HubStub
from tests.web.test_auth import BROWSER, login_cookie
from tests.web.world import INSTRUCTOR, STRANGER, STUDENT

pytestmark = pytest.mark.gen_test


@pytest.fixture
def debug() -> bool:
    return True


@pytest.fixture
def app(hub_app: Application, hub: HubStub) -> Application:
    for name in (ADMIN, INSTRUCTOR, STUDENT, STRANGER):
        hub.add(f"of-{name}", name)
    return hub_app


def entries(connection: Connection) -> list[tuple[Any, ...]]:
    query = select(AuditEntry.actor, AuditEntry.event).order_by(AuditEntry.id)
    return [tuple(row) for row in connection.execute(query)]


async def debugging(api: Api, user: str, **query: str) -> Reply:
    headers = {"Authorization": f"token of-{user}"}
    return await api.send("GET", "initialize-Data6ase", query=query, headers=headers)


@pytest.mark.parametrize("user", [INSTRUCTOR, STUDENT, STRANGER])
@pytest.mark.parametrize("action", ["clear", "init"])
async def test_only_an_admin_replaces_the_records(
    api: Api, database: Database, user: str, action: str
) -> None:
    before = database.read(debug_records.dump_records)
    reply = await debugging(api, user, action=action)
    assert reply.failure == (403, "Permission denied (not admin)")
    login = {**BROWSER, "Cookie": login_cookie(f"of-{user}")}
    reply = await api.send(
        "GET", "initialize-Data6ase", query={"action": action, "user": ADMIN}, headers=login
    )
    assert reply.status == 403
    assert database.read(debug_records.dump_records) == before
    (await debugging(api, user, action="dump")).success(*before)


@pytest.mark.parametrize("action", ["clear", "init"])
async def test_what_an_admin_replaces_stays_in_the_audit_log(
    api: Api, database: Database, caplog: pytest.LogCaptureFixture, action: str
) -> None:
    before = database.read(entries)
    assert before
    caplog.set_level(logging.WARNING)
    reply = await debugging(api, ADMIN, action=action)
    assert reply.success("message")["message"] == "done"
    event = {"clear": "all records deleted", "init": "all records replaced by sample data"}[action]
    assert database.read(entries) == [*before, (ADMIN, event)]
    (line,) = (record for record in caplog.records if record.name == "ngshare")
    assert line.levelname == "WARNING"
    assert line.message == f"{ADMIN} deleted every record (action={action}, debug mode)"
    courses = database.read(debug_records.dump_records).get("courses", [])
    assert [row["id"] for row in courses] == (["course1", "course2"] if action == "init" else [])


EVIL = "https://evil.example"
OWN = "http://localhost"  # and the port


@pytest.mark.parametrize("action", ["clear", "init"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Referer": f"{EVIL}/a?b=http://localhost"},
        {"Origin": EVIL},
        {"Origin": "null"},
        {"Referer": ""},
        {"Referer": f"{EVIL}/", "Sec-Fetch-Site": "none"},
        {"Origin": EVIL, "Referer": f"{OWN}/api/"},
        {"Sec-Fetch-Site": "cross-site", "Referer": f"{OWN}/api/"},
    ],
    ids=str,
)
async def test_a_link_elsewhere_does_nothing_with_an_admins_login(
    api: Api, database: Database, action: str, headers: dict[str, str]
) -> None:
    """On a Hub without HTTPS browsers send no Sec-Fetch-Site."""
    before = database.read(debug_records.dump_records)
    reply = await with_login(api, action, headers)
    assert reply.status == 403
    assert "site" in html.unescape(reply.body.decode())
    assert database.read(debug_records.dump_records) == before


@pytest.mark.parametrize("action", ["clear", "init"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Referer": f"{OWN}/api/"},
        {"Origin": OWN},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-origin", "Referer": f"{OWN}/api/"},
    ],
    ids=str,
)
async def test_an_admins_browser_may_when_it_says_that_no_other_site_asks(
    api: Api, action: str, headers: dict[str, str]
) -> None:
    (await with_login(api, action, headers)).success("message")


async def with_login(api: Api, action: str, headers: dict[str, str]) -> Reply:
    """Ask for an action as an admin's browser does, with these headers besides."""
    sent = {name: value.replace(OWN, api.base_url) for name, value in headers.items()}
    sent |= {**BROWSER, "Cookie": login_cookie(f"of-{ADMIN}")}
    return await api.send("GET", "initialize-Data6ase", query={"action": action}, headers=sent)


async def test_the_start_page_warns(api: Api) -> None:
    headers = {**BROWSER, "Cookie": login_cookie(f"of-{STUDENT}")}
    page = html.unescape((await api.send("GET", "", headers=headers)).body.decode())
    assert "Debug mode is on" in page
    assert "an administrator can delete them all" in page
