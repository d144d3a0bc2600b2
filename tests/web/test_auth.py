"""Who sent a request, when a Hub says so: tokens, browsers, and a Hub that is slow or away."""

from __future__ import annotations

import asyncio
import html
import json
import logging
from http.cookies import SimpleCookie
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from jupyterhub.services.auth import HubOAuth
from tornado.web import Application, create_signed_value

from ngshare.actions import debug_records, users
from ngshare.db.engine import make_engine
from ngshare.db.transactions import Database
from ngshare.web.auth.hub_client import SharedHubAuth
from ngshare.web.rate_limit import RateLimit
from ngshare.web.service import Service
from tests.conftest import ADMIN, PREFIX, Api, Reply, tree
from tests.databases import only_sqlite
from tests.hubstub import SCOPE, SERVICE, HubStub
from tests.web.conftest import COOKIE_SECRET, SERVICE_TOKEN
from tests.web.world import ASSIGNMENT, COURSE, INSTRUCTOR, OTHER_COURSE, STRANGER, STUDENT

pytestmark = pytest.mark.gen_test

TOKEN = "0123456789abcdef-of-the-student"
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
COOKIE = f"service-{SERVICE}"


@pytest.fixture
def app(hub_app: Application, hub: HubStub) -> Application:
    hub.add(TOKEN, STUDENT)
    return hub_app


def token(value: str) -> dict[str, str]:
    return {"Authorization": f"token {value}"}


async def courses(api: Api, value: str = TOKEN, **query: str) -> Reply:
    return await api.send("GET", "courses", headers=token(value), query=query)


# Tokens


@pytest.mark.parametrize("scheme", ["token", "Bearer", "bearer", "Token", "TOKEN "])
async def test_a_token_says_who_it_is(api: Api, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {TOKEN}"}
    reply = await api.send("GET", "courses", headers=headers)
    assert reply.success("courses")["courses"] == [COURSE]


async def test_the_user_that_a_request_names_is_ignored(api: Api) -> None:
    reply = await courses(api, user=ADMIN)
    assert reply.success("courses")["courses"] == [COURSE]
    body = urlencode({"user": ADMIN})
    reply = await api.send("POST", "course", "New", headers=token(TOKEN), body=body)
    assert reply.failure == (403, "Permission denied")
    reply = await api.send("DELETE", "course", COURSE, headers=token(TOKEN), body=body)
    assert reply.failure == (403, "Permission denied")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Accept": "application/json"},
        {"Authorization": "token"},
        {"Authorization": "token "},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"Cookie": f"{COOKIE}={TOKEN}"},
        {"Cookie": f'{COOKIE}="2|1:0|10:0|4:name|4:dG9r|forged"'},
        {"Cookie": f"{COOKIE}=\xff; =; ;;"},
    ],
)
async def test_without_a_token_a_program_gets_401(
    api: Api, hub: HubStub, headers: dict[str, str]
) -> None:
    for method, path in (("GET", "courses"), ("GET", ""), ("POST", "course"), ("GET", "students")):
        parts = [path] if path in ("", "courses") else [path, "No such course"]
        body = "user=" + ADMIN if method == "POST" else None
        reply = await api.send(method, *parts, headers=headers, body=body)
        assert reply.status == 401
        assert reply.message.startswith("Please log in")
        assert reply.headers["WWW-Authenticate"]
    assert hub.questions == []


async def test_an_unknown_token_gets_401(api: Api, hub: HubStub) -> None:
    reply = await courses(api, "unknown")
    assert reply.status == 401
    assert reply.headers["WWW-Authenticate"]
    assert "expired or was revoked" in reply.message
    assert "restart the server" in reply.message
    await courses(api, "unknown")
    assert hub.questions == ["unknown"], "nobody, too, is an answer to remember for a while"


@pytest.mark.parametrize("mode", ["navigate", "cors", "websocket"])
async def test_a_token_in_the_query_is_none(api: Api, hub: HubStub, mode: str) -> None:
    headers = {"Sec-Fetch-Mode": mode}
    reply = await api.send("GET", "courses", query={"token": TOKEN}, headers=headers)
    assert reply.status == 401
    assert hub.questions == []


@pytest.mark.parametrize("scopes", [[], ["self"], [SCOPE + "s"], ["access:services!service=x"]])
async def test_a_token_without_the_scope_is_told_what_an_administrator_can_do(
    api: Api, hub: HubStub, scopes: list[str]
) -> None:
    hub.add("unscoped", ADMIN, scopes=scopes)
    reply = await courses(api, "unscoped")
    assert reply.status == 403
    assert SCOPE in reply.message
    assert "from ngshare.hub import configure_hub; configure_hub(c)" in reply.message
    assert "hub.loadRoles" in reply.message
    assert "unscoped" not in reply.message
    assert reply.message.startswith("Restart your server; if that does not help, tell your admin")


