"""The tests of the web begin with a populated database, and some of them with a Hub."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.web import Application

from ngshare.blobs import LocalBlobs
from ngshare.db.transactions import Database
from ngshare.db.urls import parse_url
from ngshare.web.application import make_application
from ngshare.web.auth.hub_client import SharedHubAuth
from ngshare.web.auth.identity import HubIdentity
from ngshare.web.service import Service
from tests.conftest import ADMIN, PREFIX
from tests.databases import Databases
from tests.hubstub import SERVICE, HubStub
from tests.web import world

SERVICE_TOKEN = "the-token-of-ngshare-itself"
COOKIE_SECRET = b"secret"


@pytest.fixture(scope="session")
def populated_template(databases: Databases, migrated_template: str) -> str:
    """A database with ``tests.web.world`` in it; copy it, never open it."""

    def fill(url: str) -> None:
        database = Database(parse_url(url))
        world.populate(database)
        database.close()

    return databases.template("populated", fill, of=migrated_template)


@pytest.fixture
def database_url(databases: Databases, populated_template: str, tmp_path: Path) -> Iterator[str]:
    with databases.copy(populated_template, tmp_path) as url:
        yield url


@pytest.fixture(scope="session")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> LocalBlobs:
    """One store for all of these tests. A blob never changes, so none can disturb another."""
    blobs = LocalBlobs(tmp_path_factory.mktemp("files"))
    world.store_contents(blobs)
    return blobs


@pytest.fixture
def hub(io_loop: Any) -> Iterator[HubStub]:
    """A Hub that runs."""
    hub = HubStub()
    hub.start()
    yield hub
    hub.release()
    io_loop.run_sync(hub.stop)


@pytest.fixture
def hub_auth(io_loop: Any, hub: HubStub) -> Iterator[SharedHubAuth]:
    """What asks that Hub."""
    hub_auth = SharedHubAuth(
        api_token=SERVICE_TOKEN,
        api_url=hub.api_url,
        base_url=PREFIX,
        oauth_client_id=f"service-{SERVICE}",
    )
    yield hub_auth
    hub.release()
    io_loop.run_sync(lambda: _settle(hub_auth))


async def _settle(hub_auth: SharedHubAuth) -> None:
    """Wait until no question to the Hub is open, and close what asked them."""
    await asyncio.gather(*hub_auth._lookups.values(), return_exceptions=True)
    with contextlib.suppress(ImportError):  # before JupyterHub 6
        from jupyterhub.httpclient import JupyterHubHTTPClient

        await JupyterHubHTTPClient.loop_instance().close()


@pytest.fixture
def hub_service(
    database: Database, blobs: LocalBlobs, hub_auth: SharedHubAuth, debug: bool
) -> Iterator[Service]:
    """The parts of a service of that Hub, with the one admin ``root``."""
    service = Service(
        database=database,
        blobs=blobs,
        identity=HubIdentity(hub_auth, SERVICE),
        admins=[ADMIN],
        debug=debug,
        max_body=4 * 2**20,
    )
    yield service
    service.close()


@pytest.fixture
def hub_app(hub_service: Service) -> Application:
    """Its application: what ``app`` is in tests of production."""
    return make_application(hub_service, PREFIX, hub=True, cookie_secret=COOKIE_SECRET)
