"""The HTTP server: how many connections it takes, how long they may idle, what it logs of them."""

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
"""How long a connection may take to send a request's head, and rest between two requests."""

BODY_SECONDS = 3600
"""How long the body of one request may take."""

MAX_BODY = 2**20
"""The largest body, in bytes, of a handler that Tornado reads it for. Handlers that receive it
themselves (:mod:`ngshare.web.bodies.receive`) raise the limit."""

KEPT_FREE = 700
"""File descriptors that are never for clients: eight threads write up to 64 files each at once,
and the database, the Hub and the listening socket need some."""

COMPLAIN_SECONDS = 60

_SENT = re.compile(
    r"(header name|header value|Unsupported Transfer-Encoding|Content-Lengths:|allowed:) .*", re.S
)


class Server(HTTPServer):
    """Tornado's server, which neither runs out of file descriptors nor waits for ever.

    Out of descriptors, Tornado would fail to accept, log a traceback, and try again
    at once, without end; and no file could be written for those already connected.
    """

    most = 0
    _open = 0
    _complained = -float(COMPLAIN_SECONDS)

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        if self._open >= self.most:
            stream.close()
            self._complain()
            return
        self._open += 1
        # Tornado would turn it on after each reply and off again: two calls of the system. We
        # write what belongs together at once, so nothing is gained by waiting for more.
        stream.set_nodelay(True)
        stream.set_nodelay = _leave  # type: ignore[method-assign]
        super().handle_stream(stream, address)

    def on_close(self, server_conn: object) -> None:
        self._open -= 1
        super().on_close(server_conn)

    def _complain(self) -> None:
        if time.monotonic() - self._complained >= COMPLAIN_SECONDS:
            self._complained = time.monotonic()
            log.error(
                "%d connections are open, the most that the limit of open files (ulimit -n) "
                "allows: new ones are closed at once. Raise it, or find who opens so many.",
                self._open,
            )


def _leave(value: bool) -> None:
    """Change nothing."""


def make_server(application: Application, *, connections: int | None = None) -> Server:
    """A server that takes so many connections at once, by default what the system allows."""
    server = Server(
        application,
        max_body_size=MAX_BODY,
        idle_connection_timeout=IDLE_SECONDS,
        body_timeout=BODY_SECONDS,
    )
    server.most = connections or connections_allowed()
    return server


def connections_allowed() -> int:
    """How many clients may be connected at once, after asking the system for all it gives."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    files = wanted if soft == resource.RLIM_INFINITY else soft
    return max(files - KEPT_FREE, files // 2)


class NothingSent(logging.Filter):
    """Cuts what was sent, which may be a token, from what Tornado says of malformed requests."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.msg, str) and record.msg.startswith("Malformed HTTP message"):
            record.msg, record.args = _SENT.sub(r"\1 ...", record.getMessage()), ()
        return True


class KnownAnyway(logging.Filter):
    """Drops what JupyterHub's client warns of at each page on a Hub without HTTPS.

    There browsers do not say what they want a page for. Whether a cookie alone may
    change anything is decided all the same.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("Skipping XSRF check for insecure request")
