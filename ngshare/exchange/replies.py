"""Parse the service's replies about courses, assignments and submissions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ngshare.errors import BadRequest
from ngshare.exchange.service_error import ServiceError
from ngshare.protocol.names import check_name
from ngshare.protocol.overview import (
    AssignmentInfo,
    CourseInfo,
    FeedbackInfo,
    Overview,
    SubmissionInfo,
)
from ngshare.protocol.times import parse_time
from ngshare.protocol.trees import check_path

Json = Mapping[str, Any]


def parse_overview(reply: Json) -> Overview:
    """Return the reply to ``overview``. Raises ServiceError when it makes no sense."""
    try:
        return Overview(
            _name(reply["user"]),
            reply["admin"],
            reply["version"],
            reply["time"],
            [_parse_course(course, reply["user"]) for course in reply["courses"]],
        )
    except (BadRequest, KeyError, TypeError) as error:
        raise _senseless() from error


def parse_collection(reply: Json) -> list[SubmissionInfo]:
    """Return the reply to ``collection``. Raises ServiceError when it makes no sense."""
    try:
        return [_parse_submission(each, each["student_id"]) for each in reply["submissions"]]
    except (BadRequest, KeyError, TypeError) as error:
        raise _senseless() from error


def _parse_course(course: Json, user: str) -> CourseInfo:
    assignments = [_parse_assignment(each, user) for each in course["assignments"]]
    return CourseInfo(_name(course["name"]), course["role"], assignments)


def _parse_assignment(assignment: Json, user: str) -> AssignmentInfo:
    return AssignmentInfo(
        _name(assignment["name"]),
        assignment["released"],
        assignment["digest"],
        assignment["files"],
        assignment["bytes"],
        assignment["notebooks"],
        [_parse_submission(each, user) for each in assignment["submissions"]],
        assignment.get("students_submitted"),
    )


def _parse_submission(submission: Json, student: str) -> SubmissionInfo:
    feedback = submission.get("feedback")
    return SubmissionInfo(
        _name(student),
        check_time(submission["timestamp"]),
        submission["digest"],
        submission["files"],
        submission["bytes"],
        submission["notebooks"],
        None if feedback is None else _parse_feedback(feedback),
        submission.get("removed", False),
        submission.get("late", False),
    )


def _parse_feedback(feedback: Json) -> FeedbackInfo:
    return FeedbackInfo(
        feedback["digest"], {check_path(file["path"]): file["sha256"] for file in feedback["files"]}
    )


def check_time(text: object) -> str:
    """Return a time as the service writes it. Raises ServiceError for anything else.

    Times become names of folders: a service that was taken over must not choose where the plugin
    writes.
    """
    try:
        if isinstance(text, str):
            parse_time(text)
            return text
    except BadRequest:
        pass
    raise _senseless()


def _name(name: object) -> str:
    """Return a name. Raises BadRequest or TypeError for one that the service would not accept."""
    if not isinstance(name, str):
        raise TypeError(name)
    return check_name(name)


def _senseless() -> ServiceError:
    return ServiceError("The exchange sent a reply that makes no sense; is its address right?")
