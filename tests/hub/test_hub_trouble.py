"""The Hub is slow, or away, and comes back.

The proxy, the Hub and the service run by themselves here, as on Kubernetes, so each
can be in trouble alone; and the Hub has a path of its own, ``/jupyter/``.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from ngshare.web.service import FILE_THREADS
from tests.hub.browser import Browser
from tests.hub.relay import Relay
from tests.hub.running import RunningHub, wait_for
from tests.process.site import open_files

SITE = """
async def server_token_scopes(spawner):
    return ["users:activity!user", "read:users:name!user"]
c.SimpleLocalProcessSpawner.server_token_scopes = server_token_scopes
"""
"""Tokens of servers as a site may have configured them, in every way that is hard to add to."""

DEFAULT_POOL = min(32, (os.cpu_count() or 1) + 4)
"""Threads of asyncio's own pool at most, which resolves names: as Python's documentation says."""

MOST_THREADS = 1 + 1 + FILE_THREADS + DEFAULT_POOL
"""Threads of a service at most: the event loop's, the database's, those for files, asyncio's."""

LIMIT = 8
"""Seconds after which a client here gives up; the service promises an answer within 5."""


@pytest.fixture(scope="module")
def relay() -> Iterator[Relay]:
    """What the service reaches the Hub through."""
    relay = Relay()
    yield relay
    relay.refuse()


@pytest.fixture(scope="module")
def hub(
    proxy_program: Path, relay: Relay, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningHub]:
    """A Hub that did not launch the service, and that tests may break if they mend it."""
    folder = tmp_path_factory.mktemp("trouble")
    hub = RunningHub(folder, proxy_program, base_url="/jupyter/", site=SITE, external=True)
    relay.target = hub.hub_port
    hub.api_url = f"http://127.0.0.1:{relay.port}/jupyter/hub/api"
    try:
        hub.start()
        yield hub
    finally:
        hub.stop()


@pytest.fixture
def nothing_leaks(hub: RunningHub, relay: Relay) -> Iterator[None]:
    """The service has no more threads than its pools may have, nor connections than before.

    asyncio's pool starts a thread when it has nobody idle, so how many there are at one
    moment is chance; with one left behind for each of this file's questions there would be
    more. It keeps a connection for 15 s after an answer, in case that it asks again;
    the relay ends those.
    """
    pid = hub.processes["ngshare"].pid
    connections = connections_of(pid, relay.port)
    yield
    relay.drop()
    wait_for(lambda: threads_of(pid) <= MOST_THREADS, f"no more than {MOST_THREADS} threads")
    wait_for(
        lambda: connections_of(pid, relay.port) <= connections,
        f"no more than {connections} connections",
    )


