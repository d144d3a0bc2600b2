"""Handlers for assignments: list, fetch, release, remove."""

from __future__ import annotations

import json

from ngshare.actions import assignments
from ngshare.web.bodies.receive import ApiHandler
from ngshare.web.downloads import DownloadHandler
from ngshare.web.route_access import Audience, allow
from ngshare.web.uploads import UploadHandler


class Assignments(ApiHandler):
    """List the assignments of a course."""

    @allow(Audience.MEMBER)
    async def get(self, course: str) -> None:
        async with self.service.reply_slots.of(self.caller.name):
            names = await self.run_read(assignments.list_assignments, course)
            await self.reply_large(json.dumps({"success": True, "assignments": names}).encode())


class Assignment(UploadHandler, DownloadHandler):
    """Fetch, release or remove an assignment."""

    @allow(Audience.MEMBER)
    async def get(self, course: str, assignment: str) -> None:
        files = await self.run_read(assignments.fetch_assignment, course, assignment)
        await self.reply_tree("assignment fetched", files, cached=True)

    @allow(Audience.INSTRUCTOR)
    async def post(self, course: str, assignment: str) -> None:
        await self.run_read(assignments.authorize_release, course, assignment)
        files = await self.store_files()
        await self.write_rows(assignments.release_assignment, course, assignment, files)
        self.reply()

    @allow(Audience.INSTRUCTOR)
    async def delete(self, course: str, assignment: str) -> None:
        await self.run_write(assignments.remove_assignment, course, assignment)
        self.reply()


routes = [
    (r"assignments/([^/]+)", Assignments),
    (r"assignment/([^/]+)/([^/]+)", Assignment),
]
