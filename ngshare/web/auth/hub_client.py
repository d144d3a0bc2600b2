"""Look up users at the Hub: JupyterHub's client, made asynchronous, cached and bounded."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeGuard, TypeVar

from jupyterhub.services.auth import HubOAuth
from tornado.web import HTTPError, RequestHandler
from traitlets import Float, Integer

from ngshare.errors import ExchangeError
from ngshare.web.auth.login_state import StatelessLogin
from ngshare.web.auth.lookup_limits import LookupLimits
from ngshare.web.monitoring.metrics import Metrics

T = TypeVar("T")

SERVICE_NAMES = "service:"
"""The prefix of the names of Hub services here, so that no user can be taken for one."""

METRICS_SCOPE = "read:metrics"
"""The scope of JupyterHub's own metrics, which opens ours too."""

REFRESH_AFTER = (0.7, 0.9)
"""After which part of its maximum age a cached user is refreshed in the background, at random.

At random, so that the users of a class who came together are not all looked up together again."""

REFRESH_RETRY = 0.05
"""After which further part of that age the refresh is repeated, when the Hub did not answer."""

OVERRIDDEN = (
    "_decode_state",
    "_get_token_url",
    "_token_for_code",
    "generate_state",
    "get_session_id",
    "get_user",
    "set_state_cookie",
    "user_for_token",
)
"""The methods of JupyterHub's client that ours replaces; some are private.

If a release of JupyterHub renamed one, ours would never be called, without any error: tokens in
URLs would be accepted, and lookups neither cached nor bounded."""

_client_address: ContextVar[str] = ContextVar("client_address", default="")
"""The address of the client whose request is being identified; JupyterHub's client, which calls
us in between, does not pass it on."""


class HubError(Exception):
    """The Hub gave no answer or an invalid one. The message describes it."""


@dataclass(slots=True)
class CachedUser:
    """A user model that the Hub gave for a token in a session, with times of the monotonic clock.

    It is refreshed in the background from ``refresh_at`` on, and not used after ``expires_at``.
    """

    model: dict[str, Any]
    session_id: str
    refresh_at: float
    expires_at: float


def missing_overridden(client: type = HubOAuth) -> list[str]:
    """Return the methods that we override and JupyterHub's client no longer has."""
    return [name for name in OVERRIDDEN if not hasattr(client, name)]


