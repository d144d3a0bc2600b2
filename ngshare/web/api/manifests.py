"""Handlers for manifests: the paths, digests and sizes of a tree's files."""

from __future__ import annotations

from typing import Any

from ngshare.actions import stored_trees
from ngshare.actions.stored_trees import TreeKind, TreeName
from ngshare.protocol.manifests import LOST_DIGEST
from ngshare.protocol.times import format_time
from ngshare.protocol.trees import StoredFile
from ngshare.web.api.lists import ListHandler
from ngshare.web.route_access import Audience, allow


class ManifestHandler(ListHandler):
    """Reply with the manifest of a tree."""

    async def reply_manifest(self, name: TreeName) -> None:
        """Reply with the manifest of the tree of this name."""
        async with self.service.reply_slots.of(self.caller.name):
            tree = await self.run_read(stored_trees.read_tree, name)
            more = {"digest": tree.digest.hex()}
            if tree.submitted_at is not None:
                more["timestamp"] = format_time(tree.submitted_at)
            await self.reply_entries("files", tree.files, _format_file, more)


class ReleaseManifest(ManifestHandler):
    """Describe the files of a released assignment."""

    @allow(Audience.MEMBER)
    async def get(self, course: str, assignment: str) -> None:
        await self.reply_manifest(TreeName(TreeKind.RELEASE, course, assignment))


class SubmissionManifest(ManifestHandler):
    """Describe the files of a submission."""

    @allow(Audience.INSTRUCTOR_OR_SELF)
    async def get(self, course: str, assignment: str, student: str) -> None:
        name = TreeName(TreeKind.SUBMISSION, course, assignment, student, self.field("timestamp"))
        await self.reply_manifest(name)


class FeedbackManifest(ManifestHandler):
    """Describe the files of the feedback on a submission."""

    @allow(Audience.INSTRUCTOR_OR_SELF)
    async def get(self, course: str, assignment: str, student: str) -> None:
        name = TreeName(TreeKind.FEEDBACK, course, assignment, student, self.field("timestamp"))
        await self.reply_manifest(name)


def _format_file(file: StoredFile) -> dict[str, Any]:
    return {"path": file.path, "sha256": (file.sha256 or LOST_DIGEST).hex(), "size": file.size}


routes = [
    (r"manifest/assignment/([^/]+)/([^/]+)", ReleaseManifest),
    (r"manifest/submission/([^/]+)/([^/]+)/([^/]+)", SubmissionManifest),
    (r"manifest/feedback/([^/]+)/([^/]+)/([^/]+)", FeedbackManifest),
]
