"""Submissions over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ngshare.actions import submissions
from ngshare.actions.submissions import SubmissionSummary
from ngshare.errors import BadRequest
from ngshare.protocol.times import format_time, parse_time
from ngshare.web.api.lists import ListHandler
from ngshare.web.downloads import DownloadHandler
from ngshare.web.route_access import Who, allow
from ngshare.web.uploads import UploadHandler


def _form(submission: SubmissionSummary) -> dict[str, str]:
    return {"student_id": submission.student, "timestamp": submission.timestamp}


def _key(submission: SubmissionSummary) -> str:
    return f"{submission.timestamp} {submission.id}"


def _read_key(text: str) -> tuple[datetime, int]:
    moment, _, row = text.rpartition(" ")
    if len(row) > 18:
        raise ValueError("not a row of ours")
    try:
        return parse_time(moment), int(row)
    except BadRequest as error:
        raise ValueError("not a time") from error


LISTED: Any = {"form": _form, "key": _key, "read_key": _read_key}
"""What a list of submissions looks like."""


class AllSubmissions(ListHandler):
    """Every submission to an assignment."""

    @allow(Who.INSTRUCTOR)
    async def get(self, course: str, assignment: str) -> None:
        await self.reply_list(
            "submissions", submissions.list_submissions, course, assignment, **LISTED
        )


class OwnSubmissions(ListHandler):
    """One student's submissions to an assignment."""

    @allow(Who.INSTRUCTOR_OR_SELF)
    async def get(self, course: str, assignment: str, student: str) -> None:
        await self.reply_list(
            "submissions",
            submissions.list_student_submissions,
            *(course, assignment, student),
            removed=self.flag("removed"),
            **LISTED,
        )


class Submit(UploadHandler):
    """Where the caller hands in."""

    @allow(Who.MEMBER)
    async def post(self, course: str, assignment: str) -> None:
        await self.ask(submissions.authorize_submission, course, assignment)
        files = await self.store_files()
        moment = await self.keep(submissions.submit, course, assignment, files)
        self.service.metrics.submissions.inc()
        self.reply(timestamp=format_time(moment))


class Submission(DownloadHandler):
    """One submission, to collect."""

    @allow(Who.INSTRUCTOR)
    async def get(self, course: str, assignment: str, student: str) -> None:
        moment, files = await self.ask(
            submissions.collect,
            # An empty time means the latest here, as in ngshare 0.6.
            *(course, assignment, student, self.field("timestamp") or None),
            removed=self.flag("removed"),
        )
        await self.reply_tree("submission collected", files, timestamp=format_time(moment))


routes = [
    (r"submissions/([^/]+)/([^/]+)", AllSubmissions),
    (r"submissions/([^/]+)/([^/]+)/([^/]+)", OwnSubmissions),
    (r"submission/([^/]+)/([^/]+)", Submit),
    (r"submission/([^/]+)/([^/]+)/([^/]+)", Submission),
]
