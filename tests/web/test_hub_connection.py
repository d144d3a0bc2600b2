"""What a service that has started says in its log when nobody will get in."""

from __future__ import annotations

import logging

import pytest

from ngshare.runtime.workers import once_across_forks
from ngshare.web.auth import identity
from ngshare.web.auth.hub_client import SharedHubAuth
from ngshare.web.auth.identity import HubIdentity
from tests.hubstub import SERVICE, HubStub
from tests.web.conftest import SERVICE_TOKEN


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(identity, "CHECK_HUB_AFTER", (0.0, 0.0))
    caplog.set_level(logging.INFO, "ngshare")


async def check(hub_auth: SharedHubAuth, caplog: pytest.LogCaptureFixture) -> list[str]:
    await HubIdentity(hub_auth, SERVICE).check_hub_connection()
    return [line.getMessage() for line in caplog.records if line.name == "ngshare"]


@pytest.mark.gen_test
async def test_nothing_when_the_hub_knows_the_service(
    hub: HubStub, hub_auth: SharedHubAuth, caplog: pytest.LogCaptureFixture
) -> None:
    hub.add(SERVICE_TOKEN, SERVICE, kind="service")
    assert await check(hub_auth, caplog) == []


@pytest.mark.gen_test
@pytest.mark.parametrize("known", [None, ("user", SERVICE), ("service", "another")])
async def test_a_token_that_is_not_that_of_the_service(
    hub: HubStub,
    hub_auth: SharedHubAuth,
    caplog: pytest.LogCaptureFixture,
    known: tuple[str, str] | None,
) -> None:
    if known:
        hub.add(SERVICE_TOKEN, known[1], kind=known[0])
    (line,) = await check(hub_auth, caplog)
    assert f"does not take JUPYTERHUB_API_TOKEN for the token of its service {SERVICE}" in line
    assert SERVICE_TOKEN not in line


@pytest.mark.gen_test
async def test_a_hub_that_does_not_answer(
    hub: HubStub, hub_auth: SharedHubAuth, caplog: pytest.LogCaptureFixture
) -> None:
    hub.broken = (500, "")
    (line,) = await check(hub_auth, caplog)
    assert f"The Hub at {hub.api_url} does not answer (" in line
    hub.broken = None


def test_one_of_many_processes_asks() -> None:
    first = once_across_forks()
    assert [first(), first(), first()] == [True, False, False]
