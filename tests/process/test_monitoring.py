"""What operators see of real processes: metrics of several workers, JSON lines, reads kept."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime, timezone
from pathlib import Path

from tests.process.site import ADMIN, PATIENCE, Server, Site, wait_for


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Let a process do nothing for a while."""
    os.kill(pid, signal.SIGSTOP)
    state = Path(f"/proc/{pid}/stat")
    wait_for("the worker to stand still", lambda: state.read_text().rpartition(")")[2][1] == "T")
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def ask(server: Server, path: str) -> str:
    """The body of a reply, on a connection of its own."""
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)) as opened:
        opened.request("GET", f"/api/{path}?user={ADMIN}")
        response = opened.getresponse()
        body = response.read().decode()
        assert response.status == 200, body
        return body


def counted(server: Server) -> tuple[float, float]:
    """How often the courses were asked for, and the requests in flight, as one worker says."""
    page = ask(server, "metrics")
    requests = re.search(
        r'^ngshare_requests_total\{method="GET",route="courses",status="200"\} (\S+)$', page, re.M
    )
    in_flight = re.search(r"^ngshare_requests_in_flight (\S+)$", page, re.M)
    assert in_flight is not None, page
    return float(requests[1]) if requests else 0.0, float(in_flight[1])


def test_each_worker_answers_for_all_of_them(migrated_site: Site) -> None:
    folder = migrated_site.folder / "tmp"
    folder.mkdir()
    server = migrated_site.start("--workers=2", TMPDIR=str(folder))
    first, second = sorted(server.workers())
    with stopped(second):
        for _ in range(3):
            ask(server, "courses")
        assert counted(server)[0] == 3
    with stopped(first):
        assert counted(server)[0] == 3
        ask(server, "courses")
        assert counted(server)[0] == 4
    os.kill(second, signal.SIGKILL)
    wait_for("another worker", lambda: server.workers() - {first, second})
    assert counted(server)[0] == 4
    (third,) = server.workers() - {first}
    with stopped(first):
        ask(server, "courses")
        assert counted(server)[0] == 5
    with stopped(third):
        assert counted(server)[0] == 5
    wait_for("all to be answered", lambda: counted(server)[1] == 1)
    assert len(list(folder.iterdir())) == 1
    assert server.stop() == 0
    assert list(folder.iterdir()) == []


def test_what_a_killed_worker_was_doing_is_not_in_flight_for_ever(migrated_site: Site) -> None:
    server = migrated_site.start("--workers=2")
    first, second = sorted(server.workers())
    with ExitStack() as standing:

        def stand_still() -> bool:
            """Stop it, but not before it has counted off its last request: it would count it on."""
            standing.enter_context(stopped(first))
            if counted(server)[1] == 1:
                return True
            standing.close()
            return False

        wait_for("a worker that stands still with nothing to do", stand_still)
        opened = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        opened.putrequest("POST", "/api/course/x")
        opened.putheader("Content-Length", "100")
        opened.endheaders(b"user=")
        wait_for("the request", lambda: counted(server)[1] == 2)
    os.kill(second, signal.SIGKILL)
    wait_for("its end to be noticed", lambda: counted(server)[1] == 1)
    opened.close()
    assert server.stop() == 0


def test_what_a_killed_service_left_is_removed_at_the_next_start(migrated_site: Site) -> None:
    folder = migrated_site.folder / "tmp"
    folder.mkdir()
    server = migrated_site.start("--workers=2", TMPDIR=str(folder))
    (left,) = folder.iterdir()
    server.kill()
    assert left.exists()
    server = migrated_site.start("--workers=2", TMPDIR=str(folder))
    (present,) = folder.iterdir()
    assert present != left
    assert server.stop() == 0


def test_the_log_as_json_lines(migrated_site: Site) -> None:
    server = migrated_site.start("--debug")
    assert server.stop() == 0
    server = migrated_site.start("--log-json", "--debug")
    ask(server, "courses")
    assert server.stop() == 0
    lines = [json.loads(line) for line in server.output.splitlines()]
    assert {"time", "level", "logger", "message"} <= set.intersection(*(set(x) for x in lines))
    for line in lines:
        moment = datetime.fromisoformat(line["time"])
        assert abs((datetime.now(timezone.utc) - moment).total_seconds()) < 3600
    (request,) = [line for line in lines if line.get("route") == "courses"]
    assert (request["user"], request["status"], request["level"]) == (ADMIN, 200, "INFO")


def test_reads_are_in_the_audit_log_after_a_stop(migrated_site: Site) -> None:
    for arguments in ([], ["--workers=2"]):
        server = migrated_site.start(*arguments)
        with server.client() as client:
            if not arguments:
                assert client.post("course", "c").status == 200
                assert client.release("c", "ps1", {"a": b"1"}).status == 200
            for _ in range(5):
                assert client.get("assignment", "c", "ps1").status == 200
        assert server.stop() == 0
    query = "SELECT count(*) FROM audit_log WHERE event = 'assignment fetched'"
    assert migrated_site.rows(query) == [(10,)]
