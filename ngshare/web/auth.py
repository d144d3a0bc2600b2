"""Who sent a request.

Two ways to know, with the same ``async identify(handler)``: the Hub says it, or,
stand-alone, the request itself. Neither ever blocks the event loop.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard, TypeVar

from cryptography.fernet import Fernet, InvalidToken
from jupyterhub.services.auth import HubOAuth
from tornado.httputil import HTTPServerRequest
from tornado.web import RequestHandler
from traitlets import Float, Integer

from ngshare.errors import Forbidden, Unauthenticated, Unavailable
from ngshare.metrics import Metrics
from ngshare.web.own_names import OwnNames

log = logging.getLogger("ngshare")

T = TypeVar("T")

GREETING_SECONDS = (1.0, 5.0)
"""When a service that has started asks the Hub for itself, and how long after that once more."""

SERVICE_NAMES = "service:"
"""What the names of Hub services begin with here, so that no user can be taken for one."""

METRICS_SCOPE = "read:metrics"
"""The scope of JupyterHub's own metrics, which opens ours too."""


LOGINS = 5
"""How many logins one browser may have begun and not finished."""

NEXT_LENGTH = 1000
"""The longest address that a login leads back to; from a longer one, to the start page."""


REFRESH = (0.7, 0.9)
"""At which part of the age to which an answer is believed it is asked again in the background.

Somewhere between, so that the answers of a class are not all asked again in the same second."""

REFRESH_AGAIN = 0.05
"""After which part of that age once more, when the Hub did not answer."""


class HubTrouble(Exception):
    """The Hub gave no answer, or none that makes sense. The message says what came instead."""


class Identity(Protocol):
    """Says who sent a request."""

    reads_body: bool
    """Whether it can answer only when the request's fields are known."""

    login_by_redirect: bool
    """Whether a browser that is nobody yet can be sent somewhere to log in."""

    async def identify(self, handler: RequestHandler) -> str:
        """The caller's name.

        Raises Unauthenticated when there is none, Forbidden when the caller may
        not use this service at all, Unavailable when it cannot be known now.
        """
        ...

    async def may_read_metrics(self, handler: RequestHandler) -> bool:
        """Whether the caller's token is one for metrics, whoever it belongs to.

        Raises Unauthenticated and Unavailable as ``identify`` does.
        """
        ...

    def count_with(self, metrics: Metrics) -> None:
        """Count in these metrics what it takes to know who sends requests."""
        ...

    def check_rate_with(self, check: Callable[[str], None]) -> None:
        """Call this with a user's name before it costs anything to know them again.

        It raises TooMany when the user has sent too many requests.
        """
        ...

    async def greet(self) -> None:
        """After the start, log it when nobody will get in: once, and without holding up anybody."""
        ...


@dataclass(slots=True)
class Answer:
    """What the Hub said of a token, in which session, and until when it is believed.

    From ``refresh`` on, whoever uses it has it asked again in the background.
    """

    model: dict[str, Any]
    session_id: str
    refresh: float
    until: float


