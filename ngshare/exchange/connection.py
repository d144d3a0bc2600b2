"""Send requests to the service: retries, timeouts, and errors that a student understands."""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import NameResolutionError, NewConnectionError

from ngshare.exchange.address import Address
from ngshare.exchange.service_error import ServiceError as ServiceError

CONNECT_SECONDS = 10.0
"""The timeout of a connection."""

READ_SECONDS = 120.0
"""The timeout of each piece of a reply."""

RETRY_SECONDS = 120.0
"""For how long requests are repeated that failed for a passing reason."""

MAX_REDIRECTS = 3

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
        with self.request(method, *path, **options) as response:
            value = _json_object(response)
        if value is None or not value.get("success"):
            raise self._explain(response)
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
    ) -> requests.Response:
        """Send a request and return its reply, whose body is not read yet. Close it.

        path: the names below the service's address, not quoted.
        params, form: fields of the query string, and of a form in the body.
        repeatable: True if the request may be sent again although it may have succeeded; by
            default, GET and HEAD are.
        accept: statuses that are no failure.

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
        url = "/".join([self.address.url, *(quote(name, safe="") for name in path)])
        deadline = time.monotonic() + self.retry_seconds
        delay = 0.5
        while True:
            try:
                return self._send(method, url, query, form, body, headers, repeatable, accept)
            except _Passing as failure:  # noqa: PERF203  # the loop is for it
                pause = failure.after or delay * random.uniform(0.5, 1.5)
                if time.monotonic() + pause > deadline:
                    raise failure.error from failure.__cause__
                self.log.info("%s; trying again in %.0f s", failure.error.message, pause)
                time.sleep(pause)
                delay = min(delay * 2, 20.0)

    def _send(
        self,
        method: str,
        url: str,
        query: Mapping[str, str],
        form: Mapping[str, str] | None,
        body: Body,
        headers: Mapping[str, str] | None,
        repeatable: bool,
        accept: tuple[int, ...],
    ) -> requests.Response:
        """Send a request once, and again to where a redirect leads. Raises _Passing, ServiceError.

        ``requests`` would turn a redirected POST into a GET, so redirects are followed here.
        """
        for _ in range(MAX_REDIRECTS + 1):
            self.log.debug("%s %s", method, url)
            try:
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
            except requests.RequestException as error:
                self.log.debug("%s %s failed: %r", method, url, error)
                failure = ServiceError(_explain_connection(self.address.url, error))
                if (repeatable and _may_pass(error)) or _was_not_sent(error):
                    raise _Passing(failure) from error
                raise failure from error
            if response.status_code in accept:
                return response
            target = self._redirect_target(response)
            if target is None:
                break
            response.close()
            url, query = target, {}  # the target has the query string
        self._raise_failure(response, repeatable)
        raise AssertionError("unreachable")

    def _redirect_target(self, response: requests.Response) -> str | None:
        """Return where a redirect leads, if it is the service at the same host; else None."""
        location = response.headers.get("Location")
        if not location or response.status_code not in (301, 302, 303, 307, 308):
            return None
        target = urljoin(response.url, location)
        same_host = urlsplit(target).hostname == urlsplit(response.url).hostname
        is_login = "/hub/" in urlsplit(target).path
        return target if same_host and not is_login else None

    def _raise_failure(self, response: requests.Response, repeatable: bool) -> None:
        with response:
            error = self._explain(response)
        after = _retry_after(response)
        # The service stores nothing before it answers 429, or 503 with Retry-After.
        from_service = _json_object(response) is not None
        refused = response.status_code in (429, 503) and after is not None and from_service
        passing = response.status_code in (429, 502, 503, 504)
        if refused or (repeatable and passing):
            raise _Passing(error, after)
        raise error

    def _explain(self, response: requests.Response) -> ServiceError:
        """Return the error about a reply with failure; the whole reply goes to the debug log."""
        status = response.status_code
        value = _json_object(response)
        self.log.debug(
            "%s %s: %d %s", response.request.method, response.url, status, response.text[:2000]
        )
        message = value.get("message") if value else None
        if isinstance(message, str) and message:
            missing = value.get("missing") if value else None
            unknown = status in (404, 405) and message in ("Not Found", "Method Not Allowed")
            if unknown:
                message = f"There is no exchange at {self.address.url}; is the address right?"
            if status == 401:
                message = f"{message}. {_LOGIN_AGAIN}" if _LOGIN_AGAIN not in message else message
            return ServiceError(message, status, missing=missing, unknown_path=unknown)
        return ServiceError(
            _explain_foreign_reply(self.address.url, response),
            status,
            unknown_path=status in (404, 405),
        )


_LOGIN_AGAIN = "Restart your server on the Hub (File, Hub Control Panel), and try again"


def _json_object(response: requests.Response) -> dict[str, Any] | None:
    """Return the JSON object of a reply; None if it has none."""
    if "json" not in response.headers.get("Content-Type", ""):
        return None
    try:
        value = json.loads(response.content)
    except (ValueError, requests.RequestException):
        return None
    return value if isinstance(value, dict) else None


def _explain_foreign_reply(url: str, response: requests.Response) -> str:
    """Return the sentence about a reply that is not the service's: of a proxy, or of the Hub."""
    status = response.status_code
    if status == 413:
        return (
            "A proxy in front of the exchange refuses requests of this size; ask your "
            "administrator to raise its limit (nginx: client_max_body_size)"
        )
    if 300 <= status < 400:
        location = response.headers.get("Location", "")
        if "/hub/" in location:
            return f"The Hub asks for a login instead of passing the request on. {_LOGIN_AGAIN}"
        return f"The address {url} leads elsewhere, to {location}: set NGSHARE_URL to that address"
    if status == 401:
        return f"The Hub does not accept your server's token. {_LOGIN_AGAIN}"
    if status == 403:
        return (
            "The Hub does not let your server use the exchange: ask your administrator to grant "
            "the scope access:services!service=ngshare (configure_hub does it)"
        )
    if status == 404:
        return f"There is no exchange at {url}; ask your administrator for its address"
    if status in (502, 503, 504):
        return "The exchange is not running, or too busy; try again in some minutes"
    return (
        f"Something that is not the exchange answered at {url} (status {status}); "
        "run ngshare doctor to find out more"
    )


