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

from ngshare.exchange.client import ExchangeClient
from ngshare.exchange.connection import ServiceError
from ngshare.exchange.server_extension.caller import Caller

FIELDS = ("first_name", "last_name", "email")


def install(caller: Caller) -> None:
    """Replace the methods of formgrader's handlers that list, add and change students."""
    put, get = apihandlers.StudentHandler.put, apihandlers.StudentCollectionHandler.get

    @web.authenticated
    async def add_to_roster(self: apihandlers.StudentHandler, student: str) -> None:
        data = self.get_json_body() or {}
        fields = [data.get(field) or "" for field in FIELDS]
        course = self.coursedir.course_id
        try:
            await asyncio.to_thread(enroll, caller.client, course, student.strip(), *fields)
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


def enroll(client: ExchangeClient, course: str, student: str, *fields: str) -> None:
    """Add a student to the roster, or change the names of one who is in it.

    fields: first name, last name, email. Without any, a student who is in the roster keeps theirs:
    the page may have been loaded before somebody else added the student.
    """
    if any(fields) or student not in {each["username"] for each in client.students(course)}:
        client.put_student(course, student, *fields)


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
