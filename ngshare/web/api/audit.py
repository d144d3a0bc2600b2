"""What instructors and admins look up over HTTP: the audit log, who is missing, the room taken."""

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
from ngshare.web.base import BaseHandler
from ngshare.web.route_access import Who, allow


class LookUp(ListHandler):
    """Understands the fields by which things are looked up."""

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
            since=self.moment("since"),
            until=self.moment("until"),
            before=self.number("before"),
            after=self.number("after"),
            oldest_first=order == "oldest",
            limit=self.number("limit") or audit_query.DEFAULT_PAGE_SIZE,
            **more,
        )

    def moment(self, name: str) -> datetime | None:
        """A field that is a time; None when absent. Raises BadRequest."""
        text = self.field(name)
        return parse_time(text) if text else None

    async def reply_page(self, action: Callable[..., LogPage], *args: Any) -> None:
        """Answer with a page of the log, which the action finds."""
        async with self.service.replies.of(self.caller.name):
            page = await self.ask(action, *args)
            await self.reply_large(await self.service.on_files(_encode_page, page))


class CourseLog(LookUp):
    """Who did what in a course."""

    @allow(Who.INSTRUCTOR)
    async def get(self, course: str) -> None:
        await self.reply_page(audit_query.list_course_log, course, self.log_filter())


class WholeLog(LookUp):
    """Who did what anywhere."""

    @allow(Who.ADMIN)
    async def get(self) -> None:
        log_filter = self.log_filter(course=self.field("course"))
        await self.reply_page(audit_query.list_log, log_filter)


class MissingSubmissions(LookUp):
    """Who has not handed in."""

    @allow(Who.INSTRUCTOR)
    async def get(self, course: str, assignment: str) -> None:
        await self.reply_list(
            "missing",
            missing.list_missing,
            *(course, assignment, self.moment("by")),
            form=lambda student: _format(asdict(student)),
            key=lambda student: student.username,
        )


class Usage(BaseHandler):
    """How much room a course takes."""

    @allow(Who.INSTRUCTOR)
    async def get(self, course: str) -> None:
        used = await self.ask(quota.get_usage, course)
        self.reply(bytes=used, quota=self.service.max_course_bytes)


def _encode_page(page: LogPage) -> bytes:
    """Return the reply as JSON: up to 1,000 entries, too many to encode on the event loop."""
    entries = [_format(asdict(entry)) for entry in page.entries]
    return json.dumps({"success": True, "entries": entries, "next": page.next}).encode()


def _format(row: dict[str, Any]) -> dict[str, Any]:
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
