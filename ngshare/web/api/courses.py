"""Courses over HTTP."""

from __future__ import annotations

from ngshare.actions import courses, users
from ngshare.errors import BadRequest
from ngshare.protocol.names import check_name
from ngshare.web.api.lists import ListHandler
from ngshare.web.api.name_warnings import warn_of_names
from ngshare.web.base import BaseHandler
from ngshare.web.bodies.json_text import decode_json
from ngshare.web.route_access import Who, allow


class Courses(ListHandler):
    """The caller's courses."""

    @allow(Who.ANYONE)
    async def get(self) -> None:
        await self.reply_list("courses", courses.list_courses, form=str, key=str)


class Course(BaseHandler):
    """One course."""

    @allow(Who.ADMIN)
    async def post(self, course: str) -> None:
        await self.ask(courses.authorize_creation, course)
        instructors = await self.service.on_files(parse_instructors, self.value("instructors"))
        odd = await self.ask(users.find_suspicious_names, instructors)
        await self.change(courses.create_course, course, instructors)
        self.reply(**warn_of_names(self, course, odd))

    @allow(Who.ADMIN)
    async def delete(self, course: str) -> None:
        await self.change(courses.remove_course, course)
        self.reply()


def parse_instructors(names: object) -> list[str]:
    """The names of a new course's instructors: a JSON text, the list itself, or None for nobody."""
    if names is None:
        return []
    if isinstance(names, str):
        names = decode_json(names, "Instructors cannot be JSON decoded")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadRequest("Instructors must be a JSON list of user names")
    return [check_name(name) for name in names]


routes = [
    (r"courses", Courses),
    (r"course/([^/]+)", Course),
]
