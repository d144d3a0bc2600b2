"""Handlers for the content of one file, as raw bytes, whole or a range of them."""

from __future__ import annotations

import re

from ngshare.actions import stored_trees
from ngshare.actions.stored_trees import TreeKind, TreeName
from ngshare.errors import NotFound
from ngshare.protocol.times import format_time
from ngshare.web.downloads import READ_EVENTS, DownloadHandler, has_blob, read_file
from ngshare.web.route_access import Audience, allow

_RANGE = re.compile(r"bytes=(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))")


class ContentHandler(DownloadHandler):
    """Reply with a file of a tree. Its ETag is its SHA-256, so a copy of it is never stale."""

    async def reply_content(self, name: TreeName) -> None:
        """Reply with the file that the field ``path`` names in the tree of this name."""
        tree, file = await self.run_read(stored_trees.read_file, name, self.short_value("path"))
        service = self.service
        if not await service.in_file_thread(has_blob, service.blobs, file):
            raise NotFound("The content of this file is missing from the exchange's storage")
        assert file.sha256 is not None, "it has a blob"
        etag = f'"{file.sha256.hex()}"'
        self.set_header("ETag", etag)
        self.set_header("Cache-Control", "private, no-cache")
        if matches_etag(self.request.headers.get("If-None-Match", ""), etag):
            self.set_status(304)
            self.finish()
            return
        start, end = 0, file.size
        # With another ETag in If-Range, the client has the beginning of another file.
        if self.request.headers.get("If-Range", etag) == etag:
            requested = parse_range(self.request.headers.get("Range", ""), file.size)
            if requested is not None:
                start, end = requested
                if start >= end:
                    self.set_header("Content-Range", f"bytes */{file.size}")
                    self.fail(416, f"The range is outside of the file, which has {file.size} bytes")
                    return
                self.set_status(206)
                self.set_header("Content-Range", f"bytes {start}-{end - 1}/{file.size}")
        self.set_header("Accept-Ranges", "bytes")
        self.set_header("Content-Type", "application/octet-stream")
        self.set_header("Content-Disposition", "attachment")
        self.set_header("Content-Length", str(end - start))
        pieces = read_file(service.blobs, file, start, end)
        with self.cut_off_when_missing():
            async with self.sending():
                while (piece := await service.in_file_thread(next, pieces, None)) is not None:
                    await self.send_piece(piece)
        if self._finished:
            times = (
                {} if tree.submitted_at is None else {"timestamp": format_time(tree.submitted_at)}
            )
            self.log_read(READ_EVENTS[name.kind], name.student, path=file.path, **times)


class ReleaseContent(ContentHandler):
    """Return a file of a released assignment."""

    @allow(Audience.MEMBER)
    async def get(self, course: str, assignment: str) -> None:
        await self.reply_content(TreeName(TreeKind.RELEASE, course, assignment))


class SubmissionContent(ContentHandler):
    """Return a file of a submission."""

    @allow(Audience.INSTRUCTOR_OR_SELF)
    async def get(self, course: str, assignment: str, student: str) -> None:
        name = TreeName(TreeKind.SUBMISSION, course, assignment, student, self.field("timestamp"))
        await self.reply_content(name)


class FeedbackContent(ContentHandler):
    """Return a file of the feedback on a submission."""

    @allow(Audience.INSTRUCTOR_OR_SELF)
    async def get(self, course: str, assignment: str, student: str) -> None:
        name = TreeName(TreeKind.FEEDBACK, course, assignment, student, self.field("timestamp"))
        await self.reply_content(name)


def matches_etag(header: str, etag: str) -> bool:
    """Return whether the header ``If-None-Match`` has this ETag, strong or weak, or ``*``."""
    tags = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    return bool(tags & {etag, "*"})


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """Return the start and the end (exclusive) of the range that the header ``Range`` asks for.

    None: send the whole file, as for a header that makes no sense or has several ranges. An empty
    range, outside of the file, is refused with 416. (RFC 9110, section 14.)
    """
    match = _RANGE.fullmatch(header.strip())
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        return max(0, size - int(suffix)), size
    start = int(first)
    end = int(last) + 1 if last else size
    if end <= start and last:
        return None  # the end is before the start, which makes no sense
    return (start, min(end, size)) if start < size else (size, size)


routes = [
    (r"content/assignment/([^/]+)/([^/]+)", ReleaseContent),
    (r"content/submission/([^/]+)/([^/]+)/([^/]+)", SubmissionContent),
    (r"content/feedback/([^/]+)/([^/]+)/([^/]+)", FeedbackContent),
]
