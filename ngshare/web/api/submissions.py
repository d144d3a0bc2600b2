"""Handlers for submissions: list, submit, collect."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ngshare.actions import submissions
from ngshare.actions.submissions import SubmissionSummary
from ngshare.errors import BadRequest
from ngshare.protocol.times import format_time, parse_time
from ngshare.web.api.lists import ListHandler
from ngshare.web.downloads import DownloadHandler
from ngshare.web.route_access import Audience, allow
from ngshare.web.uploads import UploadHandler


def _format(submission: SubmissionSummary) -> dict[str, str]:
    return {"student_id": submission.student, "timestamp": submission.timestamp}


def _key(submission: SubmissionSummary) -> str:
    return f"{submission.timestamp} {submission.id}"


def _parse_key(text: str) -> tuple[datetime, int]:
    moment, _, row = text.rpartition(" ")
    if len(row) > 18:
        raise ValueError("not the id of a row")
    try:
        return parse_time(moment), int(row)
    except BadRequest as error:
        raise ValueError("not a time") from error


LIST_FORMAT: Any = {"format_entry": _format, "key": _key, "parse_key": _parse_key}
"""The arguments of :meth:`ListHandler.reply_list` for a list of submissions."""


class AllSubmissions(ListHandler):
    """List the submissions of all students to an assignment."""

    @allow(Audience.INSTRUCTOR)
    async def get(self, course: str, assignment: str) -> None:
        await self.reply_list(
            "submissions", submissions.list_submissions, course, assignment, **LIST_FORMAT
        )


class StudentSubmissions(ListHandler):
    """List one student's submissions to an assignment."""

    @allow(Audience.INSTRUCTOR_OR_SELF)
    async def get(self, course: str, assignment: str, student: str) -> None:
        await self.reply_list(
            "submissions",
            submissions.list_student_submissions,
            *(course, assignment, student),
            removed=self.flag("removed"),
            **LIST_FORMAT,
        )


class Submit(UploadHandler):
    """Take a submission of the caller."""

    @allow(Audience.MEMBER)
    async def post(self, course: str, assignment: str) -> None:
        await self.run_read(submissions.authorize_submission, course, assignment)
        files = await self.store_files()
        moment = await self.write_rows(submissions.submit, course, assignment, files)
        self.service.metrics.submissions.inc()
        self.reply(timestamp=format_time(moment))


class Submission(DownloadHandler):
    """Collect a submission."""

    @allow(Audience.INSTRUCTOR)
    async def get(self, course: str, assignment: str, student: str) -> None:
        moment, files = await self.run_read(
            submissions.collect,
            # An empty time means the latest here, as in ngshare 0.6.
            *(course, assignment, student, self.field("timestamp") or None),
            removed=self.flag("removed"),
        )
        await self.reply_tree("submission collected", files, timestamp=format_time(moment))


routes = [
    (r"submissions/([^/]+)/([^/]+)", AllSubmissions),
    (r"submissions/([^/]+)/([^/]+)/([^/]+)", StudentSubmissions),
    (r"submission/([^/]+)/([^/]+)", Submit),
    (r"submission/([^/]+)/([^/]+)/([^/]+)", Submission),
]
