"""Parse the service's replies about courses, assignments and submissions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ngshare.exchange.service_error import ServiceError
from ngshare.protocol.overview import (
    AssignmentInfo,
    CourseInfo,
    FeedbackInfo,
    Overview,
    SubmissionInfo,
)

Json = Mapping[str, Any]


def parse_overview(reply: Json) -> Overview:
    """Return the reply to ``overview``. Raises ServiceError when it makes no sense."""
    try:
        return Overview(
            reply["user"],
            reply["admin"],
            reply["version"],
            reply["time"],
            [_parse_course(course, reply["user"]) for course in reply["courses"]],
        )
    except (KeyError, TypeError) as error:
        raise _senseless() from error


def parse_collection(reply: Json) -> list[SubmissionInfo]:
    """Return the reply to ``collection``. Raises ServiceError when it makes no sense."""
    try:
        return [_parse_submission(each, each["student_id"]) for each in reply["submissions"]]
    except (KeyError, TypeError) as error:
        raise _senseless() from error


def _parse_course(course: Json, user: str) -> CourseInfo:
    assignments = [_parse_assignment(each, user) for each in course["assignments"]]
    return CourseInfo(course["name"], course["role"], assignments)


def _parse_assignment(assignment: Json, user: str) -> AssignmentInfo:
    return AssignmentInfo(
        assignment["name"],
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
        student,
        submission["timestamp"],
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
        feedback["digest"], {file["path"]: file["sha256"] for file in feedback["files"]}
    )


def _senseless() -> ServiceError:
    return ServiceError("The exchange sent a reply that makes no sense; is its address right?")
