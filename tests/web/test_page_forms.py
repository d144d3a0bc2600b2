"""Forms of pages: the XSRF field, the limit of size, and what the log and the metrics say."""

from __future__ import annotations

import asyncio
import html
import logging
import re
from urllib.parse import urlencode

import pytest
from tornado.web import Application

from ngshare.actions import debug_records
from ngshare.db.transactions import Database
from ngshare.web import application
from ngshare.web.base import INLINE
from ngshare.web.pages.base import FORM_SIZE
from ngshare.web.service import Service
from tests.conftest import ADMIN, PREFIX, Api, Reply
from tests.hubstub import HubStub
from tests.web.test_auth import BROWSER, log_in
from tests.web.test_bodies import Connection
from tests.web.waiting import until
from tests.web.world import STUDENT

pytestmark = pytest.mark.gen_test

PAGE = "initialize-Data6ase"
RECORDS = {"action": "dump", "human-readable": "true"}
TOKEN = "Authorization: token of-the-admin"


@pytest.fixture
def debug() -> bool:
    return True


@pytest.fixture
def app(hub_app: Application, hub: HubStub) -> Application:
    hub.add("of-the-admin", ADMIN)
    hub.add("of-the-student", STUDENT)
    return hub_app


async def browser(api: Api, hub: HubStub, token: str) -> dict[str, str]:
    """Log in, and return the headers that this browser sends from then on."""
    jar = await log_in(api, hub, token)
    cookies = "; ".join(f"{name}={value}" for name, value in jar.items())
    return {**BROWSER, "Cookie": cookies, "Content-Type": "application/x-www-form-urlencoded"}


async def records_page(api: Api, headers: dict[str, str]) -> str:
    reply = await api.send("GET", PAGE, query=RECORDS, headers=headers)
    assert reply.status == 200
    return reply.body.decode()


def xsrf_field(page: str) -> str:
    (value,) = re.findall(r'<input type="hidden" name="_xsrf" value="([^"]+)"/>', page)
    return str(value)


async def send_form(api: Api, headers: dict[str, str], **form: str) -> Reply:
    return await api.send("POST", PAGE, body=urlencode(form), headers=headers)


@pytest.mark.parametrize("action", ["clear", "init"])
async def test_the_form_of_the_records_page_works(
    api: Api, hub: HubStub, database: Database, action: str
) -> None:
    headers = await browser(api, hub, "of-the-admin")
    page = await records_page(api, headers)
    assert f'<button name="action" value="{action}">' in page
    reply = await send_form(api, headers, action=action, _xsrf=xsrf_field(page))
    assert reply.status == 303
    location = reply.headers["Location"]
    assert (await api.send_to("GET", location, headers=headers)).status == 200
    courses = database.read(debug_records.dump_records).get("courses", [])
    assert [row["id"] for row in courses] == (["course1", "course2"] if action == "init" else [])


@pytest.mark.parametrize(
    "fetch",
    [{}, {"Sec-Fetch-Mode": "navigate"}, {"Sec-Fetch-Mode": "no-cors"}],
    ids=["HTTP", "HTTPS", "no-cors"],
)
@pytest.mark.parametrize("xsrf", [None, "", "guessed", "of another browser"])
async def test_a_form_without_the_xsrf_field_changes_nothing(
    api: Api, hub: HubStub, database: Database, xsrf: str | None, fetch: dict[str, str]
) -> None:
    other = await browser(api, hub, "of-the-student")
    headers = {**await browser(api, hub, "of-the-admin"), **fetch}
    form = {"action": "clear"}
    if xsrf is not None:
        form["_xsrf"] = xsrf
    if xsrf == "of another browser":
        form["_xsrf"] = re.findall("_xsrf=([^;]+)", other["Cookie"])[0]
    before = database.read(debug_records.dump_records)
    reply = await send_form(api, headers, **form)
    assert reply.status == 403
    assert reply.headers["Content-Type"].startswith("text/html")
    assert "load the page again" in html.unescape(reply.body.decode())
    del headers["Accept"]
    reply = await send_form(api, headers, **form)
    assert reply.failure[0] == 403
    assert database.read(debug_records.dump_records) == before


async def test_a_token_in_a_header_needs_no_xsrf_field(api: Api, database: Database) -> None:
    reply = await send_form(api, {"Authorization": "token of-the-admin"}, action="clear")
    assert reply.success("message")["message"] == "done"
    assert "courses" not in database.read(debug_records.dump_records)


async def test_who_may_not_replace_the_records_sees_no_form_and_is_refused(
    api: Api, hub: HubStub, database: Database
) -> None:
    headers = await browser(api, hub, "of-the-student")
    before = database.read(debug_records.dump_records)
    assert "<form" not in await records_page(api, headers)
    xsrf = re.findall("_xsrf=([^;]+)", headers["Cookie"])[0]
    reply = await send_form(api, headers, action="clear", _xsrf=xsrf)
    assert reply.status == 403
    assert "Permission denied (not admin)" in html.unescape(reply.body.decode())
    assert database.read(debug_records.dump_records) == before


