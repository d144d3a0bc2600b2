"""Identify the sender of a request by asking the Hub."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol

from tornado.web import RequestHandler

from ngshare.errors import Forbidden, Unauthenticated, Unavailable
from ngshare.web.auth.hub_client import (
    METRICS_SCOPE,
    SERVICE_NAMES,
    HubError,
    SharedHubAuth,
    local_name,
)
from ngshare.web.monitoring.metrics import Metrics

log = logging.getLogger("ngshare")

CHECK_HUB_AFTER = (1.0, 5.0)
"""After how many seconds a started service checks its connection to the Hub: at first, and how
much later once more when the Hub did not answer."""


class Identity(Protocol):
    """An object that identifies the sender of a request without blocking the event loop."""

    reads_fields: bool
    """True if identification needs the fields of the request, and so its body."""

    login_by_redirect: bool
    """True if a browser without an identity can be redirected to a login."""

    async def identify(self, handler: RequestHandler) -> str:
        """Return the caller's name.

        Raises Unauthenticated when there is none, Forbidden when the caller may not use this
        service at all, TooManyRequests or Unavailable when it cannot be known now.
        """
        ...

    async def may_read_metrics(self, handler: RequestHandler) -> bool:
        """Return whether the caller's token has the scope for metrics. Its owner does not matter.

        Raises what ``identify`` raises, except Forbidden.
        """
        ...

    def attach(self, metrics: Metrics, check_rate: Callable[[str], None]) -> None:
        """Connect it to a service: to its metrics and its limit of requests per user.

        ``check_rate`` takes a user's name and raises TooManyRequests when that user has sent too
        many requests; it is called before an expired identity is looked up again.
        """
        ...

    async def check_hub_connection(self) -> None:
        """Log a warning if users cannot log in. Run it once, after the start."""
        ...


class HubIdentity:
    """Identify callers by asking the Hub, and check that they may use this service."""

    reads_fields = False
    login_by_redirect = True

    def __init__(self, hub_auth: SharedHubAuth, service_name: str) -> None:
        self.hub_auth = hub_auth
        self.service_name = service_name
        self.scope = f"access:services!service={service_name}"
        if not hub_auth.access_scopes:
            hub_auth.access_scopes = {self.scope}

    async def identify(self, handler: RequestHandler) -> str:
        model = await self._user_model(handler)
        name: str = model["name"]
        if not self.hub_auth.check_scopes(self.hub_auth.access_scopes, model):
            raise Forbidden(self._missing_scope(name))
        if model["kind"] == "user" and name.startswith(SERVICE_NAMES):
            raise Forbidden(f"A user whose name begins with '{SERVICE_NAMES}' cannot use ngshare")
        return local_name(model)

    async def may_read_metrics(self, handler: RequestHandler) -> bool:
        return METRICS_SCOPE in (await self._user_model(handler))["scopes"]

    def attach(self, metrics: Metrics, check_rate: Callable[[str], None]) -> None:
        self.hub_auth.metrics = metrics
        self.hub_auth.check_rate = check_rate

    async def check_hub_connection(self) -> None:
        error_name = ""
        for pause in CHECK_HUB_AFTER:
            await asyncio.sleep(pause)
            try:
                model = await self.hub_auth.with_patience(
                    self.hub_auth.user_for_token(self.hub_auth.api_token, sync=False)
                )
            except (HubError, Unavailable, asyncio.TimeoutError) as error:
                error_name = str(error) or type(error).__name__
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
            error_name,
        )

    async def _user_model(self, handler: RequestHandler) -> dict[str, Any]:
        """Return the Hub's model of the caller.

        Raises Unauthenticated, TooManyRequests and Unavailable.
        """
        try:
            # A request may take two lookups, of an invalid token and then of a cookie, and one
            # timeout.
            model: dict[str, Any] | None = await self.hub_auth.with_patience(
                self.hub_auth.get_user(handler, sync=False)
            )
        except (HubError, asyncio.TimeoutError) as error:
            log.error(
                "The Hub at %s does not say who sent a request (%s). Is it running, "
                "and is this service's API token still valid there?",
                self.hub_auth.api_url,
                str(error) or type(error).__name__,
            )
            raise Unavailable("The Hub does not answer; please try again") from None
        if model:
            return model
        if self.hub_auth.get_token(handler, in_cookie=False):
            raise Unauthenticated(
                "JupyterHub does not know this token (any more): it expired or was revoked. If it "
                "is the token of your server, restart the server; if it is another, make a new "
                "one on the Hub's page 'Token' or ask your administrator for one"
            )
        raise Unauthenticated(
            "Please log in: send a token of JupyterHub in the header 'Authorization: token ...'"
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
