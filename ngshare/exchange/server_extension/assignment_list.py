"""nbgrader's Assignment List says in one sentence why something failed.

nbgrader itself shows a traceback, a text about a shared folder, or nothing; and to a student
without released assignments, "No courses found".
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

from nbgrader.server_extensions.assignment_list.handlers import (
    AssignmentActionHandler,
    AssignmentList,
)
from tornado import web

from ngshare.exchange.connection import ServiceError
from ngshare.exchange.plugin.course_choice import describe_no_course
from ngshare.exchange.server_extension.caller import Caller

Result = dict[str, Any]
"""What nbgrader's methods return: ``success``, and ``value``, which is a text for a failure."""

METHODS = (
    "list_released_assignments",
    "list_submitted_assignments",
    "fetch_assignment",
    "fetch_feedback",
    "submit_assignment",
)


def install(caller: Caller, *, course_is_configured: bool) -> None:
    """Replace the methods of nbgrader's Assignment List.

    course_is_configured: nbgrader's configuration names the course; the others are not listed.
    """
    for name in METHODS:
        setattr(AssignmentList, name, _explain_failure(getattr(AssignmentList, name)))
    AssignmentActionHandler.post = post
    if not course_is_configured:

        def list_courses(self: AssignmentList) -> Result:
            return courses_of(caller)

        AssignmentList.list_courses = list_courses


def courses_of(caller: Caller) -> Result:
    """Return the user's courses, also those without an assignment; or the reason why not."""
    try:
        overview = caller.ask()
    except ServiceError as error:
        return {"success": False, "value": error.message}
    names = sorted(course.name for course in overview.courses)
    if names:
        return {"success": True, "value": names}
    return {"success": False, "value": describe_no_course(overview.user, "student")}


@web.authenticated
def post(self: AssignmentActionHandler, action: str) -> None:
    """Fetch or submit an assignment, or fetch feedback; answer with the failure or the new list."""
    names = {name: self.get_argument(name, None) for name in ("course_id", "assignment_id")}
    if None in names.values():
        names = self.get_json_body()
    course, assignment = names["course_id"], names["assignment_id"]
    operations = {
        "fetch": self.manager.fetch_assignment,
        "submit": self.manager.submit_assignment,
        "fetch_feedback": self.manager.fetch_feedback,
    }
    result = operations[action](course, assignment)
    if result["success"]:
        result = self.manager.list_assignments(course_id=course)
    self.finish(json.dumps(result))


def _explain_failure(method: Callable[..., Result]) -> Callable[..., Result]:
    """Return the method with the sentence of nbgrader's ExchangeError as the text of a failure."""

    def explained(self: AssignmentList, *arguments: Any, **options: Any) -> Result:
        with _collect_errors(self.log) as errors:
            result = method(self, *arguments, **options)
        if not result["success"]:
            result["value"] = next(filter(None, map(_sentence, errors)), result["value"])
        return result

    return explained


def _sentence(traceback: str) -> str:
    """Return the message of a logged ExchangeError; empty for another exception."""
    return (
        traceback.rpartition("ExchangeError: ")[2].strip() if "ExchangeError: " in traceback else ""
    )


@contextlib.contextmanager
def _collect_errors(log: logging.Logger) -> Iterator[list[str]]:
    """Yield a list that receives the messages that are logged as errors."""
    messages: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    log.addHandler(handler)
    try:
        yield messages
    finally:
        log.removeHandler(handler)