@pytest.mark.parametrize("action", ["", "dump", "CLEAR"])
async def test_another_action_is_refused(api: Api, database: Database, action: str) -> None:
    before = database.read(debug_records.dump_records)
    reply = await send_form(api, {"Authorization": "token of-the-admin"}, action=action)
    assert reply.failure == (400, "action should be clear or init")
    assert database.read(debug_records.dump_records) == before


async def test_a_form_without_identity_is_refused(api: Api) -> None:
    assert (await send_form(api, {}, action="clear")).failure[0] == 401
    reply = await send_form(api, BROWSER, action="clear")
    assert reply.status == 401
    assert reply.headers["Content-Type"].startswith("text/html")
    reply = await send_form(api, {"Authorization": "token unknown"}, action="clear")
    assert reply.failure[0] == 401


# The limit


@pytest.mark.parametrize("path", [PAGE, "", "favicon.ico"])
async def test_a_form_that_is_too_large_is_refused_when_it_is_announced(
    api: Api,
    hub_service: Service,
    database: Database,
    caplog: pytest.LogCaptureFixture,
    path: str,
) -> None:
    caplog.set_level(logging.INFO)
    before = database.read(debug_records.dump_records)
    async with Connection(api) as connection:
        connection.send(f"POST {PREFIX}{path}", FORM_SIZE + 1, b"action=clear&", TOKEN)
        status, reply = await connection.reply()
        assert status == 413
        assert b"The form is larger than 32 KiB, the most that a page accepts" in reply
        assert b"\r\nConnection: close\r\n" in reply
    await asyncio.wait_for(hub_service.idle(), 30)
    (line,) = [record for record in caplog.records if record.name == "ngshare.access"]
    assert line.message.startswith(f"413 POST {PREFIX}{path}")
    assert database.read(debug_records.dump_records) == before


@pytest.mark.parametrize("path", [PAGE, "", "favicon.ico"])
async def test_no_large_form_is_held_in_memory_for_a_sender_without_identity(
    api: Api, path: str
) -> None:
    """As many connections as the system allows may each send a form, and never end it."""
    assert FORM_SIZE <= INLINE  # Tornado parses it on the event loop
    async with Connection(api) as connection:
        connection.send(f"POST {PREFIX}{path}", 2**20, b"x" * 2**19)
        assert (await connection.reply())[0] == 413


async def test_a_browser_gets_the_refusal_of_a_large_form_as_a_page(api: Api) -> None:
    body = b"x" * (FORM_SIZE + 1)
    reply = await api.send("POST", PAGE, headers=BROWSER, body=body)
    assert reply.status == 413
    assert reply.headers["Content-Type"].startswith("text/html")
    assert "larger than 32 KiB" in html.unescape(reply.body.decode())


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
async def test_the_largest_form_is_accepted(
    api: Api, hub_service: Service, caplog: pytest.LogCaptureFixture, chunked: bool
) -> None:
    caplog.set_level(logging.INFO)
    body = b"action=clear&rest=".ljust(FORM_SIZE, b"x")
    async with Connection(api) as connection:
        sent = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if chunked else body
        connection.send(f"POST {PREFIX}{PAGE}", None if chunked else len(body), sent, TOKEN)
        assert (await connection.reply())[0] == 200
    await hub_service.idle()
    (line,) = [record for record in caplog.records if record.name == "ngshare.access"]
    assert line.fields["received"] == FORM_SIZE  # type: ignore[attr-defined]
    counted = hub_service.metrics.exposition().decode()
    assert f'method="POST",route="{PAGE}",status="200"}} 1.0' in counted


async def test_a_large_form_in_chunks_is_cut_off(api: Api, database: Database) -> None:
    before = database.read(debug_records.dump_records)
    body = b"action=clear&rest=".ljust(FORM_SIZE + 1, b"x")
    async with Connection(api) as connection:
        connection.send(f"POST {PREFIX}{PAGE}", None, b"%x\r\n%s\r\n" % (len(body), body), TOKEN)
        assert (await connection.reply())[0] == 400
    assert database.read(debug_records.dump_records) == before


async def test_a_form_that_does_not_arrive_is_cut_off(
    api: Api, hub_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application, "FORM_SECONDS", 0.2)
    async with Connection(api) as connection:
        connection.send(f"POST {PREFIX}{PAGE}", 1000, b"action=clear", TOKEN)
        assert await asyncio.wait_for(connection.reader.read(), 30) == b""


async def test_a_form_is_in_flight_until_its_reply_is_sent(
    api: Api, hub: HubStub, hub_service: Service
) -> None:
    hub.hold()
    async with Connection(api) as connection:
        connection.send(f"POST {PREFIX}{PAGE}", 12, b"action=clear", TOKEN)
        await until(lambda: hub_service._in_flight == 1)
        hub.release()
        assert (await connection.reply())[0] == 200
    await asyncio.wait_for(hub_service.idle(), 30)
    assert not hub_service.slow_connections._transfers


@pytest.mark.parametrize("path", ["", "favicon.ico"])
async def test_a_page_without_a_form_takes_none(api: Api, path: str) -> None:
    headers = {"Authorization": "token of-the-admin"}
    reply = await api.send("POST", path, headers=headers, body="a=b")
    assert reply.failure == (405, "Method Not Allowed")
