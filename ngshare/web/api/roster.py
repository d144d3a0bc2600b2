"""Instructors and students over HTTP."""

from __future__ import annotations

from dataclasses import asdict
from operator import attrgetter
from typing import Any

from ngshare.actions import roster, roster_import, users
from ngshare.actions.roster_import import ImportStatus
from ngshare.web.api.lists import ListHandler
from ngshare.web.api.name_warnings import warn_of_names
from ngshare.web.base import BaseHandler
from ngshare.web.bodies.json_text import decode_json
from ngshare.web.route_access import Who, allow


class Instructor(BaseHandler):
    """One instructor of a course."""

    @allow(Who.INSTRUCTOR)
    async def post(self, course: str, username: str) -> None:
        odd = await self.ask(users.find_suspicious_names, [username])
        await self.change(roster.put_instructor, course, username, *_names(self))
        self.reply(**warn_of_names(self, course, odd))

    @allow(Who.MEMBER)
    async def get(self, course: str, username: str) -> None:
        self.reply(**asdict(await self.ask(roster.get_instructor, course, username)))

    @allow(Who.ADMIN)
    async def delete(self, course: str, username: str) -> None:
        await self.change(roster.remove_instructor, course, username)
        self.reply()


class Instructors(ListHandler):
    """Everybody who teaches a course."""

    @allow(Who.MEMBER)
    async def get(self, course: str) -> None:
        people = roster.list_instructors
        await self.reply_list("instructors", people, course, form=asdict, key=_username)


class Student(BaseHandler):
    """One student of a course."""

    @allow(Who.INSTRUCTOR)
    async def post(self, course: str, username: str) -> None:
        odd = await self.ask(users.find_suspicious_names, [username])
        await self.change(roster.put_student, course, username, *_names(self))
        self.reply(**warn_of_names(self, course, odd))

    @allow(Who.INSTRUCTOR_OR_SELF)
    async def get(self, course: str, username: str) -> None:
        self.reply(**asdict(await self.ask(roster.get_student, course, username)))

    @allow(Who.INSTRUCTOR)
    async def delete(self, course: str, username: str) -> None:
        await self.change(roster.remove_student, course, username)
        self.reply()


class Students(ListHandler):
    """Everybody who takes a course."""

    @allow(Who.INSTRUCTOR)
    async def post(self, course: str) -> None:
        await self.ask(roster_import.authorize_import, course)
        people = await self.service.on_files(_parse_students, self.value("students"))
        odd = await self.ask(users.find_suspicious_names, [person.username for person in people])
        statuses = await self.change(roster_import.import_students, course, people)
        added = {status.username for status in statuses if status.message is None}
        warnings = warn_of_names(self, course, [one for one in odd if one.username in added])
        self.reply(status=[_format_status(status) for status in statuses], **warnings)

    @allow(Who.INSTRUCTOR)
    async def get(self, course: str) -> None:
        people = roster.list_students
        await self.reply_list("students", people, course, form=asdict, key=_username)


def _names(handler: BaseHandler) -> tuple[str | None, str | None, str | None]:
    return handler.field("first_name"), handler.field("last_name"), handler.field("email")


_username = attrgetter("username")


def _parse_students(students: Any) -> list[roster.Person]:
    if isinstance(students, str) and students:
        students = decode_json(students, "Students cannot be JSON decoded")
    return roster_import.parse_roster(students)


def _format_status(status: ImportStatus) -> dict[str, Any]:
    if status.message is None:
        return {"username": status.username, "success": True}
    return {"username": status.username, "success": False, "message": status.message}


routes = [
    (r"instructor/([^/]+)/([^/]+)", Instructor),
    (r"instructors/([^/]+)", Instructors),
    (r"student/([^/]+)/([^/]+)", Student),
    (r"students/([^/]+)", Students),
]
