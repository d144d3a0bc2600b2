"""Receive request bodies, refuse them early, and close connections that are too slow.

The caller is identified before a body is read, wherever that is possible, and a body is kept
only where the handler has a use for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import sys
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from typing import Any

from jupyterhub.services.auth import HubOAuthenticated
from tornado.web import RequestHandler, stream_request_body

from ngshare.errors import ExchangeError, TooLarge
from ngshare.web.bodies.client_limits import Transfer
from ngshare.web.bodies.spool import Body
from ngshare.web.proxy import believe_proxy
from ngshare.web.route_access import UNIDENTIFIED
from ngshare.web.service import Service

log = logging.getLogger("ngshare")

LINGER_BYTES = 4 * 2**20
"""How many bytes of a refused body are read, and discarded, after the reply."""

LINGER_SECONDS = 5.0
"""For how long they are read."""

CLOSE_SECONDS = 1.0
"""How long to wait after the last of them before the connection is closed: the Hub's proxy, told
of a closed connection while it still sends, does not look whether there was a reply."""


@stream_request_body
class BodyHandler(HubOAuthenticated, RequestHandler):  # type: ignore[misc]  # jupyterhub is untyped
    """Identify who sends a body, receive it, and release what it took when the request ends.

    JupyterHub's mixin brings its protection against forged requests of browsers.
    """

    service: Service
    hub_auth: Any

    def initialize(self, service: Service, route: str) -> None:
        believe_proxy(self.request, service.trusted_proxies)
        # The limit is ours, so that the reply can say what it is; the server's is for others.
        self.request.connection.set_max_body_size(sys.maxsize)  # type: ignore[union-attr]
        self.service = service
        self.route = route
        self.hub_auth = getattr(service.identity, "hub_auth", None)
        service.begin_request()
        self.received = 0
        self._in_flight = True
        self._body: Body | None = None
        self._body_read = False
        self._name: str | None = None
        self._refusal: ExchangeError | None = None
        self._answered = False
        self._transfer: Transfer | None = None
        self._place: AsyncExitStack | None = None
        self._closing: asyncio.TimerHandle | None = None

    def explain(self, status: int, error: BaseException | None) -> str:
        """Return what to tell the caller of an error, and set the headers that go with it."""
        raise NotImplementedError

    async def prepare(self) -> None:
        """Before the body is read: refuse what is too large, and callers without an identity.

        A body that no handler wants is discarded as it comes.
        """
        method = getattr(self, (self.request.method or "").lower(), None)
        wanted = getattr(method, "who", None) not in UNIDENTIFIED
        length = None if self._sends_chunks else self._announced_length()
        try:
            self._check_length(length or 0)
            if wanted and not self.service.identity.reads_body:
                await self._identify()
            if length == 0:
                return
            if wanted:
                await self._begin_body(length)
            self._watch()
        except ExchangeError as error:
            await self._refuse(error)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Keep a chunk of the body; return what Tornado has to await before it reads on."""
        self.received += len(chunk)
        if self._transfer is not None:
            self._transfer.moved(len(chunk))
        if self._answered:
            return self._linger()
        try:
            self._check_length(self.received)
            writing = None if self._body is None else self._body.add(chunk)
        except ExchangeError as error:
            return self._refuse(error)
        return None if writing is None else self._write(writing)

    async def _begin_body(self, length: int | None) -> None:
        """Make room for a body. A user has few in files at once; the next wait unread."""
        if length is None or not self.service.spool.has_memory(length):
            place = AsyncExitStack()
            await place.enter_async_context(self.service.uploads.of(self._name))
            if not self._in_flight:  # the client left while this waited
                await place.aclose()
                return
            self._place = place
        self._body = Body(self.service.spool, length)

    async def _write(self, writing: Awaitable[None]) -> None:
        try:
            await writing
        except ExchangeError as error:
            await self._refuse(error)

    async def _complete_body(self) -> None:
        """After all of a body has come: end the waiting for the client. Raises its refusal."""
        self._body_read = True
        self._stop_watching()
        if self._refusal is not None:
            raise self._refusal
        if self._body is not None:
            await self._body.complete()

    async def _refuse(self, error: ExchangeError) -> None:
        """Answer before the body has come, read on for a little, and close the connection.

        Closed at once, with bytes unread, the system would reset the connection, and a client
        that still sends might never see the reply.
        """
        if self._refusal is not None:
            return
        self._refusal = error
        self._release()
        if not self._sends_chunks and self._announced_length() <= self.received:
            return  # all of it is here: the handler's method raises the error
        self._answered = True
        self._closing = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._close)
        self._linger_until = self.received + LINGER_BYTES
        self.request.headers.pop("Expect", None)  # else Tornado would ask for the body now
        self.log_exception(type(error), error, None)
        self.set_status(error.status)
        message = self.explain(error.status, error)
        body = json.dumps({"success": False, "message": message}).encode()
        self.set_header("Content-Type", "application/json")
        self.set_header("Content-Length", str(len(body)))
        self.set_header("Connection", "close")
        self.write(body)
        with contextlib.suppress(OSError):  # the client is gone already
            await self.flush()
            # Says that no more comes, so that a client that still sends looks for the reply.
            self.request.connection.stream.socket.shutdown(socket.SHUT_WR)  # type: ignore[union-attr]

    async def _linger(self) -> None:
        """Discard what comes after the reply; after enough of it read no more, and close."""
        if self.received > self._linger_until:
            await asyncio.sleep(CLOSE_SECONDS)  # nothing is read meanwhile
            self._close()

    def _close(self) -> None:
        """Close a connection whose request has its answer, whatever it still sends."""
        if not self._finished:
            self.finish()
        self.close_connection()

    def _watch(self) -> None:
        """Have the connection closed if the client is too slow."""
        self._stop_watching()
        if self._in_flight:
            self._transfer = self.service.slow_connections.watch(self._cut_off)

    def _stop_watching(self) -> None:
        if self._transfer is not None:
            self.service.slow_connections.forget(self._transfer)
            self._transfer = None

    def close_connection(self) -> None:
        """Close the connection, whatever is still to come or to be sent."""
        self.request.connection.stream.close()  # type: ignore[union-attr]  # it is HTTP1Connection

    def _cut_off(self) -> None:
        log.warning(
            "Cut off %s %s from %s: it stood still, or was too slow",
            self.request.method,
            self.request.path,
            self.request.remote_ip,
        )
        self.close_connection()

    def on_finish(self) -> None:
        stream = self.request.connection.stream  # type: ignore[union-attr]  # it is HTTP1Connection
        if stream.writing():
            self._watch()  # else one who reads nothing would hold this request for ever
            # Nothing, written after a large reply: done when that is sent, or cannot be any more.
            stream.write(b"").add_done_callback(lambda sent: self._end())
        else:
            self._end()

    def on_connection_close(self) -> None:
        super().on_connection_close()
        if self._answered and not self._finished:
            self.finish()  # so that it is logged and counted
        if not self._body_read:  # then nothing more comes of this request
            self._end()

    def _release(self) -> None:
        """Release what the body takes: memory or file, and the user's place."""
        self._stop_watching()
        if self._body is not None:
            self._body.close()
            self._body = None
        if self._place is not None:
            asyncio.ensure_future(self._place.aclose())  # noqa: RUF006  # it ends at once
            self._place = None

    def _end(self) -> None:
        if not self._in_flight:
            return
        self._in_flight = False
        self._release()
        if self._closing is not None:
            self._closing.cancel()
        self.service.end_request()

    @property
    def _sends_chunks(self) -> bool:
        """Whether a body comes that does not say how long it is."""
        return "Transfer-Encoding" in self.request.headers

    def _announced_length(self) -> int:
        """Return the length of the body in bytes; 0 where it is no number, which Tornado refuses.

        Tornado takes a length that is given twice, and leading zeros.
        """
        length = self.request.headers.get("Content-Length", "").partition(",")[0]
        if not (length.isascii() and length.isdigit()):
            return 0
        return int(length.lstrip("0")[:20] or "0")

    def _check_length(self, length: int) -> None:
        if length > self.service.max_body:
            raise TooLarge(
                f"The request is larger than {self.service.max_body // 2**20} MiB, "
                "the most that this service accepts at once"
            )

    async def _identify(self) -> str:
        self._name = await self.service.identity.identify(self)
        self.service.rate.count(self._name)
        return self._name

    @property
    def sent(self) -> int:
        """How many bytes the reply's body has, once it is finished."""
        return int(self._headers.get("Content-Length", 0))
