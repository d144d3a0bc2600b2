"""Assignments over HTTP."""

from __future__ import annotations

import json

from ngshare.actions import assignments
from ngshare.web.base import BaseHandler
from ngshare.web.downloads import DownloadHandler
from ngshare.web.route_access import Who, allow
from ngshare.web.uploads import UploadHandler


class Assignments(BaseHandler):
    """The assignments of a course."""

    @allow(Who.MEMBER)
    async def get(self, course: str) -> None:
        async with self.service.replies.of(self.caller.name):
            names = await self.ask(assignments.list_assignments, course)
            await self.reply_large(json.dumps({"success": True, "assignments": names}).encode())


class Assignment(UploadHandler, DownloadHandler):
    """One assignment: fetch, release, remove."""

    @allow(Who.MEMBER)
    async def get(self, course: str, assignment: str) -> None:
        files = await self.ask(assignments.fetch_assignment, course, assignment)
        await self.reply_tree("assignment fetched", files, popular=True)

    @allow(Who.INSTRUCTOR)
    async def post(self, course: str, assignment: str) -> None:
        await self.ask(assignments.authorize_release, course, assignment)
        files = await self.store_files()
        await self.keep(assignments.release_assignment, course, assignment, files)
        self.reply()

    @allow(Who.INSTRUCTOR)
    async def delete(self, course: str, assignment: str) -> None:
        await self.change(assignments.remove_assignment, course, assignment)
        self.reply()


routes = [
    (r"assignments/([^/]+)", Assignments),
    (r"assignment/([^/]+)/([^/]+)", Assignment),
]