class SharedHubAuth(HubOAuth):  # type: ignore[misc]  # jupyterhub has no types
    """JupyterHub's own client, with a cache that is bounded and questions asked once.

    The state of a login under way travels in the login itself, encrypted, so that
    any worker process can finish what another began.
    """

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
        # By token, one for each: whoever makes up sessions pushes nobody out.
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        # Apart from the others, so that whoever tries many tokens pushes nobody out.
        self._nobodies: OrderedDict[str, float] = OrderedDict()
        self._questions: dict[str, asyncio.Task[dict[str, Any] | None]] = {}
        self.metrics: Metrics | None = None
        self.check_rate: Callable[[str], None] | None = None

    def get_session_id(self, handler: RequestHandler) -> str:
        """The session of a browser that is logged in by a cookie.

        A token in the header is no login that could end, so it has none: the cookie of a
        session beside it says nothing but what the client likes.
        """
        if self.get_token(handler, in_cookie=False):
            return ""
        session: str = super().get_session_id(handler)
        return session

    def user_for_token(
        self, token: str, use_cache: bool = True, session_id: str = "", *, sync: bool = True
    ) -> Any:
        """The Hub's user model of a token, or None; as an awaitable with ``sync=False``."""
        if sync:  # only JupyterHub's own blocking helpers come here, and we call none
            raise RuntimeError("ngshare never asks the Hub in a way that blocks")
        return self._user_for_token(token, session_id)

    async def _user_for_token(self, token: str, session_id: str) -> dict[str, Any] | None:
        key = hashlib.sha256(token.encode("utf8", "replace")).hexdigest()
        now = time.monotonic()
        answer = self._answers.get(key)
        # One of another session is not believed, so that a log-out at the Hub is seen at once.
        if answer is not None and answer.session_id == session_id and now < answer.until:
            self._count(saved=True)
            if now >= answer.refresh and key not in self._questions:
                self._refresh(key, token, answer)
            return answer.model
        if now < self._nobodies.get(key, 0):
            self._count(saved=True)
            return None
        question = self._questions.get(key)
        if question is None:
            if answer is not None and self.check_rate is not None:
                self.check_rate(_name(answer.model))
            question = self._question(key, token, session_id)
        else:
            self._count(saved=True)
        # Shielded: a client that stops waiting must not take the answer from the others.
        return await asyncio.shield(question)

    async def in_time(self, asking: Awaitable[T]) -> T:
        """What comes of all that one request asks the Hub, however many questions that takes.

        Raises asyncio.TimeoutError when it took longer than a request waits for the Hub.
        """
        return await asyncio.wait_for(asking, self.patience)

    def _refresh(self, key: str, token: str, answer: Answer) -> None:
        """Ask in the background about an answer that will soon be too old, so that nobody waits.

        Those of a class that came together would all wait for the Hub together. If the Hub
        does not answer, the answer is believed as long as it would have been.
        """
        answer.refresh = time.monotonic() + REFRESH_AGAIN * self.cache_max_age
        if self.metrics is not None:
            self.metrics.hub_refreshes.inc()
        self._question(key, token, answer.session_id)

    def _question(
        self, key: str, token: str, session_id: str
    ) -> asyncio.Task[dict[str, Any] | None]:
        self._count(saved=False)
        question = asyncio.ensure_future(self._ask(key, token, session_id))
        question.add_done_callback(_retrieve)
        self._questions[key] = question
        return question

    def _count(self, *, saved: bool) -> None:
        if self.metrics is not None:
            counter = self.metrics.hub_questions_saved if saved else self.metrics.hub_questions
            counter.inc()

    async def _ask(self, key: str, token: str, session_id: str) -> dict[str, Any] | None:
        try:
            model: dict[str, Any] | None = await asyncio.wait_for(
                super().user_for_token(token, use_cache=False, sync=False), self.question_max_age
            )
        except Exception as error:  # JupyterHub's client lets through whatever its own raises
            if self.metrics is not None:
                self.metrics.hub_errors.inc()
            raise HubTrouble(type(error).__name__) from error
        finally:
            self._questions.pop(key, None)
        now = time.monotonic()
        if model is None:
            self._answers.pop(key, None)
            _keep(self._nobodies, key, now + self.negative_max_age, self.cache_size)
            return None
        model = self._essence(model)
        age = self.cache_max_age
        refresh = now + age * random.uniform(*REFRESH)
        _keep(self._answers, key, Answer(model, session_id, refresh, now + age), self.cache_size)
        self._nobodies.pop(key, None)
        return model

    def _essence(self, model: object) -> dict[str, Any]:
        """Of the Hub's answer what we need: the groups and scopes of 50,000 users are too much."""
        if not _is_model(model):
            raise HubTrouble("an answer that is not a user")
        try:
            scopes = self.check_scopes(self.access_scopes, model)
        except ValueError as error:  # a scope with an empty filter
            raise HubTrouble("scopes that are none") from error
        scopes = scopes | {METRICS_SCOPE}.intersection(model["scopes"])
        return {"kind": model["kind"], "name": model["name"], "scopes": sorted(scopes)}

    def _get_token_url(self, handler: RequestHandler) -> str:
        """No token: one in a URL would be in the logs of every proxy on the way."""
        return ""

    async def _token_for_code(self, *args: Any, **kwargs: Any) -> str:
        # Passed on as it comes, for what comes is JupyterHub's own affair: 5 sends the code, 6
        # what proves that we asked for it too. Called outside of the "try", so that a call that
        # does not fit is an error of ours, and not one that the Hub seems to have made.
        asking = super()._token_for_code(*args, **kwargs)
        try:
            token = await asking
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise HubTrouble("an answer that is not a token") from error
        if not isinstance(token, str):
            raise HubTrouble("an answer that is not a token")
        return token

    def set_state_cookie(
        self, handler: RequestHandler, next_url: str | None = None, **more: Any
    ) -> str:
        """The state of a login that begins, which is kept in a cookie of this browser too.

        Those of logins that were never finished are forgotten: some thirty are more than the
        Hub's proxy takes in a request. So is a long address to come back to, for no browser
        keeps a cookie that holds it.
        """
        begun = [name for name in handler.cookies if name.startswith(self.state_cookie_name)]
        if len(begun) >= LOGINS:
            self.clear_oauth_state_cookies(handler)
        if next_url is not None and len(next_url) > NEXT_LENGTH:
            next_url = None
        state: str = super().set_state_cookie(handler, next_url, **more)
        return state

    def generate_state(self, next_url: str | None = None, **extra_state: Any) -> str:
        """The state of a login, sealed so that only this service can read it."""
        state = json.dumps({"next_url": next_url, **extra_state})
        return self._seal.encrypt(state.encode()).decode()

    def _decode_state(self, state_id: str, /) -> dict[str, Any]:
        try:
            opened = self._seal.decrypt(state_id.encode(), ttl=self.oauth_state_max_age)
        except (InvalidToken, UnicodeEncodeError):
            return {}
        state: dict[str, Any] = json.loads(opened)
        return state

    @property
    def _seal(self) -> Fernet:
        return Fernet(base64.urlsafe_b64encode(derive_secret(self.api_token, "oauth state")))


