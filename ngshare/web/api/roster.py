"""Handlers for the rosters of courses: instructors and students."""

from __future__ import annotations

from dataclasses import asdict
from operator import attrgetter

from ngshare.actions import roster, roster_import, users
from ngshare.actions.roster_import import ImportStatus
from ngshare.web.api.lists import ListHandler
from ngshare.web.api.name_warnings import warn_of_names
from ngshare.web.bodies.json_text import decode_json
from ngshare.web.bodies.receive import ApiHandler
from ngshare.web.route_access import Audience, allow


class Instructor(ApiHandler):
    """Add, get or remove an instructor of a course."""

    @allow(Audience.INSTRUCTOR)
    async def post(self, course: str, username: str) -> None:
        suspicious = await self.run_read(users.find_suspicious_names, [username])
        await self.run_write(roster.put_instructor, course, username, *_names(self))
        self.reply(**warn_of_names(self, course, suspicious))

    @allow(Audience.MEMBER)
    async def get(self, course: str, username: str) -> None:
        self.reply(**asdict(await self.run_read(roster.get_instructor, course, username)))

    @allow(Audience.ADMIN)
    async def delete(self, course: str, username: str) -> None:
        await self.run_write(roster.remove_instructor, course, username)
        self.reply()


class Instructors(ListHandler):
    """List the instructors of a course."""

    @allow(Audience.MEMBER)
    async def get(self, course: str) -> None:
        people = roster.list_instructors
        await self.reply_list("instructors", people, course, format_entry=asdict, key=_username)


class Student(ApiHandler):
    """Add, get or remove a student of a course."""

    @allow(Audience.INSTRUCTOR)
    async def post(self, course: str, username: str) -> None:
        suspicious = await self.run_read(users.find_suspicious_names, [username])
        await self.run_write(roster.put_student, course, username, *_names(self))
        self.reply(**warn_of_names(self, course, suspicious))

    @allow(Audience.INSTRUCTOR_OR_SELF)
    async def get(self, course: str, username: str) -> None:
        self.reply(**asdict(await self.run_read(roster.get_student, course, username)))

    @allow(Audience.INSTRUCTOR)
    async def delete(self, course: str, username: str) -> None:
        await self.run_write(roster.remove_student, course, username)
        self.reply()


class Students(ListHandler):
    """Import or list the students of a course."""

    @allow(Audience.INSTRUCTOR)
    async def post(self, course: str) -> None:
        await self.run_read(roster_import.authorize_import, course)
        people = await self.service.in_file_thread(_parse_students, self.value("students"))
        suspicious = await self.run_read(
            users.find_suspicious_names, [person.username for person in people]
        )
        statuses = await self.run_write(roster_import.import_students, course, people)
        added = {status.username for status in statuses if status.message is None}
        warnings = warn_of_names(self, course, [one for one in suspicious if one.username in added])
        self.reply(status=[_format_status(status) for status in statuses], **warnings)

    @allow(Audience.INSTRUCTOR)
    async def get(self, course: str) -> None:
        people = roster.list_students
        await self.reply_list("students", people, course, format_entry=asdict, key=_username)


def _names(handler: ApiHandler) -> tuple[str | None, str | None, str | None]:
    """Return the fields with a person's names and email address."""
    return handler.field("first_name"), handler.field("last_name"), handler.field("email")


_username = attrgetter("username")


def _parse_students(students: object) -> list[roster.Person]:
    """Return the students of an import: a list, or the JSON text of one. Raises BadRequest."""
    if isinstance(students, str) and students:
        students = decode_json(students, "Students cannot be JSON decoded")
    return roster_import.parse_roster(students)


def _format_status(status: ImportStatus) -> dict[str, object]:
    """Return the result of one line of an import as the API's fields."""
    if status.message is None:
        return {"username": status.username, "success": True}
    return {"username": status.username, "success": False, "message": status.message}


routes = [
    (r"instructor/([^/]+)/([^/]+)", Instructor),
    (r"instructors/([^/]+)", Instructors),
    (r"student/([^/]+)/([^/]+)", Student),
    (r"students/([^/]+)", Students),
]
