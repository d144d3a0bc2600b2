"""What clients do with their connections alone: many of them, idle ones, malformed messages."""

from __future__ import annotations

import resource
import socket
import sys

import pytest

from ngshare.web import server as http_server
from tests.process.site import Server, Site, wait_for

OPEN_FILES = 100
FEW_FILES = f"ulimit -n {OPEN_FILES} && exec "
"""What a shell does before it starts the service."""


@pytest.fixture
def cramped(migrated_site: Site) -> Server:
    """A server that may open few files."""
    return migrated_site.start(
        command=("sh", "-c", FEW_FILES + '"$@"', "sh", sys.executable, "-m", "ngshare")
    )


def test_more_connections_than_there_can_be_files_do_no_harm(cramped: Server) -> None:
    with cramped.client() as ada:
        assert ada.get("courses").status == 200
        clients = [socket.create_connection(("127.0.0.1", cramped.port)) for _ in range(OPEN_FILES)]
        wait_for("the complaint", lambda: "connections are open" in cramped.output)
        # Whoever is connected already is served, and what needs files has them.
        assert ada.post("course", "c", instructors='["ada"]').status == 200
        assert ada.release("c", "a", {"a.txt": b"a"}).status == 200
        assert ada.get("assignment", "c", "a").files == {"a.txt": b"a"}
        for client in clients:
            client.close()
    wait_for("health", cramped.healthy)
    assert cramped.output.count("connections are open") == 1
    assert "Traceback" not in cramped.output


def test_the_limit_of_open_files_is_raised_as_far_as_it_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = {"now": (1024, 4096)}
    monkeypatch.setattr(resource, "getrlimit", lambda what: limits["now"])
    monkeypatch.setattr(resource, "setrlimit", lambda what, new: limits.update(now=new))
    assert http_server.connections_allowed() == 4096 - http_server.KEPT_FREE
    assert limits["now"] == (4096, 4096)
    for hard in (resource.RLIM_INFINITY, 2**20):
        limits["now"] = (1024, hard)
        assert http_server.connections_allowed() == 65_536 - http_server.KEPT_FREE
        assert limits["now"] == (65_536, hard)
    limits["now"] = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    assert http_server.connections_allowed() == 65_536 - http_server.KEPT_FREE
    limits["now"] = (100, 100)
    assert http_server.connections_allowed() == 50


def test_a_malformed_request_does_not_bring_its_token_into_the_log(migrated_site: Site) -> None:
    server = migrated_site.start("--debug", "--log-level=DEBUG")
    secret = b"the-secret-of-somebody"
    for line in (
        b"Authorization: token " + secret + b"\x01",
        b"Authorization: token " + secret + b"\x7f\r\nX: y",
        b"Cookie: a=" + secret + b"\x02",
        b"Authorization token " + secret,
        secret + b"\x01: x",
        b"Content-Length: " + secret,
        b"Transfer-Encoding: " + secret,
        b"Content-Length: 1\r\nContent-Length: " + secret,
        b"Host: " + secret,
    ):
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"GET /api/courses HTTP/1.1\r\nHost: x\r\n" + line + b"\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 400 ")
    assert server.stop() == 0
    assert "Malformed HTTP message from 127.0.0.1: Invalid header value" in server.output
    assert secret.decode() not in server.output
