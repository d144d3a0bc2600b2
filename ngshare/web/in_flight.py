"""Track a request until its reply is sent, and cut off clients that are too slow."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator

from tornado.iostream import IOStream, StreamClosedError
from tornado.web import RequestHandler

from ngshare.web.bodies.client_limits import Transfer
from ngshare.web.proxy import apply_forwarded_headers
from ngshare.web.service import Service

log = logging.getLogger("ngshare")

REPLY_PIECE = 256 * 1024
"""The bytes of a reply that are written to the connection, and wait in memory there, at once."""

HEAD_SIZE = 4 * 1024
"""The largest part of a reply that is not written by itself."""


class InFlightHandler(RequestHandler):
    """Count a request as in flight while it is handled and its reply is sent.

    received: the bytes of the body that have arrived. route: the name of the route in logs and
    metrics.
    """

    service: Service

    def initialize(self, service: Service, route: str) -> None:
        apply_forwarded_headers(self.request, service.trusted_proxies)
        self.service = service
        self.route = route
        service.begin_request()
        self.received = len(self.request.body)
        self._in_flight = True
        self._transfer: Transfer | None = None
        self._sent_in_pieces = 0

    @property
    def sent(self) -> int:
        """Return the size of the reply's body in bytes, once the reply is finished."""
        return int(self._headers.get("Content-Length", self._sent_in_pieces))

    async def send(self, *bodies: bytes) -> None:
        """Send a reply's body, piece by piece as the client reads it. Its length is set already."""
        async with self.sending():
            for body in bodies:
                if len(body) <= HEAD_SIZE:  # sent in one system call with what follows
                    self.write(body)
                    continue
                for start in range(0, len(body), REPLY_PIECE):
                    await self.send_piece(body[start : start + REPLY_PIECE])

    @contextlib.asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        """Watch the client while pieces of a reply are sent, and finish the reply after them."""
        self._watch()
        try:
            yield
            self.finish()
        except StreamClosedError:
            self._end()
        finally:
            self._stop_watching()

    async def send_piece(self, piece: bytes) -> None:
        """Write a piece of the reply to the connection; return when the client has taken it."""
        self.write(piece)
        await self.flush()
        self._sent_in_pieces += len(piece)
        if self._transfer is not None:
            self._transfer.count(len(piece))

    def close_connection(self) -> None:
        """Close the connection at once, even while bytes are received or sent."""
        self._socket_stream.close()

    def on_finish(self) -> None:
        stream = self._socket_stream
        if stream.writing():
            self._watch()  # a client that reads nothing would keep this request in flight for ever
            # An empty write after a large reply: done when that is sent, or cannot be any more.
            stream.write(b"").add_done_callback(lambda sent: self._end())
        else:
            self._end()

    def release(self) -> None:
        """Release the request's resources. It may be called more than once."""
        self._stop_watching()

    def _end(self) -> None:
        """Count the request as answered, once."""
        if not self._in_flight:
            return
        self._in_flight = False
        self.release()
        self.service.end_request()

    def _watch(self) -> None:
        """Close the connection if the client becomes too slow from now on."""
        self._stop_watching()
        if self._in_flight:
            self._transfer = self.service.slow_connections.watch(self._cut_off)

    def _stop_watching(self) -> None:
        if self._transfer is not None:
            self.service.slow_connections.forget(self._transfer)
            self._transfer = None

    def _cut_off(self) -> None:
        log.warning(
            "Cut off %s %s from %s: it stood still, or was too slow",
            self.request.method,
            self.request.path,
            self.request.remote_ip,
        )
        self.close_connection()

    @property
    def _socket_stream(self) -> IOStream:
        stream: IOStream = self.request.connection.stream  # type: ignore[union-attr]  # it is HTTP1Connection
        return stream
