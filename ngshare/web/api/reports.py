"""Handlers for reports: the audit log, students without a submission, the bytes of a course."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any

from ngshare.actions import audit_query, missing, quota
from ngshare.actions.audit_query import LogFilter, LogPage
from ngshare.errors import BadRequest
from ngshare.protocol.times import format_time, parse_time
from ngshare.web.api.lists import ListHandler
from ngshare.web.bodies.receive import ApiHandler
from ngshare.web.route_access import Audience, allow


class ReportHandler(ListHandler):
    """Parse the fields that filter the audit log, and reply with a page of it."""

    def log_filter(self, **more: str | None) -> LogFilter:
        """Return the filter that the request's fields describe. Raises BadRequest."""
        order = self.field("order") or "newest"
        if order not in ("newest", "oldest"):
            raise BadRequest("order should be newest or oldest")
        return LogFilter(
            assignment=self.field("assignment"),
            student=self.field("student"),
            actor=self.field("actor"),
            event=self.field("event"),
            since=self.time("since"),
            until=self.time("until"),
            before=self.number("before"),
            after=self.number("after"),
            oldest_first=order == "oldest",
            limit=self.number("limit") or audit_query.DEFAULT_PAGE_SIZE,
            **more,
        )

    def time(self, name: str) -> datetime | None:
        """Return a field that is a time; None if it is absent or empty. Raises BadRequest."""
        text = self.field(name)
        return parse_time(text) if text else None

    async def reply_log_page(self, action: Callable[..., LogPage], *args: Any) -> None:
        """Reply with the page of the log that the action returns."""
        async with self.service.reply_slots.of(self.caller.name):
            page = await self.run_read(action, *args)
            await self.reply_large(await self.service.in_file_thread(_encode_page, page))


class CourseLog(ReportHandler):
    """Return the audit log of a course."""

    @allow(Audience.INSTRUCTOR)
    async def get(self, course: str) -> None:
        await self.reply_log_page(audit_query.list_course_log, course, self.log_filter())


class WholeLog(ReportHandler):
    """Return the audit log of the whole site."""

    @allow(Audience.ADMIN)
    async def get(self) -> None:
        log_filter = self.log_filter(course=self.field("course"))
        await self.reply_log_page(audit_query.list_log, log_filter)


class MissingSubmissions(ReportHandler):
    """List the students who have submitted nothing to an assignment."""

    @allow(Audience.INSTRUCTOR)
    async def get(self, course: str, assignment: str) -> None:
        await self.reply_list(
            "missing",
            missing.list_missing,
            *(course, assignment, self.time("by")),
            format_entry=lambda student: _format(asdict(student)),
            key=lambda student: student.username,
        )


class Usage(ApiHandler):
    """Return how many bytes the files of a course take."""

    @allow(Audience.INSTRUCTOR)
    async def get(self, course: str) -> None:
        used = await self.run_read(quota.get_usage, course)
        self.reply(bytes=used, quota=self.service.max_course_bytes)


def _encode_page(page: LogPage) -> bytes:
    """Return the reply as JSON. Its up to 1,000 entries are too many for the event loop."""
    entries = [_format(asdict(entry)) for entry in page.entries]
    return json.dumps({"success": True, "entries": entries, "next": page.next}).encode()


def _format(row: dict[str, Any]) -> dict[str, Any]:
    """Convert a dataclass's fields to those of the reply: times as text, ``at`` as timestamp."""
    if "at" in row:
        row["timestamp"] = row.pop("at")
    return {
        name: format_time(value) if isinstance(value, datetime) else value
        for name, value in row.items()
    }


routes = [
    (r"log", WholeLog),
    (r"log/([^/]+)", CourseLog),
    (r"missing/([^/]+)/([^/]+)", MissingSubmissions),
    (r"usage/([^/]+)", Usage),
]
