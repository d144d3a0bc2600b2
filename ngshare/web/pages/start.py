"""The start page, and what belongs to no other page."""

from __future__ import annotations

import shlex

from tornado.web import HTTPError

from ngshare.actions import courses
from ngshare.web.base import BaseHandler
from ngshare.web.pages.base import PageHandler
from ngshare.web.route_access import Who, allow


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
