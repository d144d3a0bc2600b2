"""Who gets in: browsers through the Hub's login, programs with a token, and nobody else."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlencode, urljoin

import jupyterhub
import pytest
import requests

from tests.hub.browser import Browser, query_of
from tests.hub.running import RunningHub

SCOPE = "access:services!service=ngshare"

CHALLENGES = jupyterhub.version_info >= (6,)
"""Whether a code of this JupyterHub is good only for who can prove to have asked for it."""


@pytest.fixture
def browser(hub: RunningHub) -> Iterator[Browser]:
    with Browser(hub) as browser:
        yield browser


@pytest.fixture
def admin(hub: RunningHub) -> str:
    """The token of the service's admin."""
    return hub.make_user("ada")


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that does nothing meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


# Browsers


def test_a_browser_logs_in_and_sees_its_name_and_courses(
    hub: RunningHub, browser: Browser, admin: str
) -> None:
    hub.ask("POST", "course/Optics <1>", admin, data={"instructors": '["carla"]'})
    page = browser.visit_and_log_in(hub.ngshare, "carla")
    assert page.status_code == 200
    assert page.url == hub.ngshare
    assert "Hello, carla" in page.text
    assert "Courses you teach" in page.text
    assert "<li>Optics &lt;1&gt;</li>" in page.text
    assert "administrator" not in page.text


def test_whoever_is_logged_in_at_the_hub_need_not_log_in_again(
    hub: RunningHub, browser: Browser
) -> None:
    browser.log_in("dora")
    page = browser.visit(hub.ngshare)
    assert page.url == hub.ngshare
    assert "Hello, dora" in page.text
    assert "You are in no course yet" in page.text


def test_a_form_is_accepted_only_with_the_xsrf_token_of_the_login(
    hub: RunningHub, browser: Browser, admin: str
) -> None:
    browser.visit_and_log_in(hub.ngshare, "ada")
    (xsrf,) = [
        cookie.value
        for cookie in browser.session.cookies
        if cookie.name == "_xsrf" and cookie.path == hub.prefix
    ]
    for token, message in (
        (xsrf, "Debug mode is off"),
        ("guessed", "load the page again"),
        (None, "load the page again"),
    ):
        form = {"action": "clear", "_xsrf": token}
        page = browser.session.post(f"{hub.ngshare}initialize-Data6ase", data=form, timeout=30)
        assert page.status_code == 403
        assert message in page.text


def test_a_login_carries_a_state_and_a_challenge(hub: RunningHub, browser: Browser) -> None:
    reply = browser.visit(hub.ngshare, allow_redirects=False)
    assert reply.status_code == 302
    asked = query_of(reply.headers["Location"])
    assert asked["client_id"] == "service-ngshare"
    assert asked["redirect_uri"] == f"{hub.prefix}oauth_callback"
    if CHALLENGES:
        assert asked["code_challenge_method"] == "S256"
        assert len(asked["code_challenge"]) == 43
    assert asked["state"]
    (cookie,) = (each for each in browser.session.cookies if each.name.endswith("oauth-state"))
    assert cookie.path == hub.prefix
    assert cookie.has_nonstandard_attr("HttpOnly")


def callback(hub: RunningHub, browser: Browser, name: str) -> dict[str, str]:
    """The code and state with which the Hub sends back a browser that logs in under this name."""
    browser.log_in(name)
    return query_of(browser.go_until(hub.ngshare, f"{hub.prefix}oauth_callback"))


def come_back(hub: RunningHub, browser: Browser, **parameters: str) -> requests.Response:
    return browser.visit(f"{hub.ngshare}oauth_callback?{urlencode(parameters)}")


def test_a_tampered_state_is_refused(hub: RunningHub, browser: Browser) -> None:
    back = callback(hub, browser, "eve")
    state = back["state"]
    for tampered in ("", "x", state[:-1], state.swapcase(), "ä", state + "\0"):
        reply = come_back(hub, browser, code=back["code"], state=tampered)
        assert reply.status_code == 403, tampered
        assert "This login was not begun in this browser" in reply.text
    for incomplete in ({"code": back["code"]}, {"state": state}, {"error": "access_denied"}, {}):
        reply = come_back(hub, browser, **incomplete)
        assert reply.status_code == 400
        assert "This login did not complete" in reply.text
    assert browser.session.cookies.get("service-ngshare") is None


