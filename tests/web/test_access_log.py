"""At which level requests are logged, where that is not plain from their status."""

from __future__ import annotations

import logging

import pytest
from tornado.web import Application

from ngshare.web.server import DropXsrfWarnings
from tests.conftest import Api
from tests.hubstub import HubStub
from tests.web.test_auth import login_cookie
from tests.web.world import STUDENT


@pytest.fixture
def app(hub_app: Application) -> Application:
    return hub_app


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("path", "headers", "level"),
    [
        ("", {}, "DEBUG"),
        ("", {"Authorization": "token wrong"}, "WARNING"),
        ("", {"Cookie": "a=b"}, "WARNING"),
        ("courses", {}, "WARNING"),
    ],
)
async def test_the_hub_that_looks_whether_its_service_answers_is_no_warning(
    api: Api, caplog: pytest.LogCaptureFixture, path: str, headers: dict[str, str], level: str
) -> None:
    caplog.set_level(logging.DEBUG, "ngshare.access")
    assert (await api.send("GET", path, headers=headers)).status == 401
    (line,) = (each for each in caplog.records if each.name == "ngshare.access")
    assert line.levelname == level


@pytest.mark.gen_test
async def test_what_jupyterhub_warns_of_at_every_page_is_dropped(
    api: Api, hub: HubStub, caplog: pytest.LogCaptureFixture
) -> None:
    hub.add("of sam", STUDENT)
    headers = {"Accept": "text/html", "Cookie": login_cookie("of sam")}
    assert (await api.send("GET", "", headers=headers)).status == 200
    said = [line for line in caplog.records if "Skipping XSRF check" in line.getMessage()]
    assert said, "else the filter is for nothing"
    assert not any(DropXsrfWarnings().filter(line) for line in said)
    other = logging.LogRecord("tornado.application", logging.WARNING, "", 0, "more", (), None)
    assert DropXsrfWarnings().filter(other)
