"""The HTTP server, with limits on connections and on the size and duration of requests."""

from __future__ import annotations

import logging
import re
import resource
import time
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream
from tornado.web import Application

log = logging.getLogger("ngshare")

IDLE_SECONDS = 120
"""The seconds that a connection may take for a request's headers, or be idle between requests."""

BODY_SECONDS = 3600
"""The seconds that the body of one request may take to arrive."""

MAX_BODY = 2**20
"""The largest body, in bytes, that Tornado reads into memory. API handlers receive bodies
themselves, and raise the limit (:mod:`ngshare.web.bodies.receive`)."""

KEPT_FREE = 700
"""The file descriptors that are reserved for the service itself: eight threads write up to 64 files
each at once, and the database, the Hub and the listening socket need some."""

LOG_SECONDS = 60
"""The least seconds between two log lines about refused connections."""

_CLIENT_TEXT = re.compile(
    r"(header name|header value|Unsupported Transfer-Encoding|Content-Lengths:|allowed:) .*", re.S
)


class Server(HTTPServer):
    """Tornado's server with a limit on open connections.

    Out of file descriptors, Tornado would fail to accept a connection, log a traceback, and try
    again at once, without end; and no file could be written for the clients already connected.
    """

    max_connections = 0
    _open = 0
    _logged_at = -float(LOG_SECONDS)

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        if self._open >= self.max_connections:
            stream.close()
            self._log_refused()
            return
        self._open += 1
        # Tornado would turn it on and off with each reply, which takes two system calls. We write
        # in large pieces, so that nothing is gained by delaying small packets.
        stream.set_nodelay(True)
        stream.set_nodelay = _do_nothing  # type: ignore[method-assign]
        super().handle_stream(stream, address)

    def on_close(self, server_conn: object) -> None:
        self._open -= 1
        super().on_close(server_conn)

    def _log_refused(self) -> None:
        if time.monotonic() - self._logged_at >= LOG_SECONDS:
            self._logged_at = time.monotonic()
            log.error(
                "%d connections are open, the most that the limit of open files (ulimit -n) "
                "allows: new ones are closed at once. Raise it, or find who opens so many.",
                self._open,
            )


def _do_nothing(value: bool) -> None:
    """Leave the option as it is."""


def make_server(application: Application, *, connections: int | None = None) -> Server:
    """Return a server for this many connections at once, by default what the system allows."""
    server = Server(
        application,
        max_body_size=MAX_BODY,
        idle_connection_timeout=IDLE_SECONDS,
        body_timeout=BODY_SECONDS,
    )
    server.max_connections = connections or connections_allowed()
    return server


def connections_allowed() -> int:
    """Raise the limit of open files as far as possible; return how many connections it allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft != resource.RLIM_INFINITY and soft < target:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
        soft = target
    files = target if soft == resource.RLIM_INFINITY else soft
    return max(files - KEPT_FREE, files // 2)


class HideMalformedRequests(logging.Filter):
    """Cut a client's text, which may be a token, from Tornado's lines on malformed requests."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.msg, str) and record.msg.startswith("Malformed HTTP message"):
            record.msg, record.args = _CLIENT_TEXT.sub(r"\1 ...", record.getMessage()), ()
        return True


class DropXsrfWarnings(logging.Filter):
    """Drop a warning that JupyterHub's client logs for each page on a Hub without HTTPS.

    There browsers do not send ``Sec-Fetch-Mode``, without which the client skips its XSRF check for
    GET. It still checks every request that could change something.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("Skipping XSRF check for insecure request")
