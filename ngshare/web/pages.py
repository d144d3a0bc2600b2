"""The pages people see, and the way into them through the Hub."""

from __future__ import annotations

import asyncio
from typing import Any

from jupyterhub.services.auth import HubOAuthCallbackHandler
from tornado.web import HTTPError

from ngshare import __version__
from ngshare.actions import courses
from ngshare.errors import BadRequest, Forbidden, Unauthenticated, Unavailable
from ngshare.web.auth import HubTrouble
from ngshare.web.base import BaseHandler, Who, allow

POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


class PageHandler(BaseHandler):
    """A page. Whoever is nobody yet is sent to log in; errors are pages too, for browsers."""

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Content-Security-Policy", POLICY)
        self.set_header("Referrer-Policy", "same-origin")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = (kwargs.get("exc_info") or (None, None))[1]
        nobody = isinstance(error, Unauthenticated)
        if not self.wants_html or (nobody and self.service.identity.login_by_redirect):
            super().write_error(status_code, **kwargs)
        elif nobody:
            self.set_status(200)
            self.render("who.html", home=self.home)
        else:
            message = self.explain(status_code, error)
            self.render("error.html", status=status_code, message=message, home=self.home)

    @property
    def home(self) -> str:
        """The path of the start page."""
        prefix: str = self.settings["prefix"]
        return prefix


class StartPage(PageHandler):
    """Who you are, and your courses."""

    @allow(Who.ANYONE)
    async def get(self) -> None:
        roles = await self.ask(courses.list_roles)
        everything = await self.ask(courses.list_courses) if self.caller.admin else []
        self.render(
            "start.html",
            home=self.home,
            caller=self.caller,
            taught=[name for name, role in roles if role == "instructor"],
            taken=[name for name, role in roles if role == "student"],
            everything=everything,
            version=__version__,
            debug=self.service.debug,
            standalone=not self.service.behind_hub,
        )


class OAuthCallback(HubOAuthCallbackHandler, PageHandler):  # type: ignore[misc]  # untyped
    """Where the Hub sends a browser back to after its login."""

    @allow(Who.PUBLIC)
    async def get(self) -> None:
        # Known before JupyterHub's handler asks in its blocking way.
        try:
            self._cached_hub_user = await self.hub_auth.get_user(self, sync=False)
            await asyncio.wait_for(HubOAuthCallbackHandler.get(self), self.hub_auth.patience)
        except (HubTrouble, HTTPError, asyncio.TimeoutError, OSError) as error:
            status = error.status_code if isinstance(error, HTTPError) else 503
            if status == 403:
                raise Forbidden(
                    "This login was not begun in this browser, or too long ago; please try again"
                ) from error
            if status < 500:
                raise BadRequest("The Hub refused this login; please try again") from error
            # What the Hub refused and what it failed to answer look the same here.
            raise Unavailable("The Hub did not finish this login; please try again") from error

    def get_current_user(self) -> Any:
        return self._cached_hub_user


class Favicon(BaseHandler):
    """The picture in the browser's tab."""

    @allow(Who.PUBLIC)
    async def get(self) -> None:
        self.set_header("Content-Type", "image/png")
        self.set_header("Cache-Control", "max-age=86400")
        self.finish(self.settings["favicon"])


class Stylesheet(BaseHandler):
    """How the pages look."""

    @allow(Who.PUBLIC)
    async def get(self) -> None:
        self.set_header("Content-Type", "text/css; charset=UTF-8")
        self.set_header("Cache-Control", "max-age=3600")
        self.finish(self.settings["stylesheet"])


routes = [
    (r"", StartPage),
    (r"favicon\.ico", Favicon),
    (r"static/style\.css", Stylesheet),
]

hub_routes = [(r"oauth_callback", OAuthCallback)]
