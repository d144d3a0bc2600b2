"""Handler for feedback on submissions."""

from __future__ import annotations

from ngshare.actions import feedback
from ngshare.protocol.times import format_time
from ngshare.web.downloads import DownloadHandler
from ngshare.web.route_access import Audience, allow
from ngshare.web.uploads import UploadHandler


class Feedback(UploadHandler, DownloadHandler):
    """Give or fetch the feedback on a submission."""

    @allow(Audience.INSTRUCTOR)
    async def post(self, course: str, assignment: str, student: str) -> None:
        submission = (course, assignment, student, self.field("timestamp"))
        await self.run_read(feedback.authorize_feedback, *submission)
        files = await self.store_files()
        await self.write_rows(feedback.give_feedback, *submission, files)
        self.reply()

    @allow(Audience.INSTRUCTOR_OR_SELF)
    async def get(self, course: str, assignment: str, student: str) -> None:
        moment, files = await self.run_read(
            feedback.fetch_feedback,
            *(course, assignment, student, self.field("timestamp")),
            removed=self.flag("removed"),
        )
        await self.reply_tree("feedback fetched", files, timestamp=format_time(moment))


routes = [(r"feedback/([^/]+)/([^/]+)/([^/]+)", Feedback)]
