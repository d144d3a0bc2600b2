"""The base of all handlers: identify the caller, parse the fields, run an action, reply.

API handlers add the receiving of large bodies (:mod:`ngshare.web.bodies.receive`), pages add HTML
(:mod:`ngshare.web.pages.base`). A handler's methods are a few lines each, and declare their
audience with :func:`ngshare.web.route_access.allow`; the service does not start with a method
that declares nothing.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
from typing import Any, Concatenate, ParamSpec, TypeVar

from jupyterhub.services.auth import HubOAuthenticated
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
from ngshare.web.bodies.fields import parse_body
from ngshare.web.bodies.json_text import decode_json
from ngshare.web.bodies.urlencoded import parse_form
from ngshare.web.in_flight import InFlightHandler
from ngshare.web.monitoring.log_fields import fields
from ngshare.web.route_access import UNIDENTIFIED, Audience
from ngshare.web.service import Service

log = logging.getLogger("ngshare")

P = ParamSpec("P")
T = TypeVar("T")

INLINE = 32 * 1024
"""The largest body, in bytes, that is parsed on the event loop: it takes well under 1 ms."""

FIELD_LENGTH = 100_000
"""The longest short text field, in characters: the event loop waits while it is checked."""

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")


class BaseHandler(HubOAuthenticated, InFlightHandler):  # type: ignore[misc]  # jupyterhub is untyped
    """Parse the fields of a request, run actions for its caller, and reply in JSON.

    JupyterHub's mixin protects a browser's login from forged requests (XSRF).
    """

    hub_auth: Any
    caller: Caller
    path_args: list[str]

    def initialize(self, service: Service, route: str) -> None:
        super().initialize(service, route)
        self.hub_auth = getattr(service.identity, "hub_auth", None)
        self.caller = Caller("")
        self.path_args = []
        self.error_id: str | None = None
        self.log_reason: str | None = None
        self._name: str | None = None
        self._fields: dict[str, Any] = {}

    def get_current_user(self) -> Any:
        """Return the caller's name once it is known. JupyterHub's own method would block."""
        return self.caller.name or None

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")

    def compute_etag(self) -> None:
        """Return no ETag: no cache may keep a reply, and hashing a large one takes long."""

    async def begin(self, audience: Audience) -> None:
        """Identify the caller unless the method is public, and parse the fields.

        It runs before each method that declares its audience, when the whole body has arrived.
        Raises BadRequest, and what :meth:`identify` raises.
        """
        if audience not in UNIDENTIFIED and not self.service.identity.reads_fields:
            await self.identify()
        query = self.request.query
        in_query = parse_form(query.encode("latin1", "replace")) if query else {}
        self._fields = {**in_query, **await self.parse_body_fields()}
        if audience not in UNIDENTIFIED:
            await self.set_caller()

    async def set_caller(self) -> None:
        """Set ``caller``. Raises BadRequest for an illegal name, and as :meth:`identify` does."""
        name = await self.identify()
        for each in (name, *self.path_args):
            names.check_name(each)
        self.caller = await self.service.make_caller(name)

    async def identify(self) -> str:
        """Return the caller's name, and count the request against the caller's limit, once.

        Raises what :meth:`ngshare.web.auth.identity.Identity.identify` raises, and TooManyRequests.
        """
        if self._name is None:
            self._name = await self.service.identity.identify(self)
            self.service.rate.count(self._name)
        return self._name

    async def parse_body_fields(self) -> dict[str, Any]:
        """Return the fields of the body that Tornado has read. Raises BadRequest."""
        return await self.parse_in_memory(self.request.body)

    async def parse_in_memory(self, body: bytes) -> dict[str, Any]:
        """Return the fields of a body, parsed off the event loop when it is large."""
        if not body:
            return {}
        content_type = self.content_type()
        if len(body) <= INLINE:
            return parse_body(content_type, body)
        return await self.service.in_file_thread(parse_body, content_type, body)

    def content_type(self) -> str:
        """Return the body's content type. Raises BadRequest when the body is compressed."""
        if self.request.headers.get("Content-Encoding", "identity") != "identity":
            raise BadRequest("Content-Encoding is not supported; send the body as it is")
        return self.request.headers.get("Content-Type", "")

    def value(self, name: str) -> Any:
        """Return a field as it was sent: text, or in a JSON body any JSON value; None if absent."""
        return self._fields.get(name)

    async def json_value(self, name: str, message: str) -> Any:
        """Return a field as a JSON value, also if it was sent as text; None if absent.

        Raises BadRequest with this message when the text is no JSON.
        """
        value = self.value(name)
        if isinstance(value, str) and value:
            return await self.service.in_file_thread(decode_json, value, message)
        return value

    def field(self, name: str) -> str | None:
        """Return a short text field, stripped; None if absent. Raises BadRequest for no text."""
        value = self.short_value(name)
        if value is None:
            return None
        if not isinstance(value, str) or not names.is_storable_text(_CONTROL.sub(" ", value)):
            raise BadRequest(f"The field {name} must be a text")
        return _CONTROL.sub(" ", value).strip()

    def flag(self, name: str) -> bool:
        """Return whether a field is true: the text ``true``, or in a JSON body the value."""
        value = self.short_value(name)
        return value is True or (isinstance(value, str) and value.strip().lower() == "true")

    def short_value(self, name: str) -> Any:
        """Return a field as it was sent. Raises BadRequest when it is a text that is too long."""
        value = self._fields.get(name)
        if isinstance(value, str) and len(value) > FIELD_LENGTH:
            raise BadRequest(f"The field {name} is longer than {FIELD_LENGTH} characters")
        return value

    async def run_read(
        self, action: Action[Concatenate[Caller, P], T], *args: Any, **kwargs: Any
    ) -> T:
        """Run an action for the caller that changes nothing, and return its result."""
        return await self.service.read(action, self.caller, *args, **kwargs)

    async def run_write(self, action: Action[Concatenate[Caller, P], T], *args: Any) -> T:
        """Run an action for the caller that changes something, and return its result."""
        return await self.service.write(action, self.caller, *args)  # type: ignore[call-arg]

    def reply(self, **fields: Any) -> None:
        """Reply with success and these fields."""
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps({"success": True, **fields}).encode())

    async def reply_large(self, body: bytes, content_type: str = "application/json") -> None:
        """Reply with a body that is encoded already, piece by piece as the client reads it.

        Call it within ``Service.reply_slots``, which bounds how many of one user are in memory.
        """
        self.set_header("Content-Type", content_type)
        if len(body) <= INLINE:
            self.finish(body)
            return
        self.set_header("Content-Length", str(len(body)))
        await self.send(body)

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        error = _error_of(kwargs)
        if isinstance(error, ExchangeError):
            status_code = error.status
        super().send_error(status_code, **kwargs)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = _error_of(kwargs)
        if (
            isinstance(error, Unauthenticated)
            and self.request.method == "GET"
            and self.wants_html
            and self.service.identity.login_by_redirect
        ):
            self.redirect(self.get_login_url())
        else:
            self.fail(status_code, self.explain(status_code, error))

    @property
    def wants_html(self) -> bool:
        """Return whether the reply is for a person with a browser rather than for a program."""
        return self.request.method == "GET" and self.accepts_html

    @property
    def accepts_html(self) -> bool:
        """Return whether the client lists HTML among the formats it accepts, as browsers do."""
        return "text/html" in self.request.headers.get("Accept", "")

    def explain(self, status: int, error: BaseException | None) -> str:
        """Return the message about an error, and set the headers that belong to it."""
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
        """Reply with failure."""
        content_type, body = self.format_error(status, message)
        self.set_status(status)
        self.set_header("Content-Type", content_type)
        self.finish(body)

    def format_error(self, status: int, message: str) -> tuple[str, bytes]:
        """Return the content type and the body of a reply with failure."""
        return "application/json", json.dumps({"success": False, "message": message}).encode()

    def log_exception(self, kind: Any, error: Any, trace: Any) -> None:
        """Log an error of the service under a number; keep the caller's for the access log."""
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
        """Return what the access log's line says about a failure besides its status."""
        if isinstance(error, HTTPError):
            return None
        if isinstance(error, Forbidden) and self.caller.name.startswith(SERVICE_NAMES):
            why = error.reason or error.message
            return f"{why}; the caller is a Hub service, whose name here is {self.caller.name}"
        return error.log_reason


def _error_of(kwargs: dict[str, Any]) -> BaseException | None:
    """Return the exception from the arguments of Tornado's ``send_error``."""
    error: BaseException | None = (kwargs.get("exc_info") or (None, None))[1]
    return error
