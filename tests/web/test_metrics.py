"""Metrics: what is counted, and who may read it."""

from __future__ import annotations

import re
import sqlite3
from typing import Any

import pytest
from tornado.web import Application

from ngshare import __version__
from ngshare.blobs import BlobMissing, LocalBlobs
from ngshare.errors import OutOfSpace, Unavailable
from ngshare.web.application import name_route, routes
from ngshare.web.service import Service
from tests.conftest import ADMIN, PREFIX, Api, Reply, tree
from tests.hubstub import SCOPE, HubStub
from tests.web.world import ASSIGNMENT, COURSE, INSTRUCTOR, STRANGER, STUDENT

pytestmark = pytest.mark.gen_test


def counted(service: Service) -> dict[str, float]:
    """Every sample by its name with its labels; 0 for what does not stand there."""
    found = {}
    for line in service.metrics.exposition().decode().splitlines():
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            found[name] = float(value)
    return found


def of(service: Service, name: str) -> float:
    return counted(service).get(name, 0.0)


async def submit(api: Api) -> Reply:
    return await api.post("submission", COURSE, ASSIGNMENT, user=STUDENT, files=tree(a="1"))


async def test_requests_are_counted_by_route_and_never_by_path(api: Api, service: Service) -> None:
    for course in ("Physics 101", "Nowhere", "Elsewhere"):
        await api.get("assignment", course, ASSIGNMENT, user=STUDENT)
    for path in ("secret1", "secret2/x", "submission/"):
        await api.send_to("GET", f"/{path}")
    await api.send_to("GET", PREFIX, query={"user": STUDENT})
    await api.send_to("GET", "/healthz")
    for method in ("PROPFIND", "INVENTED"):
        await api.send(method, "courses", query={"user": STUDENT})
    found = counted(service)
    route = 'method="GET",route="assignment/{course}/{assignment}"'
    assert found[f'ngshare_requests_total{{{route},status="200"}}'] == 1
    assert found[f'ngshare_requests_total{{{route},status="404"}}'] == 2
    assert found[f"ngshare_request_duration_seconds_count{{{route}}}"] == 3
    assert found[f'ngshare_request_duration_seconds_bucket{{le="+Inf",{route}}}'] == 3
    assert found['ngshare_requests_total{method="GET",route="unknown",status="404"}'] == 3
    assert found['ngshare_requests_total{method="GET",route="start",status="200"}'] == 1
    assert found['ngshare_requests_total{method="GET",route="/healthz",status="200"}'] == 1
    other = [name for name in found if 'method="other"' in name and "_requests_total" in name]
    assert sum(found[name] for name in other) == 2
    page = service.metrics.exposition().decode()
    for name in ("Physics", "Nowhere", "secret", STUDENT, "PROPFIND"):
        assert name not in page


def test_every_route_has_a_name_of_its_own() -> None:
    names = [
        name_route(pattern.removeprefix("/api/"), handler)
        for pattern, handler in routes("/api/", hub=True)
    ]
    assert len(set(names)) == len(names)
    for name in names:
        assert re.fullmatch(r"[\w./{}-]+", name), name


async def test_bytes_and_submissions(api: Api, service: Service) -> None:
    reply = await submit(api)
    found = counted(service)
    assert found["ngshare_submissions_total"] == 1
    assert found["ngshare_sent_bytes_total"] == len(reply.body)
    assert found["ngshare_received_bytes_total"] > 50
    reply = await api.get("assignment", COURSE, ASSIGNMENT, user=STUDENT)
    assert of(service, "ngshare_sent_bytes_total") - found["ngshare_sent_bytes_total"] == len(
        reply.body
    )
    await api.post("submission", COURSE, ASSIGNMENT, user=STRANGER, files=tree(a="1"))
    assert of(service, "ngshare_submissions_total") == 1


async def test_requests_in_flight_come_and_go(api: Api, service: Service) -> None:
    assert of(service, "ngshare_requests_in_flight") == 0
    service.begin_request()
    assert of(service, "ngshare_requests_in_flight") == 1
    service.end_request()
    await api.get("courses", user=STUDENT)
    await service.idle()
    assert of(service, "ngshare_requests_in_flight") == 0


