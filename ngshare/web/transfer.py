"""Requests and replies on their way: bounded in memory, never waited for without end.

Who sends a body is known before it is read, and it is read only where it is of use.
What a request holds of the room for transfers is given back when it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import time
from collections.abc import Awaitable
from typing import Any

from jupyterhub.services.auth import HubOAuthenticated
from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler, stream_request_body

from ngshare.errors import ExchangeError, TooLarge
from ngshare.web.flow import Flow, Held
from ngshare.web.lanes import Lanes
from ngshare.web.proxy import believe_proxy
from ngshare.web.service import Service
from ngshare.web.who import UNIDENTIFIED

log = logging.getLogger("ngshare")

STEP = 2**20
"""In steps of so many bytes a body of unknown length gets room."""

PART = 512 * 1024
"""In parts of so many bytes a large reply is sent; how fast is known after each of them."""

READ_ON = 4 * 2**20
"""Of a body that is too large up to so many bytes are read after the reply."""

READ_ON_SECONDS = 5.0
"""And for so long."""

HANG_UP_SECONDS = 1.0
"""Between the last of them and the end: the Hub's proxy, told of an end while it still sends,
forgets to look whether there was a reply."""

SMALL = 32 * 1024
"""Up to so many bytes are parsed at once on the event loop, where it takes well under 1 ms."""


@stream_request_body
class TransferHandler(HubOAuthenticated, RequestHandler):  # type: ignore[misc]  # jupyterhub is untyped
    """Identifies who sends a body, reads it, and sends the reply.

    JupyterHub's mixin brings its protection against forged requests of browsers.
    """

    service: Service
    hub_auth: Any

    def initialize(self, service: Service, route: str) -> None:
        believe_proxy(self.request, service.trusted_proxies)
        self.service = service
        self.route = route
        self.hub_auth = getattr(service.identity, "hub_auth", None)
        service.begin_request()
        self.started = time.monotonic()
        self.received = 0
        self._in_flight = True
        self._body_read = False
        self._chunks: list[bytes] = []
        self._wanted = True
        self._refusal: ExchangeError | None = None
        self._answered = False
        self._read_until = 0
        self._hanging_up: asyncio.TimerHandle | None = None
        self._name: str | None = None
        self._held: list[tuple[Flow, Held]] = []

    def explain(self, status: int, error: BaseException | None) -> str:
        """What to tell the caller of an error, and the headers that go with it."""
        raise NotImplementedError

    async def prepare(self) -> None:
        """Before the body is read: refuse what is too large, and whoever is nobody.

        Where nobody is asked who they are, no body is of use either: it is read past, and
        takes no room from those who are known.
        """
        method = getattr(self, (self.request.method or "").lower(), None)
        self._wanted = getattr(method, "who", None) not in UNIDENTIFIED
        length = self._announced_length()
        try:
            self._check_length(length)
            if not self._wanted:
                await self._read_past()
                return
            if not self.service.identity.reads_body:
                await self._identify()
            if length or self._sends_chunks:
                await self._hold(self.service.uploads, length or STEP)
        except ExchangeError as error:
            await self._refuse(error)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Keep what is wanted of a body, and read past what is not.

        Return what Tornado has to wait for before it reads on; None for nothing.
        """
        self.received += len(chunk)
        if self._answered or not self._wanted or self._sends_chunks:
            return self._receive(chunk)
        # It said how long it is, and has its room: there is nothing to wait for.
        self._count(self.received)
        self._keep(chunk)
        return None

    async def _receive(self, chunk: bytes) -> None:
        if self._answered:
            if self.received > self._read_until:
                await asyncio.sleep(HANG_UP_SECONDS)  # nothing is read meanwhile
                self._hang_up()
            return
        try:
            self._check_length(self.received)
            await self._moved(self.received)
        except ExchangeError as error:
            await self._refuse(error)
        if self._wanted:
            self._keep(chunk)

    def _keep(self, chunk: bytes) -> None:
        """Keep a piece of a body. Small ones are joined, for each alone takes 50 bytes besides."""
        if self._chunks and max(len(chunk), len(self._chunks[-1])) < SMALL:
            self._chunks[-1] += chunk
        else:
            self._chunks.append(chunk)

    async def _refuse(self, error: ExchangeError) -> None:
        """Take no more of a request.

        Most clients look at no reply before they have sent all, so it waits for that; unless
        that is more than anybody may send.
        """
        self._refusal = self._refusal or error
        self._wanted = False
        self._chunks.clear()
        self._release()
        if isinstance(error, TooLarge):
            await self._answer_early(self._refusal)
        else:
            await self._read_past()

    async def _read_past(self) -> None:
        """Let a body come that nobody keeps, as long as it comes fast enough."""
        size = self.service.max_body if self._sends_chunks else self._announced_length()
        if not size:
            return
        held = await self.service.unread.hold(size, self._give_up)
        held.moved = self.received
        self._held.append((self.service.unread, held))
        if not self._in_flight:  # the client left while the Hub was asked
            self._release()

    def _give_up(self) -> None:
        """End a request that is refused, or has no use for a body, and does not come to its end."""
        if self._refusal is None:
            self._cut_off()
            return
        self.set_header("Connection", "close")
        error = (type(self._refusal), self._refusal, None)
        self.log_exception(*error)
        self.send_error(exc_info=error)

    async def _answer_early(self, error: ExchangeError) -> None:
        """Answer before the body has come, and read on for a little before the connection ends.

        Ended at once, with bytes unread, the system would reset it, and a client that still
        sends might never see the reply.
        """
        self._answered = True
        self._read_until = self.received + READ_ON
        self._hanging_up = asyncio.get_running_loop().call_later(READ_ON_SECONDS, self._hang_up)
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
            # Says that no more comes, so that who still sends looks for the reply.
            self.request.connection.stream.socket.shutdown(socket.SHUT_WR)  # type: ignore[union-attr]

    def _hang_up(self) -> None:
        """End a connection whose request has its answer, whatever it still sends."""
        if not self._finished:
            self.finish()
        self.request.connection.stream.close()  # type: ignore[union-attr]  # it is HTTP1Connection

    async def _send(self, *parts: bytes) -> None:
        """Send a reply bit by bit, so that little of it waits in memory to be sent."""
        for _, held in self._held:
            held.begin()
        sent = 0
        try:
            for part in parts:
                if len(part) >= SMALL:
                    await self.flush()  # else the two would be copied to be one
                for start in range(0, len(part), PART):
                    self.write(part[start : start + PART])
                    if len(part) >= SMALL:
                        await self.flush()
                    sent += PART
                    self._count(sent)
            self.finish()
        except StreamClosedError:  # nobody is there any more to send it to
            self._end()

    def _count(self, moved: int) -> None:
        for _, held in self._held:
            held.moved = moved

    async def _hold(self, lanes: Lanes, size: int) -> None:
        """Wait until so many bytes may be in memory. They are given back when the request ends."""
        flow = lanes.of(size)
        held = await flow.hold(size, self._cut_off, self._name)
        self._held.append((flow, held))
        if not self._in_flight:  # the client left while this waited
            self._release()

    async def _watch(self, size: int) -> None:
        """Have a reply of so many bytes, that needs no room, cut off when it is not read."""
        held = await self.service.unsent.hold(size, self._cut_off)
        self._held.append((self.service.unsent, held))
        if not self._in_flight:  # the client left while the reply was made
            self._release()

    async def _moved(self, received: int) -> None:
        """Count what came of the body; one that did not announce its length holds more then."""
        self._count(received)
        if not self._wanted or not self._sends_chunks or not self._held:
            return
        flow, held = self._held[0]
        if received < held.size:
            return
        if self.service.uploads.of(held.size + STEP) is flow:
            await flow.grow(held, STEP)
            return
        held.ours = True
        await self._hold(self.service.uploads, held.size + STEP)
        flow.release(held)
        del self._held[:1]
        self._count(received)

    def _release(self) -> None:
        for flow, held in self._held:
            flow.release(held)
        self._held.clear()

    def _cut_off(self) -> None:
        """End a transfer that is too slow for the room that it holds."""
        log.warning(
            "Cut off %s %s from %s: it stood still, or was too slow while others waited",
            self.request.method,
            self.request.path,
            self.request.remote_ip,
        )
        self.request.connection.stream.close()  # type: ignore[union-attr]  # it is HTTP1Connection

    def on_finish(self) -> None:
        stream = self.request.connection.stream  # type: ignore[union-attr]  # it is HTTP1Connection
        if stream.writing():
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

    def _end(self) -> None:
        self._release()
        if self._hanging_up is not None:
            self._hanging_up.cancel()
        if self._in_flight:
            self._in_flight = False
            self.service.end_request()

    @property
    def _sends_chunks(self) -> bool:
        """Whether a body comes that does not say how long it is."""
        return "Transfer-Encoding" in self.request.headers

    def _announced_length(self) -> int:
        """How long the body will be, in bytes; 0 where it says no number, which Tornado refuses.

        Tornado takes a length that is said twice, and zeros before it. Whoever counted on
        neither would keep such a body without room for it.
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