def test_a_login_that_another_browser_began_is_refused(hub: RunningHub, browser: Browser) -> None:
    """Else anybody could make a visitor hand in work under a name that is not theirs."""
    with Browser(hub) as other:
        back = callback(hub, other, "eve")
        assert come_back(hub, browser, **back).status_code == 403
        assert browser.session.cookies.get("service-ngshare") is None
        if not CHALLENGES:
            return
        # Nor does it help to have begun one's own: the challenge belongs to the code.
        own = callback(hub, browser, "frank")
        reply = come_back(hub, browser, code=back["code"], state=own["state"])
        assert reply.status_code == 503
        assert "The Hub did not finish this login" in reply.text
        assert browser.session.cookies.get("service-ngshare") is None


def test_a_code_works_once(hub: RunningHub, browser: Browser) -> None:
    back = callback(hub, browser, "gina")
    cookies = browser.session.cookies.copy()
    assert "Hello, gina" in come_back(hub, browser, **back).text
    with Browser(hub) as thief:
        thief.session.cookies.update(cookies)
        assert come_back(hub, thief, **back).status_code == 503
        assert thief.session.cookies.get("service-ngshare") is None


def test_logging_out_at_the_hub_ends_access(hub: RunningHub, browser: Browser) -> None:
    browser.visit_and_log_in(hub.ngshare, "hans")
    courses = hub.ngshare + "courses"
    headers = {"Accept": "application/json"}
    assert browser.visit(courses, headers=headers).status_code == 200
    browser.visit(hub.url + "hub/logout")
    for _ in range(4):  # whichever worker answers
        assert browser.visit(courses, headers=headers).status_code == 401
    assert "hub/login" in browser.visit(hub.ngshare).url


def test_a_page_of_another_site_cannot_make_a_browser_change_anything(
    hub: RunningHub, browser: Browser, admin: str
) -> None:
    browser.visit_and_log_in(hub.ngshare, "ada")
    session = browser.session
    session.headers.update({"Accept": "*/*", "Sec-Fetch-Mode": "cors"})
    xsrf = session.cookies.get("_xsrf", path=hub.prefix) or ""
    url = hub.ngshare + "course/forged"
    for headers in ({}, {"X-XSRFToken": "x"}, {"X-XSRFToken": xsrf[:-2]}):
        for method in ("POST", "DELETE"):
            reply = session.request(method, url, headers=headers, timeout=30)
            assert reply.status_code == 401, headers
            assert reply.json()["success"] is False
    session.headers["Sec-Fetch-Mode"] = "navigate"  # a form that a page sends by itself
    assert session.post(url, data={"instructors": "[]"}, timeout=30).status_code == 401
    assert "forged" not in hub.ask("GET", "courses", admin).json()["courses"]
    # Our own page could: it can read the cookie.
    reply = session.post(url, headers={"X-XSRFToken": xsrf}, timeout=30)
    assert reply.status_code == 200
    assert "forged" in hub.ask("GET", "courses", admin).json()["courses"]


@pytest.mark.parametrize("first", [0, 1])
def test_any_worker_finishes_a_login_that_another_began(
    hub: RunningHub, browser: Browser, first: int
) -> None:
    workers = hub.workers()
    assert len(workers) == 2
    browser.log_in("ina")
    # Not through the proxy, which keeps connections open to the worker it spoke to.
    place = hub.service_url + hub.prefix
    browser.session.headers["Connection"] = "close"
    with stopped(workers[1 - first]):
        login = browser.visit(place, allow_redirects=False).headers["Location"]
    back = query_of(browser.go_until(urljoin(hub.url, login), f"{hub.prefix}oauth_callback"))
    with stopped(workers[first]):
        callback = f"{place}oauth_callback?{urlencode(back)}"
        assert browser.visit(callback, allow_redirects=False).status_code == 302
    with stopped(workers[1 - first]):
        assert "Hello, ina" in browser.visit(place, allow_redirects=False).text


# Programs