def threads_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def connections_of(pid: int, port: int) -> int:
    """How many sockets the process has that lead to a port, or led there."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    there = {f"socket:[{fields[9]}]" for fields in lines if fields[2].endswith(f":{port:04X}")}
    return len(there.intersection(open_files(pid)))


def freeze(hub: RunningHub, relay: Relay) -> None:
    """The Hub takes connections and never answers."""
    hub.processes["hub"].send_signal(signal.SIGSTOP)


def thaw(hub: RunningHub, relay: Relay) -> None:
    hub.processes["hub"].send_signal(signal.SIGCONT)


def kill(hub: RunningHub, relay: Relay) -> None:
    """The Hub is gone, without a chance to say so."""
    hub.processes["hub"].kill()
    hub.processes["hub"].wait()


def restart(hub: RunningHub, relay: Relay) -> None:
    hub.start_hub()
    hub.wait_for_service()


def refuse(hub: RunningHub, relay: Relay) -> None:
    """Nobody listens where the Hub should be."""
    relay.refuse()


def accept(hub: RunningHub, relay: Relay) -> None:
    relay.accept()


def fall_ill(hub: RunningHub, relay: Relay) -> None:
    """The Hub answers with an error of its own, or a proxy in front of it does."""
    relay.ill = True
    relay.drop()  # the service keeps connections for its next questions


def recover(hub: RunningHub, relay: Relay) -> None:
    relay.ill = False


troubles = pytest.mark.parametrize(
    ("trouble", "mend"),
    [
        pytest.param(freeze, thaw, id="silent"),
        pytest.param(kill, restart, id="away"),
        pytest.param(refuse, accept, id="refusing"),
        pytest.param(fall_ill, recover, id="ill"),
    ],
)

Act = Callable[[RunningHub, Relay], None]


def assert_unavailable(reply: requests.Response) -> None:
    assert reply.status_code == 503
    assert int(reply.headers["Retry-After"]) > 0
    message = reply.json()["message"]
    assert re.fullmatch(r"The Hub does not answer; please try again \(error \w{8}\)", message)


@troubles
def test_whoever_the_service_knows_goes_on_and_others_are_told_to_wait(
    hub: RunningHub,
    relay: Relay,
    nothing_leaks: None,
    trouble: Act,
    mend: Act,
    request: pytest.FixtureRequest,
) -> None:
    admin = hub.make_user("ada")
    known, new = hub.make_user("known"), hub.make_user("new")
    unknown = f"unknown-{request.node.callspec.id}"
    course = f"course/{request.node.callspec.id}"
    assert hub.ask("POST", course, admin).status_code == 200
    assert hub.ask("GET", "courses", known).status_code == 200
    trouble(hub, relay)
    try:
        with ThreadPoolExecutor(20) as threads:
            waiting = [
                threads.submit(hub.ask, "GET", "courses", new, timeout=LIMIT),
                threads.submit(hub.ask, "GET", "courses", new, timeout=LIMIT),
                threads.submit(hub.ask, "POST", course, unknown, timeout=LIMIT),
                *(
                    threads.submit(hub.ask, "GET", "courses", f"{unknown}-{number}", timeout=LIMIT)
                    for number in range(10)
                ),
            ]
            # Nobody waits for those who wait.
            for _ in range(3):
                assert hub.ask("GET", "courses", known, timeout=2).status_code == 200
                reply = hub.ask("DELETE", course, admin, timeout=2)
                assert reply.json() == {"success": True}
                assert hub.ask("POST", course, admin, timeout=2).json() == {"success": True}
                assert hub.ask("GET", "healthz", timeout=2).json() == {"success": True}
            for each in waiting:
                assert_unavailable(each.result())
    finally:
        mend(hub, relay)
    wait_for(lambda: hub.ask("GET", "courses", new).status_code == 200, "new users get in again")
    assert hub.ask("GET", "courses", known).status_code == 200
    assert hub.ask("GET", "courses", unknown).status_code == 401
    assert hub.ask("GET", "courses", hub.make_user("newer")).status_code == 200


@troubles
def test_a_browser_is_told_in_a_page_and_can_log_in_afterwards(
    hub: RunningHub, relay: Relay, trouble: Act, mend: Act
) -> None:
    name = f"otto-{trouble.__name__}"
    with Browser(hub) as known, Browser(hub) as new:
        assert f"Hello, {name}" in known.visit_and_log_in(hub.ngshare, name).text
        new.log_in(name)
        back = new.go_until(hub.ngshare, f"{hub.prefix}oauth_callback")
        trouble(hub, relay)
        try:
            assert f"Hello, {name}" in known.visit(hub.ngshare, timeout=2).text
            page = new.visit(back, timeout=LIMIT)
            assert page.status_code == 503
            assert "<h1>Something went wrong</h1>" in page.text
            assert "The Hub did not finish this login; please try again" in page.text
            assert int(page.headers["Retry-After"]) > 0
        finally:
            mend(hub, relay)
        assert f"Hello, {name}" in new.visit(hub.ngshare).text
        assert f"Hello, {name}" in known.visit(hub.ngshare).text


def test_an_answer_that_comes_after_ten_seconds_is_used_and_harms_nobody(
    hub: RunningHub, relay: Relay, nothing_leaks: None
) -> None:
    known, new = hub.make_user("known"), hub.make_user("patient")
    pid = hub.processes["ngshare"].pid
    assert hub.ask("GET", "courses", known).status_code == 200
    relay.drop()
    wait_for(lambda: not connections_of(pid, relay.port), "no connection to the Hub")
    relay.delay = 10
    try:
        with ThreadPoolExecutor(20) as threads:
            waiting = [
                threads.submit(hub.ask, "GET", "courses", token, timeout=LIMIT)
                for token in [new] * 5 + [f"late-{number}" for number in range(10)]
            ]
            assert hub.ask("GET", "courses", known, timeout=2).status_code == 200
            assert hub.ask("GET", "healthz", timeout=2).status_code == 200
            for each in waiting:
                assert_unavailable(each.result())
        wait_for(lambda: hub.ask("GET", "courses", new, timeout=LIMIT).ok, "the late answer")
        # The Hub is as slow as before: what it said of the first question is kept.
        assert hub.ask("GET", "courses", new, timeout=2).status_code == 200
        for late in (f"late-{number}" for number in range(10)):
            wait_for(
                lambda token=late: hub.ask("GET", "courses", token).status_code == 401,
                "the late answer that this is nobody",
            )
    finally:
        relay.delay = 0
    # As many questions at once again need no more connections: none is lost.
    questions = 1 + 10
    assert connections_of(pid, relay.port) <= questions
    with ThreadPoolExecutor(questions) as threads:
        tokens = [f"later-{number}" for number in range(questions)]
        for reply in threads.map(lambda token: hub.ask("GET", "courses", token), tokens):
            assert reply.status_code == 401
    assert connections_of(pid, relay.port) <= questions
    assert hub.ask("GET", "courses", hub.make_user("newest")).status_code == 200


def test_users_of_a_service_that_the_hub_did_not_launch_may_use_it(hub: RunningHub) -> None:
    environment = hub.start_server("paul")
    assert environment["JUPYTERHUB_BASE_URL"] == "/jupyter/"
    reply = hub.ask("GET", "courses", environment["JUPYTERHUB_API_TOKEN"])
    assert (reply.status_code, reply.json()["success"]) == (200, True)
    scopes = hub.api("GET", "user", environment["JUPYTERHUB_API_TOKEN"])["scopes"]
    assert "read:users:name!user=paul" in scopes
    hub.api("DELETE", "users/paul/server")


def test_the_service_may_restart_while_the_hub_runs(hub: RunningHub) -> None:
    admin = hub.make_user("ada")
    hub.ask("POST", "course/kept", admin)
    with Browser(hub) as browser:
        browser.visit_and_log_in(hub.ngshare, "ada")
        hub.processes["ngshare"].terminate()
        assert hub.processes["ngshare"].wait(20) == 0
        # The proxy says so while nobody is there, and not for longer.
        assert hub.ask("GET", "healthz").status_code == 503
        hub.start_service()
        hub.wait_for_service()
        assert "kept" in hub.ask("GET", "courses", admin).json()["courses"]
        page = browser.visit(hub.ngshare, allow_redirects=False)
        assert "Hello, ada" in page.text  # still logged in


def test_a_revoked_token_is_refused_once_the_answer_is_old(
    proxy_program: Path, tmp_path: Path
) -> None:
    args = ["--SharedHubAuth.cache_max_age=1"]
    hub = RunningHub(tmp_path, proxy_program, args=args)
    try:
        hub.start()
        token = hub.make_user("quinn")
        assert hub.ask("GET", "courses", token).status_code == 200
        hub.api("DELETE", "users/quinn")
        # By default the Hub's answer would be believed for minutes.
        wait_for(lambda: hub.ask("GET", "courses", token).status_code == 401, "refused")
    finally:
        hub.stop()
