"""nbgrader's formgrader: it can be shown in a frame, and works on the user's course and roster.

nbgrader offers no place for this, so methods of its request handlers are replaced.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_server.utils import url_path_join
from nbgrader.server_extensions.formgrader import handlers
from nbgrader.server_extensions.formgrader.base import BaseApiHandler, BaseHandler
from tornado import web
from tornado.escape import xhtml_escape
from tornado.template import Loader

from ngshare.exchange.connection import ServiceError
from ngshare.exchange.server_extension import roster, submission_counts
from ngshare.exchange.server_extension.caller import Caller
from ngshare.exchange.server_extension.formgrader_course import FormgraderCourse

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp

COURSE_PAGE = "ngshare/course"
"""The path of the page on which the user chooses a course, below the server's base URL."""

TEMPLATES = Loader(str(Path(__file__).parent / "templates"), autoescape="xhtml_escape")


def install(server: ServerApp, caller: Caller) -> None:
    """Fit formgrader to ngshare. Its extension must be loaded already."""
    settings = server.web_app.settings
    course = FormgraderCourse(settings, caller)
    settings["ngshare_course"] = course
    allow_frames()
    if not course.is_configured:
        select_courses(course)
    show_course(course)
    roster.install(caller)
    submission_counts.install(caller)
    path = url_path_join(settings["base_url"], COURSE_PAGE)
    server.web_app.add_handlers(".*$", [(path, CoursePageHandler)])  # type: ignore[no-untyped-call]


def allow_frames() -> None:
    """Let formgrader's pages be shown in a frame of the server's own pages, as its tab is one.

    JupyterHub forbids frames for all pages of a user's server. Other policies stay.
    """
    policy = BaseHandler.content_security_policy.fget

    def content_security_policy(self: BaseHandler) -> str:
        configured: str = policy(self)
        return configured.replace("frame-ancestors 'none'", "frame-ancestors 'self'")

    BaseHandler.content_security_policy = property(content_security_policy)


def select_courses(course: FormgraderCourse) -> None:
    """Let formgrader's handlers select the course before each request."""
    prepare = BaseHandler.prepare

    async def select_and_prepare(self: BaseHandler) -> None:
        await prepare(self)
        if self.current_user and not self._finished and not isinstance(self, CoursePageHandler):
            await _select_course(self, course)

    BaseHandler.prepare = select_and_prepare


def show_course(course: FormgraderCourse) -> None:
    """Let formgrader's pages show the selected course, and the messages of failed requests."""
    render = BaseHandler.render

    def render_with_course(self: BaseHandler, name: str, **namespace: Any) -> str:
        page: str = render(self, name, **namespace)
        return _insert_course(page, self.base_url, course)

    BaseHandler.render = render_with_course


async def _select_course(handler: BaseHandler, course: FormgraderCourse) -> None:
    """Select the course for a request; answer it if that is not possible."""
    is_entry = isinstance(handler, handlers.FormgraderHandler)
    if is_entry and handler.get_argument("path", ""):
        course.leave()
        return
    if not is_entry and course.is_left:
        return
    wanted = None
    if is_entry and handler.request.headers.get("Sec-Fetch-Site") == "same-origin":
        wanted = handler.get_argument("course", None)  # no other site may choose a course
    try:
        selected = await course.select(wanted, ask=is_entry)
    except ServiceError as error:
        _answer(handler, 502, error.message)
        return
    if not selected and isinstance(handler, BaseApiHandler):
        _answer(handler, 409, "Choose a course first: open Formgrader again.")
    elif not selected:
        handler.redirect(f"{handler.base_url}/{COURSE_PAGE}")
    elif is_entry:
        handler.redirect(f"{handler.base_url}/formgrader/manage_assignments")


def _answer(handler: BaseHandler, status: int, message: str) -> None:
    """Finish a request with an error message, as JSON or as a page."""
    handler.set_status(status)
    if isinstance(handler, BaseApiHandler):
        handler.finish(json.dumps({"message": message}))
    else:
        handler.finish(_course_page(handler, message=message))


def _insert_course(page: str, base_url: str, course: FormgraderCourse) -> str:
    """Insert into a page the course, a link to choose another one, and the script of errors."""
    if course.name:
        heading = f"<p>Course: <strong>{xhtml_escape(course.name)}</strong>"
        if len(course.taught) > 1:
            heading += f'<br><a href="{base_url}/{COURSE_PAGE}">Change course</a>'
        page = page.replace("<h1>nbgrader</h1>", f"<h1>nbgrader</h1>{heading}</p>", 1)
    return page.replace("</body>", f"<script>{SHOW_ERRORS}</script></body>", 1)


SHOW_ERRORS = """
$(document).ajaxError(function (event, reply) {
  var answer = {};
  try { answer = JSON.parse(reply.responseText); } catch (error) { return; }
  if (answer && answer.message) {
    createModal("error-modal", "Error", $("<p/>").text(answer.message));
  }
});
"""
"""Shows the message of a failed request, which formgrader's own scripts do not always do."""


def _course_page(handler: BaseHandler, message: str = "", **namespace: Any) -> bytes:
    values = {"courses": [], "selected": None, "user": "", "admin": False, **namespace}
    return TEMPLATES.load("course.html").generate(
        message=message, base_url=handler.base_url, xsrf_token=handler.xsrf_token, **values
    )


class CoursePageHandler(BaseHandler):  # type: ignore[misc]  # nbgrader is untyped
    """The page on which an instructor of several courses chooses the one for formgrader."""

    @web.authenticated
    async def get(self) -> None:
        """Show the courses."""
        course: FormgraderCourse = self.settings["ngshare_course"]
        try:
            await course.select(ask=True)
        except ServiceError as error:
            _answer(self, 502, error.message)
            return
        overview = course.overview
        self.finish(
            _course_page(
                self,
                courses=course.taught,
                selected=course.name,
                user=overview.user if overview else "",
                admin=bool(overview and overview.admin),
            )
        )

    @web.authenticated
    async def post(self) -> None:
        """Remember the choice, and open formgrader with it."""
        course: FormgraderCourse = self.settings["ngshare_course"]
        name = self.get_body_argument("course")
        try:
            await course.select(name)
        except ServiceError as error:
            _answer(self, 502, error.message)
            return
        self.redirect(f"{self.base_url}/formgrader/manage_assignments")
