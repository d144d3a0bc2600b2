"""What many tests share: a database made by the migrations, the service on a real socket."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import settings
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.web import Application

from ngshare.blobs import LocalBlobs
from ngshare.db.transactions import Database
from ngshare.db.urls import parse_url
from ngshare.web.application import make_application
from ngshare.web.auth.standalone import StandaloneIdentity
from ngshare.web.service import Service

pytest_plugins = ["tests.postgres", "tests.databases", "tests.migrations"]

PREFIX = "/api/"
ADMIN = "root"


MEMORY = Path("/dev/shm")
"""A file system in memory, where temporary folders of tests cost no writes to a disk."""

MEMORY_FREE = 4 * 2**30
"""Bytes that must be free there; a run takes less than one GiB."""

ON_DISK = (
    "legacy06/test_durable.py",
    "legacy06/test_killed.py",
    "blobs/test_local.py",
    "process/test_crash.py",
    "test_benchmarks.py",  # which refuse to measure in memory
)
"""Tests of durability and of disks, by the beginning of their path: their folders are on a disk."""

SLOW = (
    "hub/test_tabs.py",
    "hub/",
    "process/",
    "exchange/server_extension/",
    "test_packaging.py",
    "legacy06/",
    "exchange/plugin/test_killed.py",
    "commands/test_backup.py",
    "db/test_safe_upgrades.py",
    "test_benchmarks.py",
)
"""Files of long tests, by the beginning of their path, the longest first.

They run before all others: a long file that begins last would keep one of several test processes
busy when the others have ended.
"""

FOLDER = "ngshare-tests-"
"""What a run's folder there is called, followed by the id of its process."""


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput") and config.option.basetemp is None:
        config.option.basetemp = _folder_in_memory()
    # The variables of whoever runs the tests must not reach them.
    for name in list(os.environ):
        if name.startswith("JUPYTERHUB_") or name == "NGSHARE_DATABASE":
            del os.environ[name]
    # A shell lets what it starts in the background ignore Ctrl-C, and so would what tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Before 3.14, Python makes an event loop for the first call of asyncio.get_event_loop, which
    # comes from pytest-tornado's io_loop, and nobody closes that loop. Not once one was set.
    asyncio.set_event_loop(None)
    # The same examples in every run, and no failure because a machine is slow.
    settings.register_profile("ngshare", derandomize=True, deadline=None, max_examples=60)
    settings.load_profile("ngshare")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    tests = Path(__file__).parent

    def rank(item: pytest.Item) -> int:
        path = item.path.relative_to(tests).as_posix()
        return next((place for place, slow in enumerate(SLOW) if path.startswith(slow)), len(SLOW))

    items.sort(key=rank)


def pytest_unconfigure(config: pytest.Config) -> None:
    folder = str(config.option.basetemp)
    if not hasattr(config, "workerinput") and folder.startswith(f"{MEMORY / FOLDER}{os.getpid()}"):
        shutil.rmtree(folder, ignore_errors=True)


def _folder_in_memory() -> str | None:
    """Choose a folder in memory for this run, and remove those of runs that were killed.

    Return None where there is no such file system, or little room in it.
    """
    if not MEMORY.is_mount() or shutil.disk_usage(MEMORY).free < MEMORY_FREE:
        return None
    for left in MEMORY.glob(f"{FOLDER}*"):
        if not Path("/proc", left.name.removeprefix(FOLDER)).exists():
            shutil.rmtree(left, ignore_errors=True)
    return f"{MEMORY / FOLDER}{os.getpid()}"


@pytest.fixture(autouse=True)
def loggers() -> Iterator[None]:
    """Restore the loggers that a service sets up when a test starts one in this process."""
    names = ("ngshare", "tornado", "tornado.application", "tornado.general", "alembic")
    found = [logging.getLogger(name) for name in (*names, "jupyterhub", "asyncio")]
    before = [(log, log.level, log.propagate, log.handlers[:], log.filters[:]) for log in found]
    yield
    for log, level, propagate, handlers, filters in before:
        log.setLevel(level)
        log.propagate = propagate
        log.handlers[:] = handlers
        log.filters[:] = filters