def _explain_connection(url: str, error: requests.RequestException) -> str:
    """Return the sentence about a request without a reply."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    if isinstance(error, requests.exceptions.SSLError):
        return (
            f"The certificate of {url} is not trusted: set REQUESTS_CA_BUNDLE to a file with your "
            "authority's certificate, or ask your administrator to"
        )
    if isinstance(error, requests.Timeout):
        return f"The exchange at {url} does not answer in time; try again in some minutes"
    if isinstance(reason, NameResolutionError):
        return f"The host of the exchange's address {url} is unknown; is the address right?"
    if isinstance(reason, NewConnectionError):
        return f"Nothing answers at {url}: the exchange is not running, or has another address"
    return f"The connection to the exchange at {url} broke; try again"


def _may_pass(error: requests.RequestException) -> bool:
    return isinstance(error, (requests.ConnectionError, requests.Timeout)) and not isinstance(
        error, requests.exceptions.SSLError
    )


def _was_not_sent(error: requests.RequestException) -> bool:
    """Return whether no connection was made, so that the service has not seen the request."""
    if isinstance(error, requests.ConnectTimeout):
        return True
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(reason, NewConnectionError) and not isinstance(reason, NameResolutionError)


def _retry_after(response: requests.Response) -> float | None:
    """Return the seconds of the header Retry-After; None without one. A date counts as none."""
    text = response.headers.get("Retry-After", "")
    return min(float(text), 60.0) if text.isascii() and text.isdigit() else None
