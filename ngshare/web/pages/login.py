"""The handler that finishes a login at the Hub (OAuth)."""

from __future__ import annotations

import asyncio
from typing import Any

from jupyterhub.services.auth import HubOAuthCallbackHandler
from tornado.web import HTTPError

from ngshare.errors import BadRequest, Forbidden, Unavailable
from ngshare.web.auth.hub_client import HubError
from ngshare.web.pages.base import PageHandler
from ngshare.web.route_access import Audience, allow


class OAuthCallback(HubOAuthCallbackHandler, PageHandler):  # type: ignore[misc]  # untyped
    """Finish the login of a browser that the Hub redirected here."""

    @allow(Audience.PUBLIC)
    async def get(self) -> None:
        try:
            await self.hub_auth.with_patience(self._finish_login())
        except (HubError, HTTPError, asyncio.TimeoutError, OSError) as error:
            status = error.status_code if isinstance(error, HTTPError) else 503
            if status == 403:
                raise Forbidden(
                    "This login was not begun in this browser, or too long ago; please try again"
                ) from error
            if status < 500:
                raise BadRequest("This login did not complete; please try again") from error
            # JupyterHub's client reports a refusal and a missing answer in the same way.
            raise Unavailable("The Hub did not finish this login; please try again") from error

    async def _finish_login(self) -> None:
        # Cached here, because JupyterHub's handler would ask in its blocking way.
        self._cached_hub_user = await self.hub_auth.get_user(self, sync=False)
        await HubOAuthCallbackHandler.get(self)

    def get_current_user(self) -> Any:
        return self._cached_hub_user


routes = [(r"oauth_callback", OAuthCallback)]
