"""Handlers for courses: list, create, remove."""

from __future__ import annotations

from ngshare.actions import courses, users
from ngshare.errors import BadRequest
from ngshare.protocol.names import check_name
from ngshare.web.api.lists import ListHandler
from ngshare.web.api.name_warnings import warn_of_names
from ngshare.web.bodies.json_text import decode_json
from ngshare.web.bodies.receive import ApiHandler
from ngshare.web.route_access import Audience, allow


class Courses(ListHandler):
    """List the caller's courses; an admin's are all of them."""

    @allow(Audience.ANYONE)
    async def get(self) -> None:
        await self.reply_list("courses", courses.list_courses, format_entry=str, key=str)


class Course(ApiHandler):
    """Create or remove a course."""

    @allow(Audience.ADMIN)
    async def post(self, course: str) -> None:
        await self.run_read(courses.authorize_creation, course)
        instructors = await self.service.in_file_thread(
            parse_instructors, self.value("instructors")
        )
        suspicious = await self.run_read(users.find_suspicious_names, instructors)
        await self.run_write(courses.create_course, course, instructors)
        self.reply(**warn_of_names(self, course, suspicious))

    @allow(Audience.ADMIN)
    async def delete(self, course: str) -> None:
        await self.run_write(courses.remove_course, course)
        self.reply()


def parse_instructors(names: object) -> list[str]:
    """Return the names of a new course's instructors. Raises BadRequest.

    names: a list, the JSON text of one, or None for no instructors.
    """
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
