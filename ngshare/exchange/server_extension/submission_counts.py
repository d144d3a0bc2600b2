"""Formgrader's column "# Submissions" counts what students submitted, collected or not."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from nbgrader.server_extensions.formgrader import apihandlers
from tornado import web

from ngshare.exchange.connection import ServiceError
from ngshare.exchange.server_extension.caller import Caller


def install(caller: Caller) -> None:
    """Replace the methods of formgrader's handlers that return assignments."""

    @web.authenticated
    @apihandlers.check_notebook_dir  # type: ignore[untyped-decorator]  # nbgrader is untyped
    async def get_all(self: apihandlers.AssignmentCollectionHandler) -> None:
        counts = await count_students(caller, self)
        assignments = self.api.get_assignments()
        for assignment in assignments:
            raise_count(assignment, counts)
        self.finish(json.dumps(assignments))

    @web.authenticated
    @apihandlers.check_notebook_dir  # type: ignore[untyped-decorator]  # nbgrader is untyped
    async def get_one(self: apihandlers.AssignmentHandler, name: str) -> None:
        counts = await count_students(caller, self)
        assignment = self.api.get_assignment(name)
        if assignment is None:
            raise web.HTTPError(404)
        raise_count(assignment, counts)
        self.finish(json.dumps(assignment))

    apihandlers.AssignmentCollectionHandler.get = get_all
    apihandlers.AssignmentHandler.get = get_one


async def count_students(caller: Caller, handler: apihandlers.BaseApiHandler) -> dict[str, int]:
    """Return how many students have submitted each assignment; none if the service is down."""
    course = handler.coursedir.course_id
    try:
        overview = await asyncio.to_thread(caller.client.overview, course, counts=True)
    except ServiceError as error:
        handler.log.warning("ngshare: submissions are not counted: %s", error.message)
        return {}
    return {
        assignment.name: assignment.students_submitted or 0
        for info in overview.courses
        if info.name == course
        for assignment in info.assignments
    }


def raise_count(assignment: dict[str, Any], counts: dict[str, int]) -> None:
    """Raise nbgrader's count of collected submissions to the number of students who submitted."""
    submitted = counts.get(assignment["name"], 0)
    assignment["num_submissions"] = max(assignment["num_submissions"], submitted)
