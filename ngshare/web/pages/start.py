"""The start page, its static files, redirects to it, and the page for unknown paths."""

from __future__ import annotations

import shlex

from tornado.web import HTTPError

from ngshare.actions import courses
from ngshare.web.base import BaseHandler
from ngshare.web.bodies.receive import ApiHandler
from ngshare.web.pages.base import PageHandler
from ngshare.web.route_access import Audience, allow


class StartPage(PageHandler):
    """Show the caller's name, courses and what to do next."""

    @allow(Audience.ANYONE)
    async def get(self) -> None:
        roles = await self.run_read(courses.list_roles)
        all_courses = await self.run_read(courses.list_courses) if self.caller.admin else []
        own = {name for name, _ in roles}
        taught = [name for name, role in roles if role == "instructor"]
        self.render(
            "start.html",
            caller=self.caller,
            taught=taught,
            example=shlex.quote(taught[0]) if taught else "",
            taken=[name for name, role in roles if role == "student"],
            others=[name for name in all_courses if name not in own],
            debug=self.service.debug,
        )


class RedirectToStartPage(BaseHandler):
    """Redirect incomplete addresses, as people type them, to the start page."""

    @allow(Audience.PUBLIC)
    async def get(self) -> None:
        query = self.request.query
        self.redirect(self.settings["prefix"] + (f"?{query}" if query else ""))


class NotFound(PageHandler, ApiHandler):
    """Reply 404 to requests for unknown paths: a page for browsers, JSON for API clients.

    As an API handler it discards the body of a request before it replies.
    """

    @property
    def wants_html(self) -> bool:
        return self.request.method == "GET" and self.accepts_html

    async def _raise_not_found(self, *path: str) -> None:
        # Not in "prepare", which runs before the body is read.
        raise HTTPError(404)

    get = head = post = put = patch = delete = options = _raise_not_found


class Favicon(BaseHandler):
    """Return the icon for the browser's tab."""

    @allow(Audience.PUBLIC)
    async def get(self) -> None:
        self.set_header("Content-Type", "image/png")
        self.set_header("Cache-Control", "max-age=86400")
        self.finish(self.settings["favicon"])


class Stylesheet(BaseHandler):
    """Return the style sheet of all pages."""

    @allow(Audience.PUBLIC)
    async def get(self) -> None:
        self.set_header("Content-Type", "text/css; charset=UTF-8")
        self.set_header("Cache-Control", "max-age=3600")
        self.finish(self.settings["stylesheet"])


routes = [
    (r"", StartPage),
    (r"favicon\.ico", Favicon),
    (r"static/style\.css", Stylesheet),
]
