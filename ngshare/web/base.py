"""The JSON handler: identify, read the fields, run an action, reply. One place for all of it.

A handler's methods are a few lines each, and say with :func:`allow` who may call
them. A method that says nothing is found when the service starts, which fails.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import secrets
from collections.abc import AsyncIterator
from typing import Any, Concatenate, ParamSpec, TypeVar

from tornado.iostream import StreamClosedError
from tornado.web import HTTPError

from ngshare.actions.access import Caller
from ngshare.db.transactions import Action
from ngshare.errors import (
    BadRequest,
    ExchangeError,
    Forbidden,
    OutOfSpace,
    Unauthenticated,
    Unavailable,
)
from ngshare.protocol import names
from ngshare.web.auth.hub_client import SERVICE_NAMES
from ngshare.web.bodies.forms import parse_body, parse_form, parse_spooled
from ngshare.web.bodies.receive import BodyHandler
from ngshare.web.monitoring.log_fields import fields
from ngshare.web.route_access import UNIDENTIFIED, Who
from ngshare.web.service import Service

log = logging.getLogger("ngshare")

P = ParamSpec("P")
T = TypeVar("T")

INLINE = 32 * 1024
"""Bodies of at most so many bytes are parsed on the event loop, where it takes well under 1 ms."""

FIELD = 100_000
"""The most characters of a short text field: the event loop waits while it is looked at."""

PIECE = 256 * 1024
"""How many bytes of a reply are handed to the connection at once, and wait in memory there."""

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")


class BaseHandler(BodyHandler):
    """Parse the fields of a request, run actions for its caller, and reply in JSON."""

    caller: Caller
    path_args: list[str]

    def initialize(self, service: Service, route: str) -> None:
        super().initialize(service, route)
        self.caller = Caller("")
        self.path_args = []
        self.error_id: str | None = None
        self.log_reason: str | None = None
        self._fields: dict[str, Any] = {}

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

    async def open(self, who: Who) -> None:
        """After the body is read: parse the fields, and know the caller. Raises Unauthenticated."""
        await self._complete_body()
        self._fields = await self._parse()
        if who not in UNIDENTIFIED:
            await self.know_caller()

    async def know_caller(self) -> None:
        """Identify who sent this. Raises Unauthenticated, or BadRequest for an illegal name."""
        name = self._name or await self._identify()
        for each in (name, *self.path_args):
            names.check_name(each)
        self.caller = await self.service.see(name)

    def value(self, name: str) -> Any:
        """A field as it was sent: text, or in a JSON body any JSON value; None when absent."""
        return self._fields.get(name)

    def field(self, name: str) -> str | None:
        """A short text field, stripped; None when absent. Raises BadRequest when it is no text."""
        value = self._fields.get(name)
        if value is None:
            return None
        if isinstance(value, str) and len(value) > FIELD:
            raise BadRequest(f"The field {name} is longer than {FIELD} characters")
        if not isinstance(value, str) or not names.is_storable_text(_CONTROL.sub(" ", value)):
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

    def reply(self, **fields: Any) -> None:
        """Answer with success and these fields."""
        self._finish_json(200, {"success": True, **fields})

    def reply_encoded(self, body: bytes) -> None:
        """Answer with what is JSON already."""
        self.set_header("Content-Type", "application/json")
        self.finish(body)

    async def reply_large(self, body: bytes, kind: str = "application/json") -> None:
        """Answer with a body that is encoded already, piece by piece as the client takes it.

        Call it within ``Service.replies``, which bounds how many of one user are in memory.
        """
        self.set_header("Content-Type", kind)
        if len(body) <= INLINE:
            self.finish(body)
            return
        self.set_header("Content-Length", str(len(body)))
        await self.send(body)

    async def send(self, *bodies: bytes) -> None:
        """Send what the reply's body consists of. Its length is set already."""
        async with self.sending():
            for body in bodies:
                for start in range(0, len(body), PIECE):
                    await self.send_piece(body[start : start + PIECE])

    @contextlib.asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        """Finish the reply after what is sent, and close the connection if nobody reads it."""
        self._watch()
        try:
            yield
            self.finish()
        except StreamClosedError:
            self._end()
        finally:
            self._stop_watching()

    async def send_piece(self, piece: bytes) -> None:
        """Hand a piece of the reply to the connection; return when the client has taken it."""
        self.write(piece)
        await self.flush()
        if self._transfer is not None:
            self._transfer.moved(len(piece))

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        if self._answered:
            self._close()
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
                extra=fields(error=self.error_id),
            )
            return
        if isinstance(error, (ExchangeError, HTTPError)):
            # The line of the request says it all.
            self.log_reason = self._reason_for_log(error)
            return
        self.error_id = secrets.token_hex(4)
        log.error(
            "Internal error %s at %s %s",
            self.error_id,
            self.request.method,
            self.request.path,
            exc_info=(kind, error, trace),
            extra=fields(error=self.error_id),
        )

    def _reason_for_log(self, error: ExchangeError | HTTPError) -> str | None:
        """Return what the request's line in the log says about a failure besides its status."""
        if isinstance(error, HTTPError):
            return None
        if isinstance(error, Forbidden) and self.caller.name.startswith(SERVICE_NAMES):
            why = error.reason or error.message
            return f"{why}; the caller is a Hub service, whose name here is {self.caller.name}"
        return error.log_reason

    def _finish_json(self, status: int, body: dict[str, Any]) -> None:
        self.set_status(status)
        self.reply_encoded(json.dumps(body).encode())

    async def _parse(self) -> dict[str, Any]:
        query = self.request.query
        fields = parse_form(query.encode("latin1", "replace")) if query else {}
        body = self._body
        if body is None or not body.size:
            return fields
        if self.request.headers.get("Content-Encoding", "identity") != "identity":
            raise BadRequest("Content-Encoding is not supported; send the body as it is")
        kind = self.request.headers.get("Content-Type", "")
        if body.file is not None:
            async with self.service.large:
                found = await self.service.on_files(parse_spooled, kind, body.file)
        elif body.size <= INLINE:
            found = parse_body(kind, body.content())
        else:
            found = await self.service.on_files(parse_body, kind, body.content())
        return {**fields, **found}
