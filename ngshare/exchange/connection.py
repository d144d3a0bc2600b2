"""Send requests to the service: retries, timeouts, and errors that a student understands."""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter

from ngshare.exchange.address import Address
from ngshare.exchange.failures import (
    LOGIN_AGAIN,
    NOT_ON_A_HUB,
    explain_foreign_reply,
    explain_no_reply,
    was_not_sent,
)
from ngshare.exchange.service_error import ServiceError as ServiceError

CONNECT_SECONDS = 10.0
"""The timeout of a connection."""

READ_SECONDS = 120.0
"""The timeout of each piece of a reply."""

RETRY_SECONDS = 120.0
"""For how long requests are repeated that failed for a passing reason."""

MAX_REDIRECTS = 3

MAX_FAILURE = 2**24
"""The most bytes of a reply with a failure that are read."""

Body = bytes | Callable[[], Any] | None
"""The body of a request: its bytes, or a function that returns a new iterator over them."""


class _Passing(Exception):
    """A request failed, and repeating it may succeed after ``after`` seconds (None: unknown)."""

    def __init__(self, error: ServiceError, after: float | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.after = after


class Connection:
    """A session with the service.

    retry_seconds: for how long requests are repeated that failed for a passing reason.
    """

    def __init__(
        self, address: Address, log: logging.Logger, *, retry_seconds: float = RETRY_SECONDS
    ) -> None:
        self.address = address
        self.log = log
        self.retry_seconds = retry_seconds
        self._session = requests.Session()
        self._session.mount("http://", HTTPAdapter(pool_maxsize=4))
        self._session.mount("https://", HTTPAdapter(pool_maxsize=4))
        # A .netrc would replace the token; proxies and certificates of the environment are kept.
        self._session.auth = self._authorize

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self.address.token:
            request.headers["Authorization"] = f"token {self.address.token}"
        return request

    def request_json(self, method: str, *path: str, **options: Any) -> dict[str, Any]:
        """Send a request and return the reply's JSON object. Options as in :meth:`request`."""
        with self.request(method, *path, stream=False, **options) as response:
            value = _json_object(response, response.content)
            if value is None or not value.get("success"):
                raise self._explain(response, response.content)
        return value

    def request(
        self,
        method: str,
        *path: str,
        params: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        body: Body = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool | None = None,
        accept: tuple[int, ...] = (200,),
        stream: bool = True,
    ) -> requests.Response:
        """Send a request and return its reply. Close it.

        path: the names below the service's address, not quoted.
        params, form: fields of the query string, and of a form in the body.
        repeatable: True if the request may be sent again although it may have succeeded; by
            default, GET and HEAD are.
        accept: statuses that are no failure.
        stream: False to read the whole reply, as part of the request that is repeated.

        Raises ServiceError, after repeated attempts if the failure may pass.
        """
        if repeatable is None:
            repeatable = method in ("GET", "HEAD")
        query = dict(params or {})
        if self.address.user is not None and not self.address.token:
            if form is None:
                query["user"] = self.address.user
            else:
                form = {**form, "user": self.address.user}
        url = "/".join([self.address.url, *map(_quote, path)])

        def send(url: str, query: Mapping[str, str]) -> requests.Response:
            self.log.debug("%s %s", method, url)
            response = self._session.request(
                method,
                url,
                params=query,
                data=form if form is not None else body() if callable(body) else body,
                headers={"Accept": "application/json", **(headers or {})},
                timeout=(CONNECT_SECONDS, READ_SECONDS),
                allow_redirects=False,
                stream=True,
            )
            if not stream and response.status_code in accept:
                with response:
                    _ = response.content
            return response

        deadline = time.monotonic() + self.retry_seconds
        delay = 0.5
        while True:
            try:
                return self._send(send, url, query, repeatable, accept)
            except _Passing as failure:  # noqa: PERF203  # the loop is for it
                pause = delay * random.uniform(0.5, 1.5) if failure.after is None else failure.after
                if time.monotonic() + pause > deadline:
                    raise failure.error from failure.__cause__
                self.log.info("%s; trying again in %.0f s", failure.error.message, pause)
                time.sleep(pause)
                delay = min(delay * 2, 20.0)

    def _send(
        self,
        send: Callable[[str, Mapping[str, str]], requests.Response],
        url: str,
        query: Mapping[str, str],
        repeatable: bool,
        accept: tuple[int, ...],
    ) -> requests.Response:
        """Send a request once, and again to where a redirect leads. Raises _Passing, ServiceError.

        ``requests`` would turn a redirected POST into a GET, so redirects are followed here.
        """
        for _ in range(MAX_REDIRECTS + 1):
            try:
                response = send(url, query)
                if response.status_code in accept:
                    return response
                with response:
                    content = _read_failure(response)
            except requests.RequestException as error:
                raise self._no_reply(url, error, repeatable) from error
            target = self._redirect_target(response)
            if target is None:
                break
            url, query = target, {}  # the target has the query string
        raise self._failure(response, content, repeatable)

    def _redirect_target(self, response: requests.Response) -> str | None:
        """Return where a redirect leads, if it is the service at the same host; else None."""
        location = response.headers.get("Location")
        if not location or response.status_code not in (301, 302, 303, 307, 308):
            return None
        source, target = urlsplit(response.url), urlsplit(urljoin(response.url, location))
        # The token is for this host alone, and is not sent unencrypted where it was encrypted.
        is_safe = target.hostname == source.hostname and target.scheme in ("https", source.scheme)
        is_login = "/hub/" in target.path
        return target.geturl() if is_safe and not is_login else None

    def _no_reply(
        self, url: str, error: requests.RequestException, repeatable: bool
    ) -> _Passing | ServiceError:
        """Return the error about a request whose reply did not arrive."""
        self.log.debug("%s failed: %r", url, error)
        failure = ServiceError(explain_no_reply(self.address.url, error))
        passing = (repeatable and _may_pass(error)) or was_not_sent(error)
        return _Passing(failure) if passing else failure

    def _failure(
        self, response: requests.Response, content: bytes, repeatable: bool
    ) -> _Passing | ServiceError:
        """Return the error about a reply with a failure."""
        error = self._explain(response, content)
        after = _retry_after(response)
        # The service stores nothing before it answers 429, or 503 with Retry-After.
        from_service = _json_object(response, content) is not None
        refused = response.status_code in (429, 503) and after is not None and from_service
        passing = response.status_code in (429, 502, 503, 504)
        return _Passing(error, after) if refused or (repeatable and passing) else error

    def _explain(self, response: requests.Response, content: bytes) -> ServiceError:
        """Return the error about a reply with failure; the reply goes to the debug log."""
        status = response.status_code
        value = _json_object(response, content)
        self.log.debug(
            "%s %s: %d %r", response.request.method, response.url, status, content[:2000]
        )
        message = value.get("message") if value else None
        if value is None or not isinstance(message, str) or not message:
            location = response.headers.get("Location", "")
            return ServiceError(
                explain_foreign_reply(self.address.url, status, location),
                status,
                unknown_path=status in (404, 405),
            )
        unknown = status in (404, 405) and message in ("Not Found", "Method Not Allowed")
        if unknown:
            message = f"There is no exchange at {self.address.url}; is the address right?"
        if status == 401:
            message = f"{message}. {LOGIN_AGAIN}" if self.address.token else NOT_ON_A_HUB
        return ServiceError(message, status, missing=value.get("missing"), unknown_path=unknown)


def _quote(name: str) -> str:
    """Return a name as a component of a URL. Raises ServiceError for one that URLs cannot have."""
    if name in ("", ".", ".."):
        raise ServiceError(f"'{name}' cannot be the name of a course, an assignment or a user")
    return quote(name, safe="")


def _json_object(response: requests.Response, content: bytes) -> dict[str, Any] | None:
    """Return the JSON object of a reply; None if it has none."""
    if "json" not in response.headers.get("Content-Type", ""):
        return None
    try:
        value = json.loads(content)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _read_failure(response: requests.Response) -> bytes:
    """Return the content of a reply with a failure, as far as :data:`MAX_FAILURE`."""
    content = bytearray()
    for piece in response.iter_content(2**16):
        content += piece
        if len(content) > MAX_FAILURE:
            break
    return bytes(content)


def _may_pass(error: requests.RequestException) -> bool:
    """Return whether a request may succeed if it is repeated."""
    passing = (
        requests.ConnectionError,
        requests.Timeout,
        requests.exceptions.ChunkedEncodingError,
    )
    return isinstance(error, passing) and not isinstance(error, requests.exceptions.SSLError)


def _retry_after(response: requests.Response) -> float | None:
    """Return the seconds that the header Retry-After asks to wait; None without one."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    with suppress(ValueError, TypeError):
        date = parsedate_to_datetime(text)
        if date.tzinfo is None:
            date = date.replace(tzinfo=timezone.utc)
        return max(0.0, (date - datetime.now(timezone.utc)).total_seconds())
    return None