async def test_the_version_that_runs(service: Service) -> None:
    assert of(service, f'ngshare_build_info{{version="{__version__}"}}') == 1


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OutOfSpace("full"), "full"),
        (Unavailable("broken"), "failed"),
        (BlobMissing(b"x" * 32), "missing"),
    ],
)
async def test_failures_of_the_storage(
    api: Api, service: Service, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: str
) -> None:
    def fail(*args: Any) -> Any:
        raise error

    for name in ("read", "open") if kind == "missing" else ("put", "upload"):
        monkeypatch.setattr(LocalBlobs, name, fail)
    if kind == "missing":
        await api.get("submission", COURSE, ASSIGNMENT, STUDENT, user=INSTRUCTOR)
    else:
        assert (await submit(api)).status == error.status  # type: ignore[attr-defined]
    assert of(service, f'ngshare_storage_errors_total{{kind="{kind}"}}') == 1
    assert sum(v for k, v in counted(service).items() if "storage_errors_total" in k) == 1


@pytest.mark.parametrize(
    ("error", "kind"), [(OutOfSpace("full"), "full"), (Unavailable("broken"), "failed")]
)
async def test_failures_of_the_database(
    api: Api, service: Service, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: str
) -> None:
    def fail(*args: Any) -> Any:
        raise error

    monkeypatch.setattr("ngshare.actions.submissions.submit", fail)
    assert (await submit(api)).status == error.status  # type: ignore[attr-defined]
    assert of(service, f'ngshare_database_errors_total{{kind="{kind}"}}') == 1


async def test_transactions_that_are_run_again(
    api: Api, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy.exc import IntegrityError

    from ngshare.db import transactions

    def lose(*args: Any) -> Any:
        raise IntegrityError("statement", {}, sqlite3.IntegrityError("UNIQUE constraint failed"))

    monkeypatch.setattr("ngshare.actions.submissions.submit", lose)
    assert (await submit(api)).status == 503
    assert of(service, "ngshare_database_retries_total") == transactions.ATTEMPTS - 1
    assert of(service, 'ngshare_database_errors_total{kind="gave_up"}') == 1


# Who may read them


async def metrics(api: Api, token: str | None) -> Reply:
    headers = {"Authorization": f"token {token}"} if token else {}
    return await api.send_to("GET", "/api/metrics", headers=headers)


class TestBehindAHub:
    """With tokens of a Hub."""

    @pytest.fixture
    def app(self, hub_app: Application, hub: HubStub) -> Application:
        hub.add("prometheus", "prometheus", kind="service", scopes=["read:metrics"])
        hub.add("both", "prometheus", kind="service", scopes=["read:metrics", SCOPE])
        hub.add("admin", ADMIN)
        hub.add("admin elsewhere", ADMIN, scopes=["self"])
        hub.add("instructor", INSTRUCTOR)
        return hub_app

    async def test_tokens_with_the_scope_and_admins(self, api: Api) -> None:
        for token in ("prometheus", "both", "admin"):
            reply = await metrics(api, token)
            assert reply.status == 200
            assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            assert b"\nngshare_submissions_total 0.0\n" in reply.body

    async def test_nobody_else(self, api: Api) -> None:
        for token, status in (
            (None, 401),
            ("unknown", 401),
            ("instructor", 403),
            ("admin elsewhere", 403),
        ):
            assert (await metrics(api, token)).status == status
            assert (await metrics(api, token)).message

    async def test_a_token_for_metrics_opens_nothing_else(self, api: Api) -> None:
        headers = {"Authorization": "token prometheus"}
        assert (await api.send_to("GET", "/api/courses", headers=headers)).status == 403

    async def test_anyone_when_it_is_opened(self, api: Api, hub_service: Service) -> None:
        hub_service.open_metrics = True
        for token in (None, "unknown", "instructor"):
            assert (await metrics(api, token)).status == 200

    async def test_questions_to_the_hub(self, api: Api, hub: HubStub, hub_service: Service) -> None:
        for _ in range(5):
            await api.send_to("GET", "/api/courses", headers={"Authorization": "token admin"})
        assert of(hub_service, "ngshare_hub_questions_total") == 1 == len(hub.questions)
        assert of(hub_service, "ngshare_hub_questions_saved_total") == 4
        assert of(hub_service, "ngshare_hub_errors_total") == 0
        hub.broken = (500, "broken")
        await api.send_to("GET", "/api/courses", headers={"Authorization": "token another"})
        assert of(hub_service, "ngshare_hub_errors_total") == 1


async def test_stand_alone_admins_may(api: Api, service: Service) -> None:
    assert (await api.get("metrics", user=ADMIN)).status == 200
    assert (await api.get("metrics", user=STUDENT)).status == 403
    assert (await api.get("metrics")).status == 401
    service.open_metrics = True
    assert (await api.get("metrics")).status == 200
