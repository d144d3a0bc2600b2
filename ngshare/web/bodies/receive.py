"""The base of API handlers: receive request bodies as they arrive, and refuse them early.

The caller is identified before a body is read, unless the body itself names the caller, and a body
is stored only if the handler implements the request's method.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import socket
import sys
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from typing import IO, Any, cast

from tornado.httputil import HTTPHeaders
from tornado.web import stream_request_body

from ngshare.errors import BadRequest, ExchangeError, TooLarge
from ngshare.web.base import BaseHandler
from ngshare.web.bodies.fields import parse_spooled
from ngshare.web.bodies.spool import Body
from ngshare.web.route_access import UNIDENTIFIED, Audience
from ngshare.web.service import Service

READ_SIZE = 2**17
"""The bytes that are decompressed at once."""

LINGER_BYTES = 4 * 2**20
"""The bytes of a refused body that are read, and discarded, after the reply."""

LINGER_SECONDS = 5.0
"""The timeout of reading them."""

CLOSE_SECONDS = 1.0
"""The seconds to wait after the last of them before the connection is closed. The Hub's proxy
does not read a reply when the connection is closed while the proxy still sends."""


@stream_request_body
class ApiHandler(BaseHandler):
    """Receive a body in memory or in a temporary file, of up to the service's limit.

    The body's memory, file and upload slot are released when the request ends.
    """

    def initialize(self, service: Service, route: str) -> None:
        super().initialize(service, route)
        # This class has its own limit, with a reply that names it; the server's closes without one.
        self.request.connection.set_max_body_size(sys.maxsize)  # type: ignore[union-attr]
        self._body: Body | None = None
        self._body_read = False
        self._refusal: ExchangeError | None = None
        self._answered = False
        self._upload_slot: AsyncExitStack | None = None
        self._closing: asyncio.TimerHandle | None = None

    async def prepare(self) -> None:
        """Refuse a body that is too large, or whose sender cannot be identified, before it arrives.

        The body of a request whose method needs no identity, or is not implemented, is discarded.
        """
        method = getattr(self, (self.request.method or "").lower(), None)
        needs_body = getattr(method, "audience", None) not in UNIDENTIFIED
        length = body_length(self.request.headers)
        try:
            self._check_length(length or 0)
            if needs_body and not self.service.identity.reads_fields:
                await self.identify()
            if length == 0:
                return
            if needs_body:
                await self._begin_body(length)
            self._watch()
        except ExchangeError as error:
            await self._refuse(error)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Store a chunk of the body; return an awaitable if Tornado must wait before the next."""
        self.received += len(chunk)
        if self._transfer is not None:
            self._transfer.count(len(chunk))
        if self._answered:
            return self._linger()
        try:
            self._check_length(self.received)
            writing = None if self._body is None else self._body.add(chunk)
        except ExchangeError as error:
            return self._refuse(error)
        return None if writing is None else self._finish_writing(writing)

    async def begin(self, audience: Audience) -> None:
        self._body_read = True
        self._stop_watching()
        if self._refusal is not None:
            raise self._refusal
        if self._body is not None:
            await self._body.complete()
        await super().begin(audience)

    async def parse_body_fields(self) -> dict[str, Any]:
        body = self._body
        if body is None or not body.size:
            return {}
        if body.file is None:
            return await self.parse_in_memory(body.content())
        content_type = self.content_type()
        async with self.service.parsing_slot:
            return await self.service.in_file_thread(parse_spooled, content_type, body.file)

    @property
    def body_in_file(self) -> bool:
        """Return whether the body is in a file, so that reading it may block."""
        return self._body is not None and self._body.file is not None

    def open_body(self) -> IO[bytes]:
        """Return the body as it arrived, as a file at its start. Raises BadRequest.

        A body with ``Content-Encoding: gzip`` is decompressed as it is read, so read only as much
        as is expected.
        """
        encoding = self.request.headers.get("Content-Encoding", "identity").lower()
        body = self._body
        file: IO[bytes] = io.BytesIO()
        if body is not None and body.size:
            file = io.BytesIO(body.content()) if body.file is None else body.file
            file.seek(0)
        if encoding == "gzip":
            unpacked = cast(io.RawIOBase, gzip.GzipFile(fileobj=file))
            return io.BufferedReader(unpacked, READ_SIZE)
        if encoding != "identity":
            raise BadRequest("Content-Encoding should be gzip, or none")
        return file

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        if self._answered:
            self._close()
        else:
            super().send_error(status_code, **kwargs)

    def on_connection_close(self) -> None:
        super().on_connection_close()
        if self._answered and not self._finished:
            self.finish()  # so that it is logged and counted
        if not self._body_read:  # the handler's method will not run
            self._end()

    def release(self) -> None:
        """Release the memory or the file of the body, and the user's upload slot."""
        super().release()
        if self._body is not None:
            self._body.close()
            self._body = None
        if self._upload_slot is not None:
            asyncio.ensure_future(self._upload_slot.aclose())  # noqa: RUF006  # it ends at once
            self._upload_slot = None
        if self._closing is not None:
            self._closing.cancel()

    async def _begin_body(self, length: int | None) -> None:
        """Prepare to store a body of ``length`` bytes; None if the length is unknown.

        A body that goes to a file waits, unread, until the user has a free upload slot. Raises
        Unavailable when the spool has no space.
        """
        if length is None or not self.service.spool.has_memory(length):
            slot = AsyncExitStack()
            await slot.enter_async_context(self.service.upload_slots.of(self._name))
            if not self._in_flight:  # the client left while this waited
                await slot.aclose()
                return
            self._upload_slot = slot
        self._body = Body(self.service.spool, length)

    async def _finish_writing(self, writing: Awaitable[None]) -> None:
        try:
            await writing
        except ExchangeError as error:
            await self._refuse(error)

    async def _refuse(self, error: ExchangeError) -> None:
        """Reply before the body has arrived, read on for a short time, and close the connection.

        If the connection were closed at once, with bytes unread, the system would reset it, and a
        client that still sends might never see the reply.
        """
        if self._refusal is not None:
            return
        self._refusal = error
        self.release()
        length = body_length(self.request.headers)
        if length is not None and length <= self.received:
            return  # the whole body is here: ``begin`` raises the error
        self._answered = True
        self._closing = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._close)
        self._linger_until = self.received + LINGER_BYTES
        self.request.headers.pop("Expect", None)  # else Tornado would ask for the body now
        self.log_exception(type(error), error, None)
        self.set_status(error.status)
        content_type, body = self.format_error(error.status, self.explain(error.status, error))
        self.set_header("Content-Type", content_type)
        self.set_header("Content-Length", str(len(body)))
        self.set_header("Connection", "close")
        self.write(body)
        with contextlib.suppress(OSError):  # the client is gone already
            await self.flush()
            # Tells a client that still sends that the reply is complete, so that it reads it.
            self._socket_stream.socket.shutdown(socket.SHUT_WR)

    async def _linger(self) -> None:
        """Discard bytes that arrive after the reply; beyond LINGER_BYTES, close the connection."""
        if self.received > self._linger_until:
            await asyncio.sleep(CLOSE_SECONDS)  # nothing is read meanwhile
            self._close()

    def _close(self) -> None:
        """Finish a request that was refused, and close its connection."""
        if not self._finished:
            self.finish()
        self.close_connection()

    def _check_length(self, length: int) -> None:
        if length > self.service.max_body:
            raise TooLarge(
                f"The request is larger than {self.service.max_body // 2**20} MiB, "
                "the most that this service accepts at once"
            )


def body_length(headers: HTTPHeaders) -> int | None:
    """Return the announced length of a body in bytes; None if it comes in chunks.

    A length that is no number counts as 0, because Tornado refuses it. Tornado accepts a length
    that is given twice, and leading zeros.
    """
    if "Transfer-Encoding" in headers:
        return None
    length = headers.get("Content-Length", "").partition(",")[0]
    if not (length.isascii() and length.isdigit()):
        return 0
    return int(length.lstrip("0")[:20] or "0")