def test_the_token_in_a_users_server_is_enough_and_no_more(hub: RunningHub) -> None:
    """What students have: the Hub gives it to their server, and nothing is configured for it."""
    token = hub.start_server("jan")["JUPYTERHUB_API_TOKEN"]
    reply = hub.ask("GET", "courses", token)
    assert (reply.status_code, reply.json()) == (200, {"success": True, "courses": []})
    scopes = hub.api("GET", "user", token)["scopes"]
    assert SCOPE in scopes
    assert not any(scope.startswith(("admin", "tokens", "users!")) for scope in scopes)
    hub.api("DELETE", "users/jan/server")


def test_roles_that_the_site_configured_count_beside_ngshares(hub: RunningHub) -> None:
    scopes = hub.api("GET", "user", hub.make_user("jan"))["scopes"]
    assert {SCOPE, "access:services!service=other", "tokens!user=jan"} <= set(scopes)
    assert "will be ignored" not in hub.log()


def test_a_token_without_the_scope_is_refused_with_what_to_do(hub: RunningHub) -> None:
    token = hub.make_user("kim", scopes=["read:users!user"])
    reply = hub.ask("GET", "courses", token)
    assert reply.status_code == 403
    message = reply.json()["message"]
    assert "The token of kim lacks the scope access:services!service=ngshare" in message
    assert "At the end of jupyterhub_config.py this line gives it" in message
    assert "from ngshare.hub import configure_hub; configure_hub(c)" in message
    assert "on Kubernetes, the scope in hub.loadRoles" in message
    assert "\n" not in message
    assert token not in message


def test_a_token_made_for_another_service_is_refused(hub: RunningHub, browser: Browser) -> None:
    """A service that a user logs in to must not be able to act for them here."""
    browser.log_in("liv")
    asked = {"client_id": "service-other", "redirect_uri": hub.other, "response_type": "code"}
    authorize = f"{hub.url}hub/api/oauth2/authorize?{urlencode(asked)}"
    back = query_of(browser.visit(authorize, allow_redirects=False).headers["Location"])
    reply = hub.session.post(
        f"{hub.url}hub/api/oauth2/token",
        data={
            "client_id": "service-other",
            "client_secret": hub.other_token,
            "grant_type": "authorization_code",
            "code": back["code"],
            "redirect_uri": hub.other,
        },
        timeout=30,
    )
    token = reply.json()["access_token"]
    assert hub.api("GET", "user", token)["name"] == "liv"
    reply = hub.ask("GET", "courses", token)
    assert reply.status_code == 403
    assert "lacks the scope" in reply.json()["message"]


def test_the_own_token_of_another_service_is_refused(hub: RunningHub) -> None:
    assert hub.ask("GET", "courses", hub.other_token).status_code == 403


def test_a_user_cannot_take_the_name_of_a_service(hub: RunningHub) -> None:
    assert hub.ask("GET", "courses", hub.make_user("service:other")).status_code == 403


@pytest.mark.parametrize("token", [None, "", "wrong", "ö", "0" * 10_000])
def test_without_a_token_that_the_hub_knows_nobody_gets_in(
    hub: RunningHub, token: str | None
) -> None:
    headers = {} if token is None else {"Authorization": f"token {token}".encode()}
    reply = hub.ask("GET", "courses?user=ada", headers=headers)
    assert reply.status_code == 401
    assert reply.headers["WWW-Authenticate"].startswith("token")
    assert reply.json()["success"] is False


def test_the_user_parameter_is_ignored(hub: RunningHub, admin: str) -> None:
    token = hub.make_user("max")
    for options in ({"params": {"user": "ada"}}, {"data": {"user": "ada"}}):
        assert hub.ask("POST", "course/mine", token, **options).status_code == 403
    assert "mine" not in hub.ask("GET", "courses", admin).json()["courses"]


def test_no_secret_of_a_login_is_in_the_services_log(hub: RunningHub, browser: Browser) -> None:
    back = callback(hub, browser, "nora")
    come_back(hub, browser, **back)
    token = hub.make_user("nora")
    hub.ask("GET", "courses", token)
    hub.ask("GET", f"courses?token={token}")
    lines = [line for line in hub.log().splitlines() if " ngshare" in line or " tornado" in line]
    assert any("oauth_callback" in line for line in lines)
    secrets = [token, back["code"], back["state"], hub.token]
    secrets += [each.value for each in browser.session.cookies if each.value]
    for secret in secrets:
        assert not [line for line in lines if secret in line]
