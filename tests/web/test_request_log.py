"""The line that each request leaves in the log, and the number that an error has."""

from __future__ import annotations

import errno
import json
import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from tornado.web import Application

from ngshare.blobs import LocalBlobs
from ngshare.db.transactions import Database
from ngshare.errors import Unavailable
from ngshare.runtime.logs import JsonFormatter
from tests.conftest import Api, Reply, tree
from tests.hubstub import HubStub
from tests.web.world import ASSIGNMENT, COURSE, INSTRUCTOR, STUDENT

pytestmark = pytest.mark.gen_test

ACCESS = "ngshare.access"


@pytest.fixture(autouse=True)
def level(caplog: pytest.LogCaptureFixture) -> None:
    """As in production."""
    caplog.set_level(logging.INFO, "ngshare")


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What the log says of requests so far."""
    return lambda: [record.getMessage() for record in caplog.records if record.name == ACCESS]


async def submit(api: Api) -> Reply:
    return await api.post("submission", COURSE, ASSIGNMENT, user=STUDENT, files=tree(a="1"))


async def test_a_request_leaves_one_line(api: Api, lines: Callable[[], list[str]]) -> None:
    await submit(api)
    (line,) = lines()
    assert re.fullmatch(
        r"200 POST /api/submission/Physics%20101/ps1 \(sam@127\.0\.0\.1\) "
        r'\d+\.\d\dms course="Physics 101"',
        line,
    )


async def test_a_request_is_an_object_in_json(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    reply = await submit(api)
    await api.send_to("GET", "/nowhere")
    first, second = [
        json.loads(JsonFormatter().format(record))
        for record in caplog.records
        if record.name == ACCESS
    ]
    assert first.pop("milliseconds") >= 0
    assert first.pop("received") > 0
    assert first.pop("message")
    assert first.pop("time").endswith("+00:00")
    assert first == {
        "level": "INFO",
        "logger": ACCESS,
        "status": 200,
        "method": "POST",
        "route": "submission/{course}/{assignment}",
        "path": "/api/submission/Physics%20101/ps1",
        "user": STUDENT,
        "course": COURSE,
        "address": "127.0.0.1",
        "sent": len(reply.body),
        "error": None,
        "reason": None,
    }
    assert (second["route"], second["user"], second["course"]) == ("unknown", "", None)
    assert second["level"] == "WARNING"


async def test_health_and_readiness_leave_none_while_all_is_well(
    api: Api, lines: Callable[[], list[str]]
) -> None:
    await api.get("healthz")
    await api.get("readyz")
    assert lines() == []


async def test_a_name_cannot_forge_a_line(api: Api, lines: Callable[[], list[str]]) -> None:
    forged = "x\n[I 2026-11-23 10:00:00.000 ngshare] forged"
    await api.get("assignments", forged, user=forged)
    (line,) = lines()
    assert json.loads(line.partition("course=")[2]) == forged
    assert "\n" not in line


async def test_an_illegal_path_is_named(
    api: Api, lines: Callable[[], list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    files = json.dumps([{"path": path, "content": ""} for path in ("a", "b/\u202e\n", "c")])
    reply = await api.post("submission", COURSE, ASSIGNMENT, user=STUDENT, files=files)
    assert reply.failure == (400, "Illegal path")
    (line,) = lines()
    assert line.endswith(' reason="b/\\u202e\\n" has a control character')
    (record,) = [record for record in caplog.records if record.name == ACCESS]
    fields = json.loads(JsonFormatter().format(record))
    assert fields["reason"] == '"b/\\u202e\\n" has a control character'


class TestBehindAHub:
    """What only requests to a Hub's service hold."""

    @pytest.fixture
    def app(self, hub_app: Application, hub: HubStub) -> Application:
        hub.add("hunter2", INSTRUCTOR)
        return hub_app

    async def test_no_secret_is_logged(self, api: Api, caplog: pytest.LogCaptureFixture) -> None:
        headers = {"Authorization": "token hunter2", "Cookie": "session=hunter2"}
        query = {"token": "hunter2", "password": "hunter2"}
        form = {"files": tree(a="hunter2"), "password": "hunter2"}
        place = f"/api/assignment/{COURSE.replace(' ', '%20')}"
        for path in (f"{place}/new", f"{place}/new", "/api/nowhere"):
            await api.send_to("POST", path, query=query, form=form, headers=headers)
        await api.send_to("GET", f"{place}/new", query=query, headers=headers)
        lines = [JsonFormatter().format(record) for record in caplog.records]
        assert len([line for line in lines if ACCESS in line]) == 4
        assert "hunter2" not in caplog.text
        assert not any("hunter2" in line for line in lines)


# Errors have a number, which the reply names too


def number(reply: Reply) -> str:
    """The number of the error that a reply names."""
    found = re.search(r"\(error ([0-9a-f]{8})\)$|error ([0-9a-f]{8});", reply.message)
    assert found is not None, reply
    return found[1] or found[2]


def check_number(reply: Reply, caplog: pytest.LogCaptureFixture) -> str:
    """Check that the lines of the error and of the request have the reply's number."""
    named = [record for record in caplog.records if number(reply) in record.getMessage()]
    error, request = named
    assert (error.name, error.levelname) == ("ngshare", "ERROR")
    assert (request.name, request.levelname) == (ACCESS, "ERROR")
    for record in named:
        assert json.loads(JsonFormatter().format(record))["error"] == number(reply)
    return error.getMessage()


async def test_an_error_of_ours(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: Any) -> None:
        raise RuntimeError("a detail")

    monkeypatch.setattr("ngshare.actions.submissions.submit", broken)
    reply = await submit(api)
    assert reply.status == 500
    assert "a detail" not in reply.message
    assert "POST /api/submission" in check_number(reply, caplog)
    assert "a detail" in caplog.text


@pytest.mark.parametrize(
    ("code", "status"), [(errno.ENOSPC, 507), (errno.EDQUOT, 507), (errno.EIO, 503)]
)
async def test_trouble_with_the_storage(
    api: Api,
    blobs: LocalBlobs,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    code: int,
    status: int,
) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise OSError(code, "a detail")

    monkeypatch.setattr("ngshare.blobs.local.os.fsync", broken)
    reply = await submit(api)
    assert reply.status == status
    assert "a detail" not in reply.message
    assert "OSError" in check_number(reply, caplog)


async def test_trouble_with_the_database(
    api: Api, database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: Any) -> Any:
        raise OperationalError("SELECT secret", {}, Exception("a detail"))

    monkeypatch.setattr("ngshare.actions.submissions.submit", broken)
    reply = await submit(api)
    assert reply.status == 503
    assert reply.headers["Retry-After"]
    assert "OperationalError" in check_number(reply, caplog)
    assert "SELECT secret" not in caplog.text


async def test_a_database_that_is_busy(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*args: Any) -> Any:
        raise Unavailable("The exchange is busy")

    monkeypatch.setattr(Database, "write_attempts", refuse)
    reply = await submit(api)
    assert reply.status == 503
    assert check_number(reply, caplog).endswith(": The exchange is busy")


async def test_a_refusal_is_no_error_and_has_no_number(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    for reply in (
        await api.get("courses"),
        await api.get("students", COURSE, user=STUDENT),
        await api.get("students", "Nowhere", user=STUDENT),
    ):
        assert "error" not in reply.message
    assert "error=" not in caplog.text
