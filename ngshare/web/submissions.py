"""Submissions over HTTP."""

from __future__ import annotations

from collections.abc import Iterable

from ngshare.actions import submissions
from ngshare.actions.submissions import Handed
from ngshare.web.base import BaseHandler
from ngshare.web.who import Who, allow
from ngshare.wire import format_time


class AllSubmissions(BaseHandler):
    """Every submission to an assignment."""

    @allow(Who.INSTRUCTOR)
    async def get(self, course: str, assignment: str) -> None:
        handed = await self.ask(submissions.list_all, course, assignment)
        self.reply(submissions=_format(handed))


class OwnSubmissions(BaseHandler):
    """One student's submissions to an assignment."""

    @allow(Who.INSTRUCTOR_OR_SELF)
    async def get(self, course: str, assignment: str, student: str) -> None:
        handed = await self.ask(
            submissions.list_own, course, assignment, student, removed=self.flag("removed")
        )
        self.reply(submissions=_format(handed))


class Submit(BaseHandler):
    """Where the caller hands in."""

    @allow(Who.MEMBER)
    async def post(self, course: str, assignment: str) -> None:
        await self.ask(submissions.check_submit, course, assignment)
        files = await self.store_files()
        moment = await self.keep(submissions.submit, course, assignment, files)
        self.service.metrics.submissions.inc()
        self.reply(timestamp=format_time(moment))


class Submission(BaseHandler):
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


def _format(handed: Iterable[Handed]) -> list[dict[str, str]]:
    return [
        {"student_id": one.student, "timestamp": format_time(one.submitted_at)} for one in handed
    ]


routes = [
    (r"submissions/([^/]+)/([^/]+)", AllSubmissions),
    (r"submissions/([^/]+)/([^/]+)/([^/]+)", OwnSubmissions),
    (r"submission/([^/]+)/([^/]+)", Submit),
    (r"submission/([^/]+)/([^/]+)/([^/]+)", Submission),
]