@pytest.mark.parametrize("scopes", [[SCOPE], ["access:services"], ["self", SCOPE, "x"]])
async def test_a_wider_scope_is_enough(api: Api, hub: HubStub, scopes: list[str]) -> None:
    hub.add("scoped", ADMIN, scopes=scopes)
    assert (await courses(api, "scoped")).json["courses"] == [COURSE, OTHER_COURSE]


async def test_an_administrator_of_the_hub_is_none_here(api: Api, hub: HubStub) -> None:
    hub.add("hub admin", "boss")
    hub._models["hub admin"]["admin"] = True
    reply = await api.send("POST", "course", "New", headers=token("hub admin"), body="")
    assert reply.failure == (403, "Permission denied")


async def test_a_service_has_a_name_that_no_user_can_have(api: Api, hub: HubStub) -> None:
    hub.add("of the service", STUDENT, kind="service")
    assert (await courses(api, "of the service")).json["courses"] == []
    reply = await api.send("GET", "", headers=token("of the service"))
    assert f"service:{STUDENT}" in html.unescape(reply.body.decode())

    hub.add("of the user", f"service:{STUDENT}")
    reply = await courses(api, "of the user")
    assert reply.status == 403
    assert "service:" in reply.message


async def test_a_service_that_is_refused_is_named_in_the_log(
    api: Api, hub: HubStub, caplog: pytest.LogCaptureFixture
) -> None:
    """A formgrader of several graders runs as a service, and its admin must know its name here."""
    caplog.set_level(logging.INFO, "ngshare")
    hub.add("of the formgrader", INSTRUCTOR, kind="service")
    for path in ("students", "assignments"):
        reply = await api.send("GET", path, COURSE, headers=token("of the formgrader"))
        assert reply.failure == (403, "Permission denied")
    lines = [each.getMessage() for each in caplog.records if each.name == "ngshare.access"]
    for line, why in zip(lines, ("not course instructor", "not related to course"), strict=True):
        named = f"whose name here is service:{INSTRUCTOR}"
        assert f"reason={why}; the caller is a Hub service, {named}" in line
    page = (await api.send("GET", "", headers=token("of the formgrader"))).body.decode()
    assert f"must name it <strong>service:{INSTRUCTOR}</strong>" in page


async def test_a_service_can_be_an_admin(api: Api, hub: HubStub, hub_service: Service) -> None:
    hub_service.admins = frozenset(["service:robot"])
    hub.add("of the service", "robot", kind="service")
    hub.add("of the user", "robot")
    assert (await courses(api, "of the service")).json["courses"] == [COURSE, OTHER_COURSE]
    assert (await courses(api, "of the user")).json["courses"] == []


async def test_a_user_comes_into_being_when_first_seen(
    api: Api, hub: HubStub, database: Database
) -> None:
    def known() -> set[str]:
        return {row["id"] for row in database.read(debug_records.dump_records)["users"]}

    hub.add("new token", "newcomer")
    hub.add("unscoped", "outsider", scopes=[])
    await courses(api, "unknown")
    await courses(api, "unscoped")
    before = known()
    assert "newcomer" not in before
    await courses(api, "new token")
    assert known() == before | {"newcomer"}


@only_sqlite
async def test_the_first_request_of_a_user_seen_before_writes_nothing(
    api: Api, hub: HubStub, database: Database
) -> None:
    hub.add("of sam", STUDENT)
    database.write(
        users.mark_seen, STUDENT
    )  # as another process did, or this one before its restart
    with make_engine(database.url, writes=True).begin():  # else it would wait for this one
        assert (await courses(api, "of sam")).status == 200


# How often the Hub is asked


async def test_the_hub_is_asked_once_about_a_token(api: Api, hub: HubStub) -> None:
    for _ in range(5):
        (await courses(api)).success("courses")
    assert hub.questions == [TOKEN]


