"""Handlers for archives: one tree, or the submissions to an assignment, as one tar stream."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from itertools import chain

from ngshare.actions import collection, stored_trees, tree_rows
from ngshare.actions.stored_trees import TreeKind, TreeName, TreeSummary
from ngshare.protocol.times import format_time
from ngshare.web import archive_stream
from ngshare.web.api.lists import ListHandler
from ngshare.web.archive_stream import ArchivedTree, ArchiveIndex, Files
from ngshare.web.downloads import READ_EVENTS, DownloadHandler
from ngshare.web.route_access import Audience, allow


class ArchiveHandler(ListHandler, DownloadHandler):
    """Reply with trees as a tar archive."""

    async def reply_tree_archive(self, name: TreeName) -> None:
        """Reply with the tree of this name."""
        tree = await self.run_read(stored_trees.find_tree, name)
        await self.reply_archive(name.kind, name.assignment, [tree])

    async def reply_archive(
        self, kind: TreeKind, assignment: str, trees: Sequence[TreeSummary]
    ) -> None:
        """Reply with these trees of an assignment, all of this kind."""
        service = self.service
        index = ArchiveIndex(service.blobs, assignment, service.spool.folder)
        async with service.reply_slots.of(self.caller.name):
            reserved = 0
            try:
                batches: list[list[ArchivedTree]] = []
                files: Files = {}
                for batch in archive_stream.split_batches(trees):
                    files = await self._list_files(batch)
                    batches.append(await service.in_file_thread(index.add, batch, files))
                    service.spool.reserve(index.size - reserved)
                    reserved = index.size
                # The rows of a single batch are in memory still.
                known = files if len(batches) <= 1 else None
                with self.cut_off_when_missing():
                    await self._send_archive(kind, index, batches or [[]], known)
            finally:
                service.spool.release(reserved)
                await service.in_file_thread(index.close)

    async def _send_archive(
        self,
        kind: TreeKind,
        index: ArchiveIndex,
        batches: Sequence[Sequence[ArchivedTree]],
        files: Files | None,
    ) -> None:
        """Send the archive. ``files`` are those of the only batch; None: read their rows again.

        Raises BlobMissing and Unavailable when a file cannot be read any more.
        """
        self.set_header("Content-Type", "application/x-tar")
        self.set_header("Content-Disposition", "attachment")
        self.set_header("Vary", "Accept-Encoding")
        compressor = None
        if self.accepts_gzip and index.compressible > index.total // 2:
            self.set_header("Content-Encoding", "gzip")
            # Level 1: higher ones take several times as long for a few per cent.
            compressor = zlib.compressobj(1, wbits=31)
        service, done = self.service, list[ArchivedTree]()
        async with self.sending():
            members: Iterator[bytes] = index.encode()
            for number, batch in enumerate(batches, 1):
                of_batch = files
                if of_batch is None:
                    of_batch = await self._list_files([each.tree for each in batch])
                trees = archive_stream.encode_trees(service.blobs, batch, of_batch, index, done)
                last = number == len(batches)
                members = chain(members, trees, [archive_stream.END] if last else [])
                pieces = archive_stream.collect_pieces(members, compressor, last=last)
                while (piece := await service.in_file_thread(next, pieces, None)) is not None:
                    await self.send_piece(piece)
                    for each in done:
                        self._log_tree(kind, each.tree)
                    done.clear()
                members = iter(())

    def _log_tree(self, kind: TreeKind, tree: TreeSummary) -> None:
        if tree.file_count:
            at = tree.submitted_at
            times = {} if at is None else {"timestamp": format_time(at)}
            self.log_read(READ_EVENTS[kind], tree.student, files=tree.file_count, **times)

    async def _list_files(self, trees: Sequence[TreeSummary]) -> Files:
        return await self.service.read(tree_rows.list_files_of_trees, [tree.id for tree in trees])


class ReleaseArchive(ArchiveHandler):
    """Return a released assignment as an archive."""

    @allow(Audience.MEMBER)
    async def get(self, course: str, assignment: str) -> None:
        await self.reply_tree_archive(TreeName(TreeKind.RELEASE, course, assignment))


class SubmissionArchive(ArchiveHandler):
    """Return a submission as an archive."""

    @allow(Audience.INSTRUCTOR_OR_SELF)
    async def get(self, course: str, assignment: str, student: str) -> None:
        name = TreeName(TreeKind.SUBMISSION, course, assignment, student, self.field("timestamp"))
        await self.reply_tree_archive(name)


class FeedbackArchive(ArchiveHandler):
    """Return the feedback on a submission as an archive."""

    @allow(Audience.INSTRUCTOR_OR_SELF)
    async def get(self, course: str, assignment: str, student: str) -> None:
        name = TreeName(TreeKind.FEEDBACK, course, assignment, student, self.field("timestamp"))
        await self.reply_tree_archive(name)


class CollectionArchive(ArchiveHandler):
    """Return the newest submission of each student, or chosen submissions, as an archive."""

    @allow(Audience.INSTRUCTOR)
    async def get(self, course: str, assignment: str) -> None:
        trees = await self.run_read(
            collection.list_collected_trees,
            *(course, assignment),
            before=self.field("before") or None,
            student=self.name_field("student"),
            every=self.flag("all"),
        )
        await self.reply_archive(TreeKind.SUBMISSION, assignment, trees)

    @allow(Audience.INSTRUCTOR)
    async def post(self, course: str, assignment: str) -> None:
        chosen = await self.json_value("submissions", "Submissions cannot be JSON decoded")
        trees = await self.run_read(collection.list_chosen_trees, course, assignment, chosen)
        await self.reply_archive(TreeKind.SUBMISSION, assignment, trees)


routes = [
    (r"archive/assignment/([^/]+)/([^/]+)", ReleaseArchive),
    (r"archive/submission/([^/]+)/([^/]+)/([^/]+)", SubmissionArchive),
    (r"archive/feedback/([^/]+)/([^/]+)/([^/]+)", FeedbackArchive),
    (r"archive/submissions/([^/]+)/([^/]+)", CollectionArchive),
]
