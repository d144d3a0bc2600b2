"""Handlers for trees of which only the files are sent that the service lacks."""

from __future__ import annotations

import re

from ngshare.actions import assignments, feedback, presence, receipts, submissions
from ngshare.errors import BadRequest
from ngshare.protocol.receipts import format_receipt
from ngshare.web.route_access import Audience, allow
from ngshare.web.tree_uploads import TreeUploadHandler

_KEY = re.compile(r"[\x21-\x7e]{1,64}")


class SubmitTree(TreeUploadHandler):
    """Take a submission of the caller."""

    @allow(Audience.MEMBER)
    async def post(self, course: str, assignment: str) -> None:
        key = self.request.headers.get("Idempotency-Key")
        if key is not None and not _KEY.fullmatch(key):
            raise BadRequest("The Idempotency-Key should be 1 to 64 visible ASCII characters")
        files, sent = await self.store_sent_files(
            submissions.authorize_submission,
            presence.find_for_submission,
            *(course, assignment),
        )
        receipt = await self.write_rows(receipts.submit, course, assignment, files, key, sent)
        self.service.metrics.submissions.inc()
        self.reply(timestamp=receipt.timestamp, receipt=format_receipt(receipt))


class ReleaseTree(TreeUploadHandler):
    """Release an assignment, or replace a release."""

    @allow(Audience.INSTRUCTOR)
    async def post(self, course: str, assignment: str) -> None:
        replace = self.flag("replace")
        files, sent = await self.store_sent_files(
            assignments.authorize_release,
            presence.find_for_release,
            *(course, assignment, replace),
        )
        await self.write_rows(
            assignments.release_assignment, course, assignment, files, replace, sent
        )
        self.reply()


class GiveFeedbackTree(TreeUploadHandler):
    """Give feedback on a submission."""

    @allow(Audience.INSTRUCTOR)
    async def post(self, course: str, assignment: str, student: str) -> None:
        submission = (course, assignment, student, self.field("timestamp"))
        files, sent = await self.store_sent_files(
            feedback.authorize_feedback, presence.find_for_feedback, *submission
        )
        await self.write_rows(feedback.give_feedback, *submission, files, sent)
        self.reply()


routes = [
    (r"tree/submission/([^/]+)/([^/]+)", SubmitTree),
    (r"tree/assignment/([^/]+)/([^/]+)", ReleaseTree),
    (r"tree/feedback/([^/]+)/([^/]+)/([^/]+)", GiveFeedbackTree),
]
