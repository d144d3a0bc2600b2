"""The pages people see, and the way into them through the Hub."""

from __future__ import annotations

import asyncio
import shlex
from typing import Any

from jupyterhub.services.auth import HubOAuthCallbackHandler
from tornado.web import HTTPError

from ngshare import __version__
from ngshare.actions import courses
from ngshare.errors import BadRequest, ExchangeError, Forbidden, Unauthenticated, Unavailable
from ngshare.web.auth.hub_client import HubError
from ngshare.web.base import BaseHandler
from ngshare.web.who import Who, allow

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
            self.render("who.html")
        else:
            message = self.explain(status_code, error)
            if status_code == 404 and not isinstance(error, ExchangeError):
                message = "There is nothing at this address."
            self.render("error.html", status=status_code, message=message)

    def get_template_namespace(self) -> dict[str, Any]:
        return {
            **super().get_template_namespace(),
            "home": self.settings["prefix"],
            "hub": self.hub,
            "version": __version__,
        }

    @property
    def hub(self) -> str | None:
        """Where the Hub's own pages begin; None when there is no Hub."""
        if not self.service.behind_hub:
            return None
        return f"{self.hub_auth.hub_host}{self.hub_auth.hub_prefix}"


class StartPage(PageHandler):
    """Who you are, and your courses."""

    @allow(Who.ANYONE)
    async def get(self) -> None:
        roles = await self.ask(courses.list_roles)
        everything = await self.ask(courses.list_courses) if self.caller.admin else []
        own = {name for name, _ in roles}
        taught = [name for name, role in roles if role == "instructor"]
        self.render(
            "start.html",
            caller=self.caller,
            taught=taught,
            example=shlex.quote(taught[0]) if taught else "",
            taken=[name for name, role in roles if role == "student"],
            others=[name for name in everything if name not in own],
            debug=self.service.debug,
        )


class ToStartPage(BaseHandler):
    """Leads from addresses that people type to the start page."""

    @allow(Who.PUBLIC)
    async def get(self) -> None:
        query = self.request.query
        self.redirect(self.settings["prefix"] + (f"?{query}" if query else ""))


class NotFound(PageHandler):
    """Answers every path that nothing is at."""

    async def _nothing(self, *path: str) -> None:
        # Here, and not in "prepare": the body of a request is read past before it is answered.
        raise HTTPError(404)

    get = head = post = put = patch = delete = options = _nothing


class OAuthCallback(HubOAuthCallbackHandler, PageHandler):  # type: ignore[misc]  # untyped
    """Where the Hub sends a browser back to after its login."""

    @allow(Who.PUBLIC)
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
            # What the Hub refused and what it failed to answer look the same here.
            raise Unavailable("The Hub did not finish this login; please try again") from error

    async def _finish_login(self) -> None:
        # Known before JupyterHub's handler asks in its blocking way.
        self._cached_hub_user = await self.hub_auth.get_user(self, sync=False)
        await HubOAuthCallbackHandler.get(self)

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