@pytest.fixture(autouse=True)
def event_loops_are_closed() -> Iterator[None]:
    """Fail a test that leaves an event loop behind, as a later test would fail of its warning."""
    yield
    try:
        loop = asyncio.get_event_loop()
    except RuntimeError:  # there is none
        return
    asyncio.set_event_loop(None)
    loop.close()
    pytest.fail(f"{loop} was left by this test; whoever makes an event loop closes it")


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A temporary folder of this test's own, in memory unless it is about durability."""
    path = request.node.path.relative_to(Path(__file__).parent).as_posix()
    if not path.startswith(ON_DISK):
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="ngshare-test-", dir="/var/tmp"))
    yield folder
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """That database, open."""
    database = Database(parse_url(database_url), connections=2)
    yield database
    database.close()


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobs:
    """A blob store of this test's own."""
    return LocalBlobs(tmp_path / "files")


@pytest.fixture
def debug() -> bool:
    """Whether the service of this test runs in debug mode; override it in a test file."""
    return False


@pytest.fixture
def service(database: Database, blobs: LocalBlobs, debug: bool) -> Iterator[Service]:
    """The parts of a stand-alone service, with the one admin ``root``."""
    service = Service(
        database=database,
        blobs=blobs,
        identity=StandaloneIdentity(),
        admins=[ADMIN],
        debug=debug,
        max_body=4 * 2**20,
    )
    yield service
    service.close()


@pytest.fixture
def app(service: Service) -> Application:
    """The application that pytest-tornado serves on a port of its own."""
    return make_application(service, PREFIX, hub=False, cookie_secret=b"secret")


@pytest.fixture
def http_server(app: Application, http_server: Any) -> Any:
    """pytest-tornado's server. It looks for ``app`` too late for ``app`` to have parameters."""
    return http_server


class Reply:
    """What the service answered."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        assert self.headers["Content-Type"] == "application/json"
        return json.loads(self.body)

    @property
    def message(self) -> str:
        assert self.json.keys() == {"success", "message"}
        assert self.json["success"] is False
        return str(self.json["message"])

    def success(self, *keys: str) -> Any:
        """The fields of a success, which has exactly these keys besides ``success``."""
        assert self.status == 200, self
        assert self.json["success"] is True
        assert self.json.keys() == {"success", *keys}
        return self.json

    @property
    def failure(self) -> tuple[int, str]:
        """The status and the message of a failure."""
        return self.status, self.message

    def __repr__(self) -> str:
        return f"<{self.status} {self.body[:300]!r}>"


class Api:
    """Speaks to the service as the old clients do: forms, and names percent-encoded in paths."""

    def __init__(self, client: AsyncHTTPClient, base_url: str) -> None:
        self.client = client
        self.base_url = base_url

    async def get(self, *path: str, user: str | None = None, **query: str) -> Reply:
        return await self.send("GET", *path, query=_with(user, query))

    async def delete(self, *path: str, user: str | None = None, **query: str) -> Reply:
        return await self.send("DELETE", *path, query=_with(user, query))

    async def post(self, *path: str, user: str | None = None, **form: str) -> Reply:
        return await self.send("POST", *path, body=urlencode(_with(user, form)))

    async def send(
        self,
        method: str,
        *path: str,
        query: dict[str, str] | None = None,
        body: bytes | str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        raw = PREFIX + "/".join(quote(part, safe="") for part in path)
        return await self.send_to(method, raw, query=query, body=body, headers=headers)

    async def send_to(
        self,
        method: str,
        raw: str,
        *,
        query: dict[str, str] | None = None,
        form: dict[str, str] | None = None,
        body: bytes | str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        """Send to a path, and perhaps a query, that is percent-encoded already."""
        if form is not None:
            body = urlencode(form)
        request = HTTPRequest(
            self.base_url + raw + ("?" + urlencode(query) if query else ""),
            method=method,
            body=body,
            headers=headers or {},
            follow_redirects=False,
            allow_nonstandard_methods=True,
        )
        response = await self.client.fetch(request, raise_error=False)
        return Reply(response.code, response.headers, response.body)


def _with(user: str | None, fields: dict[str, str]) -> dict[str, str]:
    return fields if user is None else {"user": user, **fields}


@pytest.fixture
def api(http_client: AsyncHTTPClient, http_server: Any, base_url: str) -> Api:
    """A client of the service; requests and replies go over a real socket."""
    return Api(http_client, base_url)


def tree(**files: bytes | str) -> str:
    """The ``files`` field of a request; write ``__`` for the dot of a name: ``a__txt=b"..."``."""
    return json.dumps(
        [
            {
                "path": path.replace("__", "."),
                "content": base64.encodebytes(
                    content.encode() if isinstance(content, str) else content
                ).decode(),
            }
            for path, content in files.items()
        ]
    )
