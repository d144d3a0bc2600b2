"""Handlers that describe many assignments and submissions in one reply."""

from __future__ import annotations

from typing import Any

import ngshare
from ngshare.actions import audit, collection, overview
from ngshare.protocol.overview import AssignmentInfo, CourseInfo, FeedbackInfo, SubmissionInfo
from ngshare.protocol.times import format_time
from ngshare.web.api.lists import ListHandler, encode_list
from ngshare.web.route_access import Audience, allow


class Overview(ListHandler):
    """Describe the caller's courses, with released assignments and the caller's submissions."""

    @allow(Audience.ANYONE)
    async def get(self) -> None:
        course, assignment = self.name_field("course"), self.name_field("assignment")
        async with self.service.reply_slots.of(self.caller.name):
            courses = await self.run_read(
                overview.get_overview, course, assignment, counts=self.flag("counts")
            )
            more = {
                "user": self.caller.name,
                "admin": self.caller.admin,
                "version": ngshare.__version__,
                "time": format_time(audit.now()),
            }
            # A course at a time: it may have many entries.
            encoded = await self.service.in_file_thread(
                encode_list, "courses", courses, _format_course, more, step=1
            )
            await self.reply_large(encoded)


class Collection(ListHandler):
    """Describe the newest submission of each student, or every submission."""

    @allow(Audience.INSTRUCTOR)
    async def get(self, course: str, assignment: str) -> None:
        student = self.name_field("student")
        async with self.service.reply_slots.of(self.caller.name):
            submissions = await self.run_read(
                collection.list_collection,
                *(course, assignment),
                before=self.field("before") or None,
                student=student,
                every=self.flag("all"),
            )
            await self.reply_entries("submissions", submissions, _format_collected, {})


def _format_course(course: CourseInfo) -> dict[str, Any]:
    return {
        "name": course.name,
        "role": course.role,
        "assignments": [_format_assignment(each) for each in course.assignments],
    }


def _format_assignment(assignment: AssignmentInfo) -> dict[str, Any]:
    formatted: dict[str, Any] = {
        "name": assignment.name,
        "released": assignment.released,
        "digest": assignment.digest,
        "files": assignment.files,
        "bytes": assignment.bytes,
        "notebooks": assignment.notebooks,
        "submissions": [_format_submission(each) for each in assignment.submissions],
    }
    if assignment.students_submitted is not None:
        formatted["students_submitted"] = assignment.students_submitted
    return formatted


def _format_submission(submission: SubmissionInfo) -> dict[str, Any]:
    return {
        "timestamp": submission.timestamp,
        "digest": submission.digest,
        "files": submission.files,
        "bytes": submission.bytes,
        "notebooks": submission.notebooks,
        "feedback": _format_feedback(submission.feedback),
    }


def _format_collected(submission: SubmissionInfo) -> dict[str, Any]:
    return {
        "student_id": submission.student,
        **_format_submission(submission),
        "removed": submission.removed,
        "late": submission.late,
    }


def _format_feedback(feedback: FeedbackInfo | None) -> dict[str, Any] | None:
    if feedback is None:
        return None
    files = [{"path": path, "sha256": sha256} for path, sha256 in feedback.files.items()]
    return {"digest": feedback.digest, "files": files}


routes = [
    (r"overview", Overview),
    (r"collection/([^/]+)/([^/]+)", Collection),
]
