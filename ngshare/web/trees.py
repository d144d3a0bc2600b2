"""Directory trees in requests and replies: stored before rows name them, sent as stored."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

from ngshare import wire
from ngshare.actions import audit, quota
from ngshare.actions.access import Caller
from ngshare.blobs import BlobMissing, BlobStore
from ngshare.database import Action
from ngshare.errors import TooLarge
from ngshare.web.base import BaseHandler
from ngshare.web.encoded import EncodedTrees

log = logging.getLogger("ngshare")

P = ParamSpec("P")
T = TypeVar("T")

LOST = b"The content of this file is missing from the exchange's storage.\n"
"""Stands in a reply for the bytes of a file that are lost."""


class TreeHandler(BaseHandler):
    """Takes trees, and answers with them."""

    async def keep(self, action: Action[Concatenate[Caller, str, P], T], *args: Any) -> T:
        """Run an action that keeps files, if the course, the first of ``args``, has room."""
        limited = quota.within(self.service.max_course_bytes, action)
        return await self.change(limited, *args)

    async def store_files(self) -> list[wire.StoredFile]:
        """Make the bytes of the request's ``files`` durable, and return what to write of them."""
        service = self.service
        files = self._fields.pop("files", None)
        if service.max_course_bytes is not None:
            await self.ask(quota.check_room, self.path_args[0], service.max_course_bytes)
        return await self._compute(_store, service.blobs, files, service.max_files)

    async def reply_tree(
        self,
        event: str,
        files: Sequence[wire.StoredFile],
        *,
        popular: bool = False,
        **fields: Any,
    ) -> None:
        """Answer with a tree, without its contents if the client asked for ``list_only``.

        With its contents it is an ``event`` of the audit log, unless it is empty.
        ``popular``: others will soon ask for it too, so it is kept in memory, encoded.
        """
        service, user = self.service, self.caller.name
        if self.flag("list_only"):
            async with service.replies.of(user):
                listed = {"success": True, "files": wire.format_tree(files), **fields}
                await self.reply_large(json.dumps(listed).encode())
            return
        kept = service.encoded if popular else None
        tree = kept.get(files) if kept else None
        if tree is not None:
            async with service.replies.of(user):
                await self._watch(len(tree))
                await self._reply_encoded_tree(tree, fields)
        else:
            await self._hold(service.downloads, sum(file.size for file in files) * 4 // 3)
            for _, held in self._held:
                held.ours = True
            tree = await service.on_files(_load, service.blobs, files, kept)
            await self._reply_encoded_tree(tree, fields)
        if files and self._finished:
            self._note_read(event, files=len(files), **fields)

    async def _reply_encoded_tree(self, tree: bytes, fields: Mapping[str, Any]) -> None:
        """Answer with these fields, and a tree as :func:`_load` encodes it."""
        head = json.dumps({"success": True, **fields}).encode()[:-1] + b', "files": '
        self.set_header("Content-Type", "application/json")
        self.set_header("Content-Length", str(len(head) + len(tree)))
        await self._send(head, tree)

    def _note_read(self, event: str, **detail: Any) -> None:
        course, assignment, *student = self.path_args
        self.service.reads.add(
            audit.Read(
                audit.now(),
                self.caller.name,
                event,
                course,
                assignment,
                student[0] if student else None,
                detail,
            )
        )


def _store(blobs: BlobStore, files: Any, most: int) -> list[wire.StoredFile]:
    tree = wire.parse_tree(files)
    if len(tree) > most:
        raise TooLarge(f"There are {len(tree)} files; this service accepts {most} at once")
    digests = blobs.put([file.content for file in tree])
    return [
        wire.StoredFile(file.path, digest, wire.md5(file.content), len(file.content))
        for file, digest in zip(tree, digests, strict=True)
    ]


def _load(blobs: BlobStore, files: Sequence[wire.StoredFile], kept: EncodedTrees | None) -> bytes:
    """A tree, encoded, and the brace that ends the reply: sent by itself it costs a packet."""
    contents = [_content(blobs, file) for file in files]
    shown = [LOST if each is None else each for each in contents]
    encoded = wire.format_full_tree(files, shown, b"}")
    if kept and None not in contents:
        kept.keep(files, encoded)
    return encoded


def _content(blobs: BlobStore, file: wire.StoredFile) -> bytes | None:
    """A file's bytes; None when they are lost, so that the rest can be read."""
    if file.sha256 is not None:
        try:
            content = blobs.read(file.sha256)
        except BlobMissing:
            content = None
        if content is not None and len(content) == file.size:
            return content
        log.error(
            "The bytes of %s (SHA-256 %s) are %s the storage. "
            "Restore them from a backup; ngshare storage check finds what else there is.",
            file.path,
            file.sha256.hex(),
            "missing from" if content is None else "damaged in",
        )
    return None
