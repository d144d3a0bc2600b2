"""The pages people see, stand-alone. The way in through a Hub is in ``test_auth.py``."""

from __future__ import annotations

import html

import pytest

from ngshare import __version__
from tests.conftest import ADMIN, PREFIX, Api, Reply
from tests.web.world import COURSE, INSTRUCTOR, OTHER_COURSE, STRANGER, STUDENT

pytestmark = pytest.mark.gen_test

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


async def start_page(api: Api, user: str | None) -> Reply:
    query = {} if user is None else {"user": user}
    reply = await api.send("GET", "", query=query, headers=BROWSER)
    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith("text/html")
    return reply


def text(reply: Reply) -> str:
    return html.unescape(reply.body.decode())


@pytest.mark.parametrize(
    ("user", "shown", "hidden"),
    [
        (INSTRUCTOR, [COURSE, "teach"], [OTHER_COURSE]),
        (STUDENT, [COURSE, "take"], [OTHER_COURSE]),
        (ADMIN, [COURSE, OTHER_COURSE, "administrator"], []),
        (STRANGER, ["no course"], [COURSE, OTHER_COURSE]),
    ],
)
async def test_the_start_page_says_who_you_are_and_your_courses(
    api: Api, user: str, shown: list[str], hidden: list[str]
) -> None:
    page = text(await start_page(api, user))
    assert user in page
    assert __version__ in page
    for words in shown:
        assert words in page
    for words in hidden:
        assert words not in page


async def test_the_start_page_says_that_it_believes_everybody(api: Api) -> None:
    assert "stand-alone" in text(await start_page(api, STUDENT))
    assert "stand-alone" in text(await start_page(api, None))


async def test_the_start_page_is_html_for_whoever_asks(api: Api) -> None:
    reply = await api.send("GET", "", query={"user": STUDENT})
    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith("text/html")


async def test_names_cannot_inject_html(api: Api) -> None:
    evil = "<script>alert('x')"
    await api.post("course", evil, user=ADMIN, instructors=f'["{evil}"]')
    for user in (evil, ADMIN):
        page = (await start_page(api, user)).body.decode()
        assert "<script" not in page
        assert "&lt;script&gt;" in page


async def test_a_page_runs_no_script_and_stays_out_of_frames(api: Api) -> None:
    policy = (await start_page(api, STUDENT)).headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "frame-ancestors 'none'" in policy


async def test_a_browser_is_asked_for_a_name(api: Api) -> None:
    page = (await start_page(api, None)).body.decode()
    assert "<form" in page
    assert f'action="{PREFIX}"' in page
    assert 'name="user"' in page


async def test_a_program_is_told_that_it_is_nobody(api: Api) -> None:
    for headers in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}):
        reply = await api.send("GET", "", headers=headers)
        assert reply.status == 401
        assert reply.message
        assert reply.headers["WWW-Authenticate"]


async def test_a_browser_gets_an_error_as_a_page(api: Api) -> None:
    reply = await api.send("GET", "", query={"user": "a/b"}, headers=BROWSER)
    assert reply.status == 400
    assert reply.headers["Content-Type"].startswith("text/html")
    assert "Illegal name" in text(reply)


@pytest.mark.parametrize("path", ["/nothing", "/api/nothing", "/api/course/a/b/c", "/api/x/"])
async def test_an_address_that_is_nothing(api: Api, path: str) -> None:
    page = await api.send_to("GET", path, headers=BROWSER)
    assert page.status == 404
    assert page.headers["Content-Type"].startswith("text/html")
    assert "There is nothing at this address" in text(page)
    assert f'href="{PREFIX}"' in text(page)
    for headers in ({}, {"Accept": "*/*"}):
        assert (await api.send_to("GET", path, headers=headers)).failure == (404, "Not Found")
    assert (await api.send_to("POST", path, body="", headers=BROWSER)).failure[0] == 404


@pytest.mark.parametrize("path", ["/", "/api", "/api?user=sam", "/?user=a%20b&x=%0d%0a"])
async def test_addresses_that_people_type_lead_to_the_start_page(api: Api, path: str) -> None:
    for headers in ({}, BROWSER):
        reply = await api.send_to("GET", path, headers=headers)
        assert reply.status == 302
        query = path.partition("?")[2]
        assert reply.headers["Location"] == PREFIX + (f"?{query}" if query else "")


async def test_every_course_stands_once(api: Api) -> None:
    await api.post("course", "Own", user=ADMIN, instructors=f'["{ADMIN}"]')
    page = text(await start_page(api, ADMIN))
    for course in ("Own", COURSE, OTHER_COURSE):
        assert page.count(f"<li>{course}</li>") == 1


@pytest.mark.parametrize("user", [INSTRUCTOR, STUDENT, ADMIN])
async def test_without_a_hub_nobody_is_sent_to_a_server_of_their_own(api: Api, user: str) -> None:
    page = text(await start_page(api, user))
    assert "docs/api.md" in page
    for words in ("your own server", "Formgrader", "Assignment List", "ngshare-course-management"):
        assert words not in page


async def test_without_a_hub_one_can_be_somebody_else(api: Api) -> None:
    page = text(await start_page(api, STUDENT))
    assert "Switch user" in page
    assert "Log out" not in page


async def test_the_favicon_is_an_image(api: Api) -> None:
    reply = await api.send("GET", "favicon.ico")
    assert reply.status == 200
    png, ico = b"\x89PNG\r\n\x1a\n", b"\0\0\1\0"
    assert reply.body.startswith((png, ico))
    kind = "image/png" if reply.body.startswith(png) else "image/x-icon"
    assert reply.headers["Content-Type"] == kind


async def test_what_the_page_links_to_is_there(api: Api) -> None:
    page = (await start_page(api, STUDENT)).body.decode()
    for path, kind in (("favicon.ico", "image/"), ("static/style.css", "text/css")):
        assert f'href="{PREFIX}{path}"' in page
        reply = await api.send_to("GET", PREFIX + path)
        assert reply.status == 200
        assert reply.headers["Content-Type"].startswith(kind)
