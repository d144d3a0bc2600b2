"""The JSON handler: identify, read the fields, run an action, reply. One place for all of it.

A handler's methods are a few lines each, and say with :func:`allow` who may call
them. A method that says nothing is found when the service starts, which fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

from jupyterhub.services.auth import HubOAuthenticated
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, RequestHandler, stream_request_body

from ngshare import logs, wire
from ngshare.actions import audit, quota
from ngshare.actions.access import Caller
from ngshare.blobs import BlobMissing, BlobStore
from ngshare.database import Action
from ngshare.errors import (
    BadRequest,
    ExchangeError,
    OutOfSpace,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from ngshare.web.encoded import EncodedTrees
from ngshare.web.flow import Flow, Held
from ngshare.web.forms import parse_body, parse_form
from ngshare.web.lanes import Lanes
from ngshare.web.proxy import believe_proxy
from ngshare.web.service import Service
from ngshare.web.who import UNIDENTIFIED, Who

log = logging.getLogger("ngshare")

P = ParamSpec("P")
T = TypeVar("T")

LARGE = 4 * 2**20
"""Bodies of so many bytes or more are worked on one at a time."""

STEP = 2**20
"""In steps of so many bytes a large reply is sent, and a body of unknown length gets room."""

READ_ON = 4 * 2**20
"""Of a body that is too large up to so many bytes are read after the reply."""

READ_ON_SECONDS = 5.0
"""And for so long."""

HANG_UP_SECONDS = 1.0
"""Between the last of them and the end: the Hub's proxy, told of an end while it still sends,
forgets to look whether there was a reply."""

SMALL = 32 * 1024
"""Up to so many bytes are parsed at once on the event loop, where it takes well under 1 ms."""

LOST = b"The content of this file is missing from the exchange's storage.\n"
"""Stands in a reply for the bytes of a file that are lost."""

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")


@stream_request_body
class BaseHandler(HubOAuthenticated, RequestHandler):  # type: ignore[misc]  # jupyterhub is untyped
    """What all of our handlers share.

    JupyterHub's mixin brings its protection against forged requests of browsers.
    Bodies are read by us, so that who sends one is known before it is read.
    """

    service: Service
    hub_auth: Any
    caller: Caller
    path_args: list[str]

    def initialize(self, service: Service, route: str) -> None:
        believe_proxy(self.request)
        self.service = service
        self.route = route
        self.hub_auth = getattr(service.identity, "hub_auth", None)
        service.begin_request()
        self._in_flight = True
        self._body_read = False
        self.caller = Caller("")
        self.path_args = []
        self.started = time.monotonic()
        self.error_id: str | None = None
        self._chunks: list[bytes] = []
        self.received = 0
        self._wanted = True
        self._refusal: ExchangeError | None = None
        self._answered = False
        self._read_until = 0
        self._hanging_up: asyncio.TimerHandle | None = None
        self._fields: dict[str, Any] = {}
        self._name: str | None = None
        self._held: list[tuple[Flow, Held]] = []

    def get_current_user(self) -> Any:
        """The caller's name once it is known. JupyterHub's own way would block."""
        return self.caller.name or None

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")

    def compute_etag(self) -> None:
        """None: nothing of ours may be kept by a cache, and hashing a large reply takes long."""

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

    async def data_received(self, chunk: bytes) -> None:
        """Keep what is wanted of a body, and read past what is not."""
        self.received += len(chunk)
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

    async def open(self, who: Who) -> None:
        """After the body is read: parse the fields, and know the caller. Raises Unauthenticated."""
        self._body_read = True
        for _, held in self._held:
            held.ours = True
        if self._refusal is not None:
            raise self._refusal
        self._fields = await self._parse()
        if who not in UNIDENTIFIED:
            await self.know_caller()

    async def know_caller(self) -> None:
        """Identify who sent this. Raises Unauthenticated, or BadRequest for an illegal name."""
        name = self._name or await self._identify()
        for each in (name, *self.path_args):
            wire.check_name(each)
        self.caller = await self.service.see(name)

    def value(self, name: str) -> Any:
        """A field as it was sent: text, or in a JSON body any JSON value; None when absent."""
        return self._fields.get(name)

    def field(self, name: str) -> str | None:
        """A short text field, stripped; None when absent. Raises BadRequest when it is no text."""
        value = self._fields.get(name)
        if value is None:
            return None
        if not isinstance(value, str) or not wire.is_text(_CONTROL.sub(" ", value)):
            raise BadRequest(f"The field {name} must be a text")
        return _CONTROL.sub(" ", value).strip()

    def flag(self, name: str) -> bool:
        """Whether a field says true."""
        value = self._fields.get(name)
        return value is True or (isinstance(value, str) and value.strip().lower() == "true")

    async def ask(self, action: Action[Concatenate[Caller, P], T], *args: Any, **kwargs: Any) -> T:
        """Run an action that changes nothing, on behalf of the caller."""
        return await self.service.read(action, self.caller, *args, **kwargs)

    async def change(self, action: Action[Concatenate[Caller, P], T], *args: Any) -> T:
        """Run an action that changes something, on behalf of the caller."""
        return await self.service.write(action, self.caller, *args)  # type: ignore[call-arg]

    async def keep(self, action: Action[Concatenate[Caller, str, P], T], *args: Any) -> T:
        """Run an action that keeps files, if the course, the first of ``args``, has room."""
        limited = quota.within(self.service.max_course_bytes, action)
        return await self.change(limited, *args)

    async def store_files(self) -> list[wire.StoredFile]:
        """Make the bytes of the request's ``files`` durable, and return what to write of them."""
        service = self.service
        files = self._fields.pop("files", None)
        if service.max_course_bytes is not None:
            await self.ask(quota.check_room, self.path_args[0], service.max_course_bytes)
        return await self._compute(_store, service.blobs, files, service.max_files)

    def reply(self, **fields: Any) -> None:
        """Answer with success and these fields."""
        self._finish_json(200, {"success": True, **fields})

    def reply_encoded(self, body: bytes) -> None:
        """Answer with what is JSON already."""
        self.set_header("Content-Type", "application/json")
        self.finish(body)

    async def reply_tree(
        self,
        event: str,
        files: Sequence[wire.StoredFile],
        *,
        popular: bool = False,
        **fields: Any,
    ) -> None:
        """Answer with a tree, without its contents if the client asked for ``list_only``.

        With its contents it is an ``event`` of the audit log, unless it is empty.
        ``popular``: others will soon ask for it too, so it is kept in memory, encoded.
        """
        if self.flag("list_only"):
            self.reply(files=wire.format_tree(files), **fields)
            return
        kept = self.service.encoded if popular else None
        tree = kept.get(files) if kept else None
        if tree is None:
            await self._hold(self.service.downloads, sum(file.size for file in files) * 4 // 3)
            for _, held in self._held:
                held.ours = True
            tree = await self.service.on_files(_load, self.service.blobs, files, kept)
        head = json.dumps({"success": True, **fields}).encode()[:-1] + b', "files": '
        self.set_header("Content-Type", "application/json")
        self.set_header("Content-Length", str(len(head) + len(tree) + 1))
        await self._send(head, tree, b"}")
        if files and self._finished:
            self._note_read(event, files=len(files), **fields)

    async def _send(self, *parts: bytes) -> None:
        """Send a reply bit by bit, so that little of it waits in memory to be sent."""
        for _, held in self._held:
            held.begin()
        sent = 0
        try:
            for part in parts:
                if len(part) >= SMALL:
                    await self.flush()  # else the two would be copied to be one
                for start in range(0, len(part), STEP):
                    self.write(part[start : start + STEP])
                    if len(part) >= SMALL:
                        await self.flush()
                    sent += STEP
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

    def _note_read(self, event: str, **detail: Any) -> None:
        course, assignment, *student = self.path_args
        self.service.reads.add(
            audit.Read(
                audit.now(),
                self.caller.name,
                event,
                course,
                assignment,
                student[0] if student else None,
                detail,
            )
        )

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

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        if self._answered:
            self._hang_up()
            return
        error = (kwargs.get("exc_info") or (None, None))[1]
        if isinstance(error, ExchangeError):
            status_code = error.status
        super().send_error(status_code, **kwargs)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = (kwargs.get("exc_info") or (None, None))[1]
        if (
            isinstance(error, Unauthenticated)
            and self.wants_html
            and self.service.identity.login_by_redirect
        ):
            self.redirect(self.get_login_url())
        else:
            self.fail(status_code, self.explain(status_code, error))

    @property
    def sent(self) -> int:
        """How many bytes the reply's body has, once it is finished."""
        return int(self._headers.get("Content-Length", 0))

    @property
    def wants_html(self) -> bool:
        """Whether a browser asks for a page, rather than a program for an answer."""
        return self.request.method == "GET" and "text/html" in self.request.headers.get(
            "Accept", ""
        )

    def explain(self, status: int, error: BaseException | None) -> str:
        """What to tell the caller of an error, and the headers that go with it."""
        if isinstance(error, ExchangeError):
            if error.retry_after is not None:
                self.set_header("Retry-After", str(error.retry_after))
            if status == 401:
                self.set_header("WWW-Authenticate", 'token realm="JupyterHub"')
            if self.service.debug and error.reason:
                return f"{error.message} ({error.reason})"
            if self.error_id is not None:
                return f"{error.message} (error {self.error_id})"
            return error.message
        if status == 500:
            return f"Internal error {self.error_id}; the service's log says more under this number"
        return self._reason

    def fail(self, status: int, message: str) -> None:
        """Answer with failure."""
        self._finish_json(status, {"success": False, "message": message})

    def log_exception(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, (Unavailable, OutOfSpace)):
            self.error_id = secrets.token_hex(4)
            cause = f" ({type(error.__cause__).__name__})" if error.__cause__ else ""
            log.error(
                "Error %s at %s %s: %s%s",
                self.error_id,
                self.request.method,
                self.request.path,
                error.message,
                cause,
                extra=logs.fields(error=self.error_id),
            )
            return
        if isinstance(error, (ExchangeError, HTTPError)):
            return  # the line of the request says it all
        self.error_id = secrets.token_hex(4)
        log.error(
            "Internal error %s at %s %s",
            self.error_id,
            self.request.method,
            self.request.path,
            exc_info=(kind, error, trace),
            extra=logs.fields(error=self.error_id),
        )

    async def _identify(self) -> str:
        self._name = await self.service.identity.identify(self)
        self.service.rate.count(self._name)
        return self._name

    def _finish_json(self, status: int, body: dict[str, Any]) -> None:
        self.set_status(status)
        self.reply_encoded(json.dumps(body).encode())

    @property
    def _sends_chunks(self) -> bool:
        """Whether a body comes that does not say how long it is."""
        return "Transfer-Encoding" in self.request.headers

    def _announced_length(self) -> int:
        """How long the body will be, in bytes; 0 where it says no number, which Tornado refuses."""
        length = self.request.headers.get("Content-Length", "")
        return int(length[:20]) if length.isascii() and length.isdigit() else 0

    def _check_length(self, length: int) -> None:
        if length > self.service.max_body:
            raise TooLarge(
                f"The request is larger than {self.service.max_body // 2**20} MiB, "
                "the most that this service accepts at once"
            )

    async def _parse(self) -> dict[str, Any]:
        body = b"".join(self._chunks)
        self._chunks.clear()
        if self.request.headers.get("Content-Encoding", "identity") != "identity":
            raise BadRequest("Content-Encoding is not supported; send the body as it is")
        kind = self.request.headers.get("Content-Type", "")
        query = parse_form(self.request.query.encode("latin1", "replace"))
        if len(body) <= SMALL:
            return {**query, **parse_body(kind, body)}
        return {**query, **await self._compute(parse_body, kind, body)}

    async def _compute(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run something on the request's body, off the event loop; of large ones one at once.

        What they take meanwhile is several times their size. One user has no more than half
        of the threads, and one large body in front of the others.
        """
        service, user = self.service, self.caller.name or self._name
        if self.received < LARGE:
            async with service.turns.of(user):
                return await service.on_files(function, *args, **kwargs)
        async with service.large_turns.of(user), service.large:
            return await service.on_files(function, *args, **kwargs)


def _store(blobs: BlobStore, files: Any, most: int) -> list[wire.StoredFile]:
    tree = wire.parse_tree(files)
    if len(tree) > most:
        raise TooLarge(f"There are {len(tree)} files; this service accepts {most} at once")
    digests = blobs.put([file.content for file in tree])
    return [
        wire.StoredFile(file.path, digest, wire.md5(file.content), len(file.content))
        for file, digest in zip(tree, digests, strict=True)
    ]


def _load(blobs: BlobStore, files: Sequence[wire.StoredFile], kept: EncodedTrees | None) -> bytes:
    contents = [_content(blobs, file) for file in files]
    encoded = wire.format_full_tree(files, (LOST if each is None else each for each in contents))
    if kept and None not in contents:
        kept.keep(files, encoded)
    return encoded


def _content(blobs: BlobStore, file: wire.StoredFile) -> bytes | None:
    """A file's bytes; None when they are lost, so that the rest can be read."""
    if file.sha256 is not None:
        try:
            content = blobs.get(file.sha256)
        except BlobMissing:
            content = None
        if content is not None and len(content) == file.size:
            return content
        log.error(
            "The bytes of %s (SHA-256 %s) are %s the storage. "
            "Restore them from a backup; ngshare storage check finds what else there is.",
            file.path,
            file.sha256.hex(),
            "missing from" if content is None else "damaged in",
        )
    return None