async def test_equal_lookups_in_flight_are_asked_once(
    api: Api, hub: HubStub, hub_auth: SharedHubAuth, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_auth.cache_max_age = 0  # so that only questions in flight can be shared
    waiting, asked, ask = [], asyncio.Event(), hub_auth.get_user

    def count(handler: Any, *, sync: bool) -> Any:
        waiting.append(handler)
        if len(waiting) == 8:
            asked.set()
        return ask(handler, sync=sync)

    monkeypatch.setattr(hub_auth, "get_user", count)
    hub.hold()
    requests = [asyncio.ensure_future(courses(api)) for _ in range(8)]
    await asked.wait()
    await hub.asked(1)
    hub.release()
    for reply in await asyncio.gather(*requests):
        reply.success("courses")
    assert hub.questions == [TOKEN]


async def test_a_client_that_goes_away_does_not_take_the_answer_from_the_others(
    api: Api, hub: HubStub
) -> None:
    hub.hold()
    port = urlsplit(api.base_url).port
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"GET /api/courses HTTP/1.1\r\nHost: x\r\nAuthorization: token {TOKEN}\r\n\r\n".encode()
    )
    await hub.asked(1)
    other = asyncio.ensure_future(courses(api))
    writer.close()
    await writer.wait_closed()
    hub.release()
    (await other).success("courses")
    assert hub.questions == [TOKEN]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The clock by which answers grow old; set ``clock.now``."""
    clock = SimpleNamespace(now=1000.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr("ngshare.web.auth.hub_client.time", clock)
    return clock


async def test_an_answer_is_believed_for_a_while_and_then_asked_again(
    api: Api, hub: HubStub, hub_auth: SharedHubAuth, clock: SimpleNamespace
) -> None:
    (await courses(api)).success("courses")
    hub.revoke(TOKEN)
    clock.now += hub_auth.cache_max_age * 0.69
    (await courses(api)).success("courses")
    clock.now += hub_auth.cache_max_age * 0.31
    assert (await courses(api)).status == 401
    hub.add(TOKEN, STUDENT)
    assert (await courses(api)).status == 401
    clock.now += hub_auth.negative_max_age + 1
    (await courses(api)).success("courses")
    assert len(hub.questions) == 3


async def test_the_users_that_are_kept_are_bounded(
    api: Api, hub: HubStub, hub_auth: SharedHubAuth
) -> None:
    hub_auth.cache_size = 2
    for name in ("a", "b", "c"):
        hub.add(f"token-of-{name}", name)
    for name in ("a", "b", "c", "b", "c", "a"):
        (await courses(api, f"token-of-{name}")).success("courses")
    assert hub.questions == [f"token-of-{name}" for name in ("a", "b", "c", "a")]


async def test_whoever_tries_many_tokens_pushes_nobody_out(
    api: Api, hub: HubStub, hub_auth: SharedHubAuth
) -> None:
    hub_auth.cache_size = 2
    (await courses(api)).success("courses")
    guesses = [f"guess {number}" for number in range(5)]
    for guess in guesses:
        assert (await courses(api, guess)).status == 401
    await hub.stop()
    (await courses(api)).success("courses")
    assert (await courses(api, guesses[-1])).status == 401
    assert (await courses(api, guesses[0])).status == 503, "these are bounded too"


async def test_of_an_answer_only_what_is_needed_is_kept(
    api: Api, hub: HubStub, hub_auth: SharedHubAuth
) -> None:
    hub.add("of many scopes", STUDENT, scopes=[SCOPE, *(f"read:users!user={n}" for n in "abc")])
    hub._models["of many scopes"]["groups"] = ["a group"]
    for _ in range(2):
        (await courses(api, "of many scopes")).success("courses")
    assert len(hub.questions) == 1
    (kept,) = hub_auth._users.values()
    assert kept.model == {"kind": "user", "name": STUDENT, "scopes": [SCOPE]}


async def test_a_log_out_at_the_hub_is_seen_at_once(api: Api, hub: HubStub) -> None:
    for session in ("one", "one", "two"):
        cookie = f"{login_cookie(TOKEN)}; jupyterhub-session-id={session}"
        reply = await api.send("GET", "courses", headers={**BROWSER, "Cookie": cookie})
        reply.success("courses")
    assert len(hub.questions) == 2
    hub.revoke(TOKEN)
    cookie = f"{login_cookie(TOKEN)}; jupyterhub-session-id=three"
    reply = await api.send("GET", "courses", headers={"Cookie": cookie})
    assert reply.status == 401


async def test_a_token_in_the_header_has_no_session(api: Api, hub: HubStub) -> None:
    for number in range(5):
        cookie = f"jupyterhub-session-id={number}; {login_cookie('another')}"
        headers = {**token(TOKEN), "Cookie": cookie}
        (await api.send("GET", "courses", headers=headers)).success("courses")
    assert hub.questions == [TOKEN]


async def test_whoever_makes_up_sessions_pushes_nobody_out(
    api: Api, hub: HubStub, hub_auth: SharedHubAuth
) -> None:
    hub_auth.cache_size = 2
    (await courses(api)).success("courses")
    hub.add("of mallory", STRANGER)
    for number in range(5):
        cookie = f"jupyterhub-session-id={number}; {login_cookie('of mallory')}"
        await api.send("GET", "courses", headers={**BROWSER, "Cookie": cookie})
    assert len(hub_auth._users) == 2
    (await courses(api)).success("courses")
    assert hub.questions.count(TOKEN) == 1


async def test_the_hub_is_not_asked_for_those_who_send_too_much(
    api: Api, hub: HubStub, hub_auth: SharedHubAuth, hub_service: Service
) -> None:
    hub_service.rate = RateLimit(3, lambda: 0.0)
    replies = []
    for number in range(6):
        cookie = f"jupyterhub-session-id={number}; {login_cookie(TOKEN)}"
        replies.append(await api.send("GET", "courses", headers={**BROWSER, "Cookie": cookie}))
    assert [reply.status for reply in replies] == [200] * 3 + [429] * 3
    assert int(replies[-1].headers["Retry-After"]) > 0
    assert len(hub.questions) == 3


async def refreshed(hub_auth: SharedHubAuth) -> None:
    """Wait until nothing is asked in the background any more."""
    await asyncio.gather(*hub_auth._lookups.values(), return_exceptions=True)


async def test_an_answer_in_use_is_asked_again_before_it_is_too_old(
    api: Api, hub: HubStub, hub_auth: SharedHubAuth, hub_service: Service, clock: SimpleNamespace
) -> None:
    (await courses(api)).success("courses")
    clock.now += hub_auth.cache_max_age * 0.69
    (await courses(api)).success("courses")
    assert len(hub.questions) == 1
    clock.now += hub_auth.cache_max_age * 0.22
    hub.hold()
    for _ in range(3):  # nobody waits for it, and it is asked once
        (await courses(api)).success("courses")
    await hub.asked(2)
    hub.release()
    await refreshed(hub_auth)
    clock.now += hub_auth.cache_max_age * 0.5  # the first answer would be too old
    (await courses(api)).success("courses")
    assert hub.questions == [TOKEN] * 2
    assert "\nngshare_hub_refreshes_total 1.0\n" in hub_service.metrics.exposition().decode()


async def test_a_hub_that_does_not_answer_in_time_changes_nothing(
    api: Api, hub: HubStub, hub_auth: SharedHubAuth, clock: SimpleNamespace
) -> None:
    (await courses(api)).success("courses")
    await hub.stop()
    clock.now += hub_auth.cache_max_age * 0.91
    for _ in range(3):
        (await courses(api)).success("courses")
        await refreshed(hub_auth)
    clock.now += hub_auth.cache_max_age * 0.1
    assert (await courses(api)).status == 503, "no answer is believed for longer than it was"
    hub.start()
    (await courses(api)).success("courses")
    hub.broken = (500, "broken")
    clock.now += hub_auth.cache_max_age * 0.91
    (await courses(api)).success("courses")
    await refreshed(hub_auth)
    hub.broken = None
    clock.now += hub_auth.cache_max_age * 0.06
    (await courses(api)).success("courses")  # and this one asks once more
    await refreshed(hub_auth)
    clock.now += hub_auth.cache_max_age * 0.5
    await hub.stop()
    (await courses(api)).success("courses")


async def test_a_token_that_was_revoked_is_refused_once_that_is_known(
    api: Api, hub: HubStub, hub_auth: SharedHubAuth, clock: SimpleNamespace
) -> None:
    (await courses(api)).success("courses")
    hub.revoke(TOKEN)
    clock.now += hub_auth.cache_max_age * 0.91
    (await courses(api)).success("courses")
    await refreshed(hub_auth)
    assert (await courses(api)).status == 401
    assert hub.questions == [TOKEN] * 2


async def test_a_class_that_came_together_does_not_ask_again_together(
    api: Api, hub: HubStub, hub_auth: SharedHubAuth, clock: SimpleNamespace
) -> None:
    students = [f"student-{number}" for number in range(30)]
    for student in students:
        hub.add(student, student)
        await courses(api, student)
    clock.now += hub_auth.cache_max_age * 0.8
    for student in students:
        await courses(api, student)
    await refreshed(hub_auth)
    assert 30 < len(hub.questions) < 60


# A Hub that is slow, away or broken


async def unavailable(api: Api, value: str = "another") -> None:
    """A request of whom the Hub did not vouch for yet is told to come again."""
    reply = await courses(api, value)
    assert reply.status == 503
    assert reply.message
    assert int(reply.headers["Retry-After"]) > 0


async def the_rest_goes_on(api: Api) -> None:
    """Who is known already notices nothing, and the service is healthy."""
    assert (await courses(api)).json["courses"] == [COURSE]
    files = urlencode({"files": tree(a="1")})
    submission = ("submission", COURSE, ASSIGNMENT)
    reply = await api.send("POST", *submission, headers=token(TOKEN), body=files)
    reply.success("timestamp")
    (await api.send_to("GET", "/healthz")).success()


async def test_a_slow_hub_holds_up_only_whom_it_does_not_know_yet(
    api: Api, hub: HubStub, hub_auth: SharedHubAuth
) -> None:
    hub.add("another", INSTRUCTOR)
    (await courses(api)).success("courses")
    hub.hold()
    waiting = asyncio.ensure_future(courses(api, "another"))
    await hub.asked(2)
    await the_rest_goes_on(api)
    hub.release()
    (await waiting).success("courses")


async def test_a_slow_hub_is_not_waited_for_for_ever(
    api: Api, hub: HubStub, hub_auth: SharedHubAuth
) -> None:
    hub.add("another", INSTRUCTOR)
    (await courses(api)).success("courses")
    hub_auth.patience = 0.02
    hub.hold()
    await unavailable(api)
    await the_rest_goes_on(api)
    await unavailable(api)
    assert hub.questions == [TOKEN, "another"], "the question is still open, and not asked twice"
    hub_auth.patience = 4
    hub.release()
    (await courses(api, "another")).success("courses")


async def test_a_token_and_a_cookie_are_waited_for_together(
    api: Api, hub: HubStub, hub_auth: SharedHubAuth
) -> None:
    """Each question is answered in time, and both together are not."""
    hub.delay, hub_auth.patience = 0.4, 0.5
    for path in ("courses", "metrics"):
        headers = {**token(f"first {path}"), "Cookie": login_cookie(f"second {path}")}
        assert (await api.send("GET", path, headers=headers)).status == 503


async def test_a_question_that_is_never_answered_is_given_up_and_asked_again(
    api: Api, hub: HubStub, hub_auth: SharedHubAuth
) -> None:
    hub.add("another", INSTRUCTOR)
    hub_auth.question_max_age = 0.05
    hub.hold()
    await unavailable(api)
    hub.lose()
    (await courses(api, "another")).success("courses")
    assert hub.questions == ["another", "another"]


async def test_a_hub_that_is_away_and_comes_back(api: Api, hub: HubStub) -> None:
    hub.add("another", INSTRUCTOR)
    (await courses(api)).success("courses")
    await hub.stop()
    await unavailable(api)
    await unavailable(api)
    await the_rest_goes_on(api)
    hub.start()
    (await courses(api, "another")).success("courses")


@pytest.mark.parametrize(
    "answer",
    [
        (500, "Internal error"),
        (502, "<html>Bad gateway"),
        (503, ""),
        (404, "<html>Not found"),
        (429, "Slow down"),
        (200, "<html>Under maintenance"),
        (200, ""),
        (200, "[]"),
        (200, '"name"'),
        (200, '{"kind": "user"}'),
        (200, '{"kind": "user", "name": "zoe"}'),
        (200, '{"kind": "user", "name": null, "scopes": []}'),
        (200, '{"kind": "user", "name": "zoe", "scopes": null}'),
        (200, '{"kind": "user", "name": "zoe", "scopes": [null, {}, 1]}'),
        (200, '{"kind": "user", "name": "zoe", "scopes": ["!!"]}'),
        (200, '{"kind": "group", "name": "zoe", "scopes": ["access:services"]}'),
        (200, '{"name": "zoe", "scopes": ["access:services"]}'),
    ],
    ids=lambda answer: f"{answer[0]} {answer[1][:30]}",
)
async def test_a_hub_that_is_broken_and_mended(
    api: Api, hub: HubStub, answer: tuple[int, str]
) -> None:
    hub.add("another", INSTRUCTOR)
    (await courses(api)).success("courses")
    hub.broken = answer
    await unavailable(api)
    await the_rest_goes_on(api)
    hub.broken = None
    (await courses(api, "another")).success("courses")


# What clients can send instead of a token


@pytest.mark.parametrize(
    "value", ["\xff", "ü", "a b", "a\tb", "x" * 20_000, "%00", "a,b", '"', "\x7f", "\x80\x81"]
)
async def test_a_token_of_rubbish_is_nobodys(api: Api, value: str) -> None:
    port = urlsplit(api.base_url).port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"GET /api/courses HTTP/1.0\r\nHost: x\r\nAuthorization: token {value}\r\n\r\n"
    writer.write(head.encode("latin1"))
    reply = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert reply.split()[1] in (b"401", b"400"), reply
    (await courses(api)).success("courses")


async def test_rubbish_where_a_token_could_be_is_no_error_of_ours(api: Api) -> None:
    for headers in (
        {"Sec-Fetch-Mode": "websocket"},
        {"Sec-Fetch-Mode": "websocket", "Cookie": login_cookie(TOKEN)},
        {"Cookie": login_cookie(TOKEN)},
    ):
        for method in ("GET", "DELETE"):
            raw = f"{PREFIX}course/x?token=%ff&_xsrf=%ff"
            reply = await api.send_to(method, raw, headers=headers)
            assert 400 <= reply.status < 500, reply


# Browsers


def login_cookie(value: str) -> str:
    """The cookie that a browser carries after its login."""
    return f"{COOKIE}={create_signed_value(COOKIE_SECRET, COOKIE, value).decode()}"


async def test_a_browser_is_sent_to_the_hub_to_log_in(api: Api) -> None:
    for path in ("", "courses"):
        reply = await api.send("GET", path, headers=BROWSER)
        assert reply.status == 302
        target = urlsplit(reply.headers["Location"])
        assert target.path == "/hub/api/oauth2/authorize"
        query = parse_qs(target.query)
        assert query["client_id"] == [COOKIE]
        assert query["redirect_uri"] == [f"{PREFIX}oauth_callback"]
        assert query["response_type"] == ["code"]


async def test_a_browser_that_posts_is_not_redirected(api: Api) -> None:
    reply = await api.send("POST", "course", "New", headers=BROWSER, body="")
    assert reply.status == 401
    assert reply.message


async def test_a_login_cookie_says_who_it_is(api: Api) -> None:
    headers = {**BROWSER, "Cookie": login_cookie(TOKEN)}
    reply = await api.send("GET", "", headers=headers)
    assert reply.status == 200
    page = html.unescape(reply.body.decode())
    assert STUDENT in page
    assert COURSE in page
    assert "stand-alone" not in page


async def test_a_login_that_the_hub_forgot_leads_to_a_new_one(api: Api) -> None:
    headers = {**BROWSER, "Cookie": login_cookie("revoked")}
    assert (await api.send("GET", "", headers=headers)).status == 302


async def test_who_may_not_use_the_service_gets_a_page_that_says_so(api: Api, hub: HubStub) -> None:
    hub.add("unscoped", STRANGER, scopes=[])
    headers = {**BROWSER, "Cookie": login_cookie("unscoped")}
    reply = await api.send("GET", "", headers=headers)
    assert reply.status == 403
    assert reply.headers["Content-Type"].startswith("text/html")
    assert SCOPE in html.unescape(reply.body.decode())


async def test_every_page_leads_to_the_hub_and_to_its_logout(api: Api, hub: HubStub) -> None:
    hub.add("of the student", STUDENT)
    headers = {**BROWSER, "Cookie": login_cookie("of the student")}
    for path in ("", "nothing"):
        page = (await api.send("GET", path, headers=headers)).body.decode()
        assert 'href="/hub/home"' in page
        assert 'href="/hub/logout"' in page
        assert "Switch user" not in page


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize("place", ["nowhere", "wrong header", "wrong query", "body"])
@pytest.mark.parametrize("mode", [None, "navigate", "cors", "no-cors", "websocket"])
async def test_a_login_cookie_alone_changes_nothing(
    api: Api, hub: HubStub, database: Database, method: str, place: str, mode: str | None
) -> None:
    """Another site can make a browser send its cookies, but not read what they hold.

    JupyterHub 5.0 itself would not check a request of the mode ``no-cors``.
    """
    hub.add("of the admin", ADMIN)
    before = database.read(debug_records.dump_records)
    headers = {"Cookie": login_cookie("of the admin")}
    if mode is not None:
        headers["Sec-Fetch-Mode"] = mode
    if place == "wrong header":
        headers["X-XSRFToken"] = "guessed"
    query = {"_xsrf": "guessed"} if place == "wrong query" else None
    body = "_xsrf=guessed" if place == "body" else "" if method == "POST" else None
    name = "New" if method == "POST" else COURSE
    reply = await api.send(method, "course", name, headers=headers, query=query, body=body)
    assert reply.status in (401, 403)
    assert reply.message
    assert database.read(debug_records.dump_records) == before


async def log_in(api: Api, hub: HubStub, value: str) -> dict[str, str]:
    """Go through the whole login as a browser does, and return the cookies that it has then."""
    hub.log_in("code", value)
    reply = await api.send("GET", "", headers=BROWSER)
    jar = cookies(reply)
    state = parse_qs(urlsplit(reply.headers["Location"]).query)["state"][0]
    headers = {**BROWSER, "Cookie": "; ".join(f"{name}={jar[name]}" for name in jar)}
    query = {"code": "code", "state": state}
    reply = await api.send("GET", "oauth_callback", headers=headers, query=query)
    assert reply.status == 302
    assert reply.headers["Location"] == PREFIX
    return cookies(reply)


def cookies(reply: Reply) -> dict[str, str]:
    """The cookies that a reply sets, but for those that it clears."""
    return {
        name: morsel.coded_value
        for line in reply.headers.get_list("Set-Cookie")
        for name, morsel in SimpleCookie(line).items()
        if morsel.value
    }


async def test_a_browser_logs_in_and_may_change_things_with_its_xsrf_token(
    api: Api, hub: HubStub
) -> None:
    hub.add("of the admin", ADMIN)
    jar = await log_in(api, hub, "of the admin")
    assert jar.keys() == {COOKIE, "_xsrf"}
    headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in jar.items())}
    reply = await api.send("GET", "", headers={**BROWSER, **headers})
    assert reply.status == 200
    assert ADMIN in reply.body.decode()

    reply = await api.send("POST", "course", "New", headers=headers, body="")
    assert reply.status in (401, 403)
    headers["X-XSRFToken"] = jar["_xsrf"]
    (await api.send("POST", "course", "New", headers=headers, body="")).success()


async def test_logins_that_are_never_finished_do_not_fill_the_browsers_requests(
    api: Api, hub: HubStub
) -> None:
    hub.log_in("code", TOKEN)
    jar: dict[str, str] = {}
    for _ in range(40):
        headers = {**BROWSER, "Cookie": "; ".join(f"{name}={jar[name]}" for name in jar)}
        reply = await api.send("GET", "", headers=headers)
        for line in reply.headers.get_list("Set-Cookie"):
            for name, morsel in SimpleCookie(line).items():
                jar[name] = morsel.coded_value
        jar = {name: value for name, value in jar.items() if value.strip('"')}
        assert sum(len(name) + len(value) for name, value in jar.items()) < 4096
    # The last of them can still be finished.
    state = parse_qs(urlsplit(reply.headers["Location"]).query)["state"][0]
    headers = {**BROWSER, "Cookie": "; ".join(f"{name}={jar[name]}" for name in jar)}
    query = {"code": "code", "state": state}
    reply = await api.send("GET", "oauth_callback", headers=headers, query=query)
    assert reply.status == 302
    assert COOKIE in cookies(reply)


@pytest.mark.parametrize("length", [900, 5000, 30_000])
async def test_a_login_from_a_long_address_can_be_finished(
    api: Api, hub: HubStub, length: int
) -> None:
    hub.log_in("code", TOKEN)
    address = f"{PREFIX}?x={'a' * length}"
    reply = await api.send_to("GET", address, headers=BROWSER)
    assert all(len(line) < 4096 for line in reply.headers.get_list("Set-Cookie"))
    state = parse_qs(urlsplit(reply.headers["Location"]).query)["state"][0]
    headers = {**BROWSER, "Cookie": "; ".join(f"{n}={v}" for n, v in cookies(reply).items())}
    query = {"code": "code", "state": state}
    reply = await api.send("GET", "oauth_callback", headers=headers, query=query)
    assert reply.status == 302
    assert reply.headers["Location"] == (address if length < 1000 else PREFIX)


async def test_the_login_cookie_cannot_be_read_by_scripts(api: Api, hub: HubStub) -> None:
    hub.log_in("code", TOKEN)
    reply = await api.send("GET", "", headers=BROWSER)
    state_cookie = reply.headers["Set-Cookie"]
    assert "httponly" in state_cookie.lower()
    jar = await log_in(api, hub, TOKEN)
    assert TOKEN not in json.dumps(jar).replace(jar[COOKIE], "")


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"code": "code"},
        {"state": "x"},
        {"code": "code", "state": "forged"},
        {"code": "code", "state": "ü"},
        {"error": "access_denied", "error_description": "<script>alert(1)</script>"},
    ],
)
async def test_a_login_that_we_did_not_begin_is_refused(
    api: Api, hub: HubStub, query: dict[str, str]
) -> None:
    hub.log_in("code", TOKEN)
    reply = await api.send("GET", "oauth_callback", headers=BROWSER, query=query)
    assert reply.status in (400, 403)
    assert reply.headers["Content-Type"].startswith("text/html")
    assert "<script>" not in reply.body.decode()
    assert not cookies(reply)


async def finish_login(api: Api, code: str, more: dict[str, str] | None = None) -> Reply:
    """Come back from the Hub with this code, in the browser that was sent there.

    ``more``: other cookies that the browser has.
    """
    reply = await api.send("GET", "", headers=BROWSER)
    state = parse_qs(urlsplit(reply.headers["Location"]).query)["state"][0]
    jar = {**cookies(reply), **(more or {})}
    headers = {
        **BROWSER,
        "Cookie": "; ".join(f"{name}={value}" for name, value in jar.items()),
    }
    query = {"code": code, "state": state}
    return await api.send("GET", "oauth_callback", headers=headers, query=query)


async def test_a_login_whose_code_the_hub_does_not_take_can_be_tried_again(
    api: Api, hub: HubStub
) -> None:
    reply = await finish_login(api, "expired")
    assert reply.status in (400, 403, 503)
    assert reply.headers["Content-Type"].startswith("text/html")
    assert "None" not in reply.body.decode()
    assert COOKIE not in cookies(reply)


@pytest.mark.parametrize("trouble", ["away", "broken", "slow"])
async def test_a_login_while_the_hub_does_not_answer_can_be_tried_again(
    api: Api, hub: HubStub, hub_auth: SharedHubAuth, trouble: str
) -> None:
    hub.log_in("code", TOKEN)
    if trouble == "away":
        await hub.stop()
    elif trouble == "broken":
        hub.broken = (500, "")
    else:
        hub_auth.patience = 0.05
        hub.hold()
    reply = await finish_login(api, "code")
    assert reply.status == 503
    assert "try again" in reply.body.decode()
    assert COOKIE not in cookies(reply)


@pytest.mark.parametrize(
    "answer",
    [
        "", "{}", "[]", "null", "{", '{"access_token": null}', '{"access_token": ["a"]}',
        '{"access_token": "\\n"}', "[" * 100_000,
    ],
    ids=lambda answer: answer[:30],
)  # fmt: skip
async def test_a_login_that_the_hub_ends_with_nonsense_can_be_tried_again(
    api: Api, hub: HubStub, answer: str
) -> None:
    hub.broken = (200, answer)
    reply = await finish_login(api, "code")
    assert reply.status == 503
    assert "try again" in reply.body.decode()
    assert COOKIE not in cookies(reply)


async def test_what_jupyterhub_sends_with_a_code_is_its_own_affair(
    hub_auth: SharedHubAuth, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JupyterHub 5 sends nothing, 6 sends a proof. A call that does not fit is no Hub's fault."""

    async def answer(self: HubOAuth, code: str) -> str:
        return f"the token of {code}"

    monkeypatch.setattr(HubOAuth, "_token_for_code", answer)
    assert await hub_auth._token_for_code("code") == "the token of code"
    with pytest.raises(TypeError):
        await hub_auth._token_for_code("code", "proof")


