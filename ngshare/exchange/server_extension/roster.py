"""Formgrader's page Manage Students follows the roster of ngshare, and feeds it.

nbgrader's page changes its gradebook only. Here a student is added to the roster first, so that
the gradebook stays as it is when the service refuses.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from nbgrader.server_extensions.formgrader import apihandlers
from tornado import web

from ngshare.exchange.connection import ServiceError
from ngshare.exchange.server_extension.caller import Caller
from ngshare.exchange.server_extension.formgrader_course import FormgraderCourse

FIELDS = ("first_name", "last_name", "email")


def install(course: FormgraderCourse, caller: Caller) -> None:
    """Replace the methods of formgrader's handlers that list, add and change students."""
    put, get = apihandlers.StudentHandler.put, apihandlers.StudentCollectionHandler.get

    @web.authenticated
    async def add_to_roster(self: apihandlers.StudentHandler, student: str) -> None:
        data = self.get_json_body() or {}
        fields = [data.get(field) or "" for field in FIELDS]
        name = self.coursedir.course_id
        try:
            await asyncio.to_thread(caller.client.put_student, name, student.strip(), *fields)
        except ServiceError as error:
            self.set_status(502)
            self.finish(json.dumps({"message": error.message}))
            return
        put(self, student)

    @web.authenticated
    async def list_with_roster(self: apihandlers.StudentCollectionHandler) -> None:
        try:
            students = await asyncio.to_thread(caller.client.students, self.coursedir.course_id)
        except ServiceError as error:
            self.log.warning("ngshare: the roster is not up to date: %s", error.message)
        else:
            copy_to_gradebook(students, self.gradebook)
        get(self)

    apihandlers.StudentHandler.put = add_to_roster
    apihandlers.StudentCollectionHandler.get = list_with_roster


def copy_to_gradebook(students: list[dict[str, str | None]], gradebook: Any) -> None:
    """Add the students of the roster to nbgrader's gradebook, and their names as far as known.

    A student who has left the roster stays, because the grades would be lost.
    """
    known = {student.id: student for student in gradebook.students}
    for student in students:
        fields = {field: student[field] for field in FIELDS if student.get(field)}
        row = known.get(str(student["username"]))
        if row is None or any(getattr(row, field) != value for field, value in fields.items()):
            gradebook.update_or_create_student(student["username"], **fields)