class SharedHubAuth(StatelessLogin):
    """JupyterHub's client with a bounded cache, shared and limited lookups, and no blocking."""

    cache_size = Integer(50_000, help="How many of the Hub's answers are kept").tag(config=True)
    negative_max_age = Integer(10, help="For how many seconds the Hub's 'nobody' is believed").tag(
        config=True
    )
    patience = Float(
        4.0, help="For how many seconds a request waits for the Hub before it gets 503"
    ).tag(config=True)
    question_max_age = Float(
        30.0, help="After how many seconds a question to the Hub is given up altogether"
    ).tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # By the token's hash. One entry per token, so that made-up sessions evict no other user.
        self._users: OrderedDict[str, CachedUser] = OrderedDict()
        # Until when a token counts as invalid. Separate: guessed tokens evict no user.
        self._rejected: OrderedDict[str, float] = OrderedDict()
        self._lookups: dict[str, asyncio.Task[dict[str, Any] | None]] = {}
        self._limits = LookupLimits()
        self.metrics: Metrics | None = None
        self.check_rate: Callable[[str], None] | None = None

    async def with_patience(self, lookups: Awaitable[T]) -> T:
        """Await all lookups of one request. Raises asyncio.TimeoutError after ``patience``."""
        return await asyncio.wait_for(lookups, self.patience)

    def get_user(self, handler: RequestHandler, *, sync: bool = True) -> Any:
        """Return the Hub's model of the caller, or None; as an awaitable with ``sync=False``.

        A browser's login counts for a change only with the XSRF token, whatever mode of ``fetch``
        the browser names. JupyterHub 5.0 would skip that check for ``no-cors``, with which a page
        of another site can send a POST.
        """
        request = handler.request
        if request.method not in ("GET", "HEAD", "OPTIONS"):
            mode = request.headers.get("Sec-Fetch-Mode")
            if mode not in (None, "navigate"):
                request.headers["Sec-Fetch-Mode"] = "cors"
        _client_address.set(request.remote_ip or "")
        return super().get_user(handler, sync=sync)

    def get_session_id(self, handler: RequestHandler) -> str:
        """Return the session of a browser that is logged in by a cookie.

        A token in a header belongs to no session: a session cookie beside it is whatever the
        client made up.
        """
        if self.get_token(handler, in_cookie=False):
            return ""
        session: str = super().get_session_id(handler)
        return session

    def user_for_token(
        self, token: str, use_cache: bool = True, session_id: str = "", *, sync: bool = True
    ) -> Any:
        """Return the Hub's model of a token's owner, or None; an awaitable with ``sync=False``."""
        if sync:  # only JupyterHub's own blocking helpers do this, and we call none
            raise RuntimeError("ngshare never waits for the Hub on the event loop")
        return self._cached_user_for_token(token, session_id)

    async def _cached_user_for_token(self, token: str, session_id: str) -> dict[str, Any] | None:
        key = hashlib.sha256(token.encode("utf8", "replace")).hexdigest()
        now = time.monotonic()
        cached = self._users.get(key)
        # One of another session is not used, so that a log-out at the Hub takes effect at once.
        if cached is not None and cached.session_id == session_id and now < cached.expires_at:
            self._count(saved=True)
            if now >= cached.refresh_at and key not in self._lookups:
                self._refresh(key, token, cached)
            return cached.model
        if now < self._rejected.get(key, 0):
            self._count(saved=True)
            return None
        lookup = self._lookups.get(key)
        if lookup is None:
            if cached is not None and self.check_rate is not None:
                self.check_rate(local_name(cached.model))
            lookup = self._start_lookup(key, token, session_id)
        else:
            self._count(saved=True)
        # Shielded: a client that disconnects must not cancel the lookup for the others.
        return await asyncio.shield(lookup)

    def _refresh(self, key: str, token: str, cached: CachedUser) -> None:
        """Look up a user in the background before the cached model expires.

        Otherwise the models of a class that logged in together would expire together, and all its
        requests would wait for the Hub. If the Hub does not answer, the cached model is used until
        it expires.
        """
        cached.refresh_at = time.monotonic() + REFRESH_RETRY * self.cache_max_age
        if self.metrics is not None:
            self.metrics.hub_refreshes.inc()
        self._start_lookup(key, token, cached.session_id)

    def _start_lookup(
        self, key: str, token: str, session_id: str
    ) -> asyncio.Task[dict[str, Any] | None]:
        self._count(saved=False)
        lookup = asyncio.ensure_future(self._look_up(key, token, session_id))
        lookup.add_done_callback(_retrieve_exception)
        self._lookups[key] = lookup
        return lookup

    def _count(self, *, saved: bool) -> None:
        if self.metrics is not None:
            counter = self.metrics.hub_questions_saved if saved else self.metrics.hub_questions
            counter.inc()

    async def _look_up(self, key: str, token: str, session_id: str) -> dict[str, Any] | None:
        """Ask the Hub for a token's owner, and cache the answer. Raises HubError, ExchangeError."""
        address = _client_address.get()
        try:
            model: dict[str, Any] | None = await asyncio.wait_for(
                self._ask_hub(token, address, known=key in self._users), self.question_max_age
            )
        except ExchangeError:
            raise
        except Exception as error:  # of any kind: JupyterHub passes on those of its HTTP client
            if self.metrics is not None:
                self.metrics.hub_errors.inc()
            raise HubError(type(error).__name__) from error
        finally:
            self._lookups.pop(key, None)
        now = time.monotonic()
        if model is None:
            self._limits.count_rejected(address)
            self._users.pop(key, None)
            _store(self._rejected, key, now + self.negative_max_age, self.cache_size)
            return None
        model = self._reduce(model)
        age = self.cache_max_age
        refresh_at = now + age * random.uniform(*REFRESH_AFTER)
        user = CachedUser(model, session_id, refresh_at, now + age)
        _store(self._users, key, user, self.cache_size)
        self._rejected.pop(key, None)
        return model

    async def _ask_hub(self, token: str, address: str, *, known: bool) -> dict[str, Any] | None:
        async with self._limits.slot(address, known=known):
            model: dict[str, Any] | None = await super().user_for_token(
                token, use_cache=False, sync=False
            )
            return model

    def _reduce(self, model: object) -> dict[str, Any]:
        """Return the fields of a model that we need: whole ones of 50,000 users fill the memory."""
        if not _is_model(model):
            raise HubError("an answer that is not a user")
        try:
            scopes = self.check_scopes(self.access_scopes, model)
        except ValueError as error:  # a scope with an empty filter
            raise HubError("scopes that are none") from error
        scopes = scopes | {METRICS_SCOPE}.intersection(model["scopes"])
        return {"kind": model["kind"], "name": model["name"], "scopes": sorted(scopes)}

    def _get_token_url(self, handler: RequestHandler) -> str:
        """Return no token: one in a URL would be logged by every proxy on the way."""
        return ""

    async def _token_for_code(self, *args: Any, **kwargs: Any) -> str:
        """Exchange the code of a login for a token.

        The arguments are passed on as they come, because they differ between releases: JupyterHub
        5 sends the code, 6 also the proof that this service asked for it. The call itself is
        outside of the ``try``, so that a mismatch of arguments is not reported as the Hub's error.
        """
        exchange = super()._token_for_code(*args, **kwargs)
        address = _client_address.get()
        try:
            async with self._limits.slot(address, known=False):
                token = await exchange
        except HTTPError:
            self._limits.count_rejected(address)  # or the Hub is away: the client cannot tell
            raise
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise HubError("an answer that is not a token") from error
        finally:
            exchange.close()  # if the limit was exceeded, it was never awaited
        if not isinstance(token, str):
            raise HubError("an answer that is not a token")
        return token


def local_name(model: dict[str, Any]) -> str:
    """Return the name by which ngshare knows a user or service of the Hub."""
    name: str = model["name"]
    return SERVICE_NAMES + name if model["kind"] == "service" else name


def _is_model(answer: object) -> TypeGuard[dict[str, Any]]:
    """Return whether the Hub's answer has the fields that we need of a user or service."""
    return (
        isinstance(answer, dict)
        and answer.get("kind") in ("user", "service")
        and isinstance(answer.get("name"), str)
        and isinstance(answer.get("scopes"), list)
        and all(isinstance(scope, str) for scope in answer["scopes"])
    )


def _store(cache: OrderedDict[str, T], key: str, value: T, size: int) -> None:
    """Put a value into a cache of bounded size, evicting the oldest."""
    cache[key] = value
    cache.move_to_end(key)
    while len(cache) > size:
        cache.popitem(last=False)


def _retrieve_exception(lookup: asyncio.Task[Any]) -> None:
    """Retrieve the exception of a lookup that no request awaits any more; asyncio would log it."""
    if not lookup.cancelled():
        lookup.exception()