async def test_a_login_whose_many_lookups_take_too_long_can_be_tried_again(
    api: Api, hub: HubStub, hub_auth: SharedHubAuth
) -> None:
    """Each of them is quick enough: about the login before, and about the one that ends now."""
    hub.log_in("code", TOKEN)
    hub.delay, hub_auth.patience = 0.4, 0.5
    reply = await finish_login(api, "code", {COOKIE: login_cookie("expired").partition("=")[2]})
    assert reply.status == 503
    assert "try again" in reply.body.decode()
    assert COOKIE not in cookies(reply)


# Secrets


async def test_no_token_is_ever_logged(
    api: Api, hub: HubStub, hub_auth: SharedHubAuth, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = {
        "known": "secret-1-of-a-student",
        "unknown": "secret-2-of-nobody",
        "unscoped": "secret-3-without-scope",
        "login": "secret-4-of-a-browser",
        "query": "secret-5-in-a-query",
        "code": "secret-6-of-a-login",
        "new": "secret-7-while-away",
    }
    hub.add(secrets["known"], STUDENT)
    hub.add(secrets["unscoped"], STRANGER, scopes=[])
    hub.add(secrets["login"], INSTRUCTOR)

    for name in ("known", "unknown", "unscoped"):
        await courses(api, secrets[name])
        await api.send("POST", "course", "New", headers=token(secrets[name]), body="files=[")
        await api.send("GET", "nothing", headers=token(secrets[name]))
    await courses(api, secrets["known"], token=secrets["query"], _xsrf=secrets["query"])
    await api.send("GET", "nothing", query={"token": secrets["query"]})
    headers = {"Cookie": login_cookie(secrets["login"])}
    await api.send("GET", "", headers={**headers, **BROWSER})
    await api.send("POST", "course", "New", headers=headers, body="")
    hub.log_in(secrets["code"], secrets["login"])
    await finish_login(api, secrets["code"])
    await finish_login(api, secrets["code"])
    for answer in ((500, "broken"), (400, "broken"), (200, "broken")):
        hub.broken = answer
        await courses(api, secrets["new"])
    hub.broken = None
    await hub.stop()
    await courses(api, secrets["new"])

    assert "courses" in caplog.text, "the log is looked at where it is written"
    for secret in (*secrets.values(), SERVICE_TOKEN, COOKIE_SECRET.decode() + "\n"):
        assert secret not in caplog.text