def _is_model(answer: object) -> TypeGuard[dict[str, Any]]:
    """Whether the Hub's answer says what we need to know of a user or service."""
    return (
        isinstance(answer, dict)
        and answer.get("kind") in ("user", "service")
        and isinstance(answer.get("name"), str)
        and isinstance(answer.get("scopes"), list)
        and all(isinstance(scope, str) for scope in answer["scopes"])
    )


def _name(model: dict[str, Any]) -> str:
    """What a user or service of the Hub is called here."""
    name: str = model["name"]
    return SERVICE_NAMES + name if model["kind"] == "service" else name


def _keep(cache: OrderedDict[str, T], key: str, value: T, size: int) -> None:
    """Put a value into a cache that holds so many, in place of the oldest."""
    cache[key] = value
    cache.move_to_end(key)
    while len(cache) > size:
        cache.popitem(last=False)


def _retrieve(question: asyncio.Task[Any]) -> None:
    """Take a failure that nobody waits for any more, so that asyncio does not complain of it."""
    if not question.cancelled():
        question.exception()


def derive_secret(api_token: str, purpose: str) -> bytes:
    """A secret (32 bytes) for one purpose, the same in every process of this service."""
    return hmac.digest(api_token.encode(), f"ngshare {purpose}".encode(), "sha256")


class HubIdentity:
    """The Hub says who it is, and whether they may use this service."""

    reads_body = False
    login_by_redirect = True

    def __init__(self, hub_auth: SharedHubAuth, service_name: str) -> None:
        self.hub_auth = hub_auth
        self.service_name = service_name
        self.scope = f"access:services!service={service_name}"
        if not hub_auth.access_scopes:
            hub_auth.access_scopes = {self.scope}

    async def identify(self, handler: RequestHandler) -> str:
        model = await self._model(handler)
        name: str = model["name"]
        if not self.hub_auth.check_scopes(self.hub_auth.access_scopes, model):
            raise Forbidden(self._missing_scope(name))
        if model["kind"] == "user" and name.startswith(SERVICE_NAMES):
            raise Forbidden(f"A user whose name begins with '{SERVICE_NAMES}' cannot use ngshare")
        return _name(model)

    async def may_read_metrics(self, handler: RequestHandler) -> bool:
        return METRICS_SCOPE in (await self._model(handler))["scopes"]

    def count_with(self, metrics: Metrics) -> None:
        self.hub_auth.metrics = metrics

    def check_rate_with(self, check: Callable[[str], None]) -> None:
        self.hub_auth.check_rate = check

    async def _model(self, handler: RequestHandler) -> dict[str, Any]:
        """What the Hub says of whoever sent this request. Raises Unauthenticated."""
        try:
            # A token that is nobody's and then a cookie are two questions, and one wait.
            model: dict[str, Any] | None = await self.hub_auth.in_time(
                self.hub_auth.get_user(handler, sync=False)
            )
        except (HubTrouble, asyncio.TimeoutError) as error:
            log.error(
                "The Hub at %s does not say who sent a request (%s). Is it running, "
                "and is this service's API token still valid there?",
                self.hub_auth.api_url,
                str(error) or type(error).__name__,
            )
            raise Unavailable("The Hub does not answer; please try again") from None
        if not model:
            raise Unauthenticated(
                "Please log in: send a token of JupyterHub in the header 'Authorization: token ...'"
            )
        return model

    async def greet(self) -> None:
        trouble = ""
        for pause in GREETING_SECONDS:
            await asyncio.sleep(pause)
            try:
                model = await self.hub_auth.in_time(
                    self.hub_auth.user_for_token(self.hub_auth.api_token, sync=False)
                )
            except (HubTrouble, asyncio.TimeoutError) as error:
                trouble = str(error) or type(error).__name__
                continue
            if not model or (model["kind"], model["name"]) != ("service", self.service_name):
                log.warning(
                    "The Hub at %s does not take JUPYTERHUB_API_TOKEN for the token of its "
                    "service %s, so nobody can log in. Give the Hub and ngshare the same token.",
                    self.hub_auth.api_url,
                    self.service_name,
                )
            return
        log.warning(
            "The Hub at %s does not answer (%s). Everybody gets 503 until it does. "
            "Is it running, and is this its URL?",
            self.hub_auth.api_url,
            trouble,
        )

    def _missing_scope(self, name: str) -> str:
        return (
            "Restart your server; if that does not help, tell your administrator: "
            f"The token of {name} lacks the scope {self.scope}. At the end of "
            "jupyterhub_config.py this line gives it: from ngshare.hub import configure_hub; "
            "configure_hub(c) -- on Kubernetes, the scope in hub.loadRoles of the Hub's values, "
            "as the chart's notes show (helm get notes). Then the Hub is restarted, and users "
            "restart their servers"
        )


class StandaloneIdentity:
    """The request says who sent it, in ``user``. It proves nothing: for trying out."""

    reads_body = True
    login_by_redirect = False

    def __init__(self, names: OwnNames | None = None) -> None:
        self.names = names or OwnNames()

    async def identify(self, handler: RequestHandler) -> str:
        self._refuse_other_sites(handler.request)
        field = getattr(handler, "field", None)
        name = field("user") if field else handler.get_argument("user", None)
        if not name:
            raise Unauthenticated("Please say who you are with the parameter 'user'")
        return str(name)

    async def may_read_metrics(self, handler: RequestHandler) -> bool:
        return False

    def count_with(self, metrics: Metrics) -> None:
        """Nobody is asked, so there is nothing to count."""

    def check_rate_with(self, check: Callable[[str], None]) -> None:
        """It costs nothing to know who sends a request."""

    async def greet(self) -> None:
        """There is nobody to ask."""

    def _refuse_other_sites(self, request: HTTPServerRequest) -> None:
        """Refuse what a page of another site makes a visitor's browser send to this machine."""
        host = request.headers.get("Host")
        if host is not None and not self.names.include(host):  # every browser sends one
            raise Forbidden(
                "This stand-alone ngshare is not known by the name in the address. Use localhost "
                "or the address where it listens, or add the name to c.Ngshare.host_names in "
                "ngshare_config.py"
            )
        origin = request.headers.get("Origin")
        if origin is not None and origin.partition("://")[2] != host:
            raise Forbidden("Pages of other sites may not use this service")
