"""Reply with a directory tree: small ones in one piece, large ones as the client takes them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import pybase64

from ngshare.actions import audit
from ngshare.blobs import BlobMissing, BlobStore
from ngshare.errors import Unavailable
from ngshare.protocol import trees
from ngshare.protocol.trees import StoredFile
from ngshare.web.bodies.receive import ApiHandler

log = logging.getLogger("ngshare")

LOST = b"The content of this file is missing from the exchange's storage.\n"
"""Stands in a reply for the bytes of a file that are lost."""

SMALL = 2**20
"""A tree whose encoded form has at most so many bytes is read and encoded in one go."""

POPULAR = 4 * 2**20
"""The same for one that a whole class fetches, which is kept in memory."""

READ = 3 * 2**15
"""How many bytes of a file are read and encoded at once. Base64 needs a multiple of three; a client
that reads nothing holds as much in memory."""

Source = tuple[StoredFile, bool]
"""A file, and whether its bytes are there."""


class DownloadHandler(ApiHandler):
    """Reply with trees."""

    async def reply_tree(
        self,
        event: str,
        files: Sequence[StoredFile],
        *,
        popular: bool = False,
        **fields: Any,
    ) -> None:
        """Answer with a tree, without its contents if the client asked for ``list_only``.

        With its contents it is an ``event`` of the audit log, unless it is empty.
        ``popular``: others will soon ask for it too, so it is kept in memory, encoded.
        """
        service = self.service
        if self.flag("list_only"):
            async with service.replies.of(self.caller.name):
                listed = {"success": True, "files": trees.format_tree(files), **fields}
                await self.reply_large(json.dumps(listed).encode())
            return
        head = json.dumps({"success": True, **fields}).encode()[:-1] + b', "files": '
        size = sum(file.size * 4 // 3 + 200 for file in files)
        if size <= (POPULAR if popular else SMALL):
            async with service.replies.of(self.caller.name):
                tree = service.tree_cache.get(files) if popular else None
                if tree is None:
                    tree = await service.on_files(self._encode, files, popular)
                self._begin(len(head) + len(tree))
                await self.send(head, tree)
        else:
            await self._stream(head, await service.on_files(_locate, service.blobs, files))
        if files and self._finished:
            self._note_read(event, files=len(files), **fields)

    def _begin(self, length: int) -> None:
        self.set_header("Content-Type", "application/json")
        self.set_header("Content-Length", str(length))

    def _encode(self, files: Sequence[StoredFile], popular: bool) -> bytes:
        sources = _locate(self.service.blobs, files)
        encoded = b"".join(encode_tree(self.service.blobs, sources))
        if popular and all(there for _, there in sources):
            self.service.tree_cache.put(files, encoded)
        return encoded

    async def _stream(self, head: bytes, sources: Sequence[Source]) -> None:
        """Send a tree piece by piece: the next one is read when the client has taken the last."""
        pieces = encode_tree(self.service.blobs, sources)
        self._begin(len(head) + encoded_size(sources))
        try:
            async with self.sending():
                piece: bytes | None = head
                while piece is not None:
                    await self.send_piece(piece)
                    piece = await self.service.on_files(next, pieces, None)
        except (BlobMissing, Unavailable):
            log.error(
                "Cut off %s %s: a file was there when the reply began, and is not any more",
                self.request.method,
                self.request.path,
            )
            self.close_connection()

    def _note_read(self, event: str, **detail: Any) -> None:
        course, assignment, *student = self.path_args
        self.service.reads.add(
            audit.ReadEvent(
                audit.now(),
                self.caller.name,
                event,
                course,
                assignment,
                student[0] if student else None,
                detail,
            )
        )


def encode_tree(blobs: BlobStore, sources: Sequence[Source]) -> Iterator[bytes]:
    """Yield a tree with its contents as JSON, and the brace that ends the reply. Blocks.

    Put together by hand, because base64 needs no escaping and a JSON encoder would look at every
    one of its characters to find that out. Raises BlobMissing and Unavailable.
    """
    before = b"["
    for file, there in sources:
        if len(before) > READ:  # many files without content; to add to it takes the square
            yield before
            before = b""
        before += _head(file)
        if there:
            assert file.sha256 is not None, "a file without a digest is not there"
            for start in range(0, file.size, READ):
                content = b"".join(blobs.open(file.sha256, start, min(READ, file.size - start)))
                yield before + pybase64.b64encode(content)
                before = b""
        else:
            before += pybase64.b64encode(LOST)
        before += _TAIL
    yield before.removesuffix(b", ") + b"]}"


def encoded_size(sources: Sequence[Source]) -> int:
    """Return how many bytes :func:`encode_tree` yields."""
    size = len(b"[]}") - (len(b", ") if sources else 0)
    for file, there in sources:
        content = file.size if there else len(LOST)
        size += len(_head(file)) + (content + 2) // 3 * 4 + len(_TAIL)
    return size


_TAIL = b'"}, '


def _head(file: StoredFile) -> bytes:
    return b'{"path": %s, "checksum": "%s", "content": "' % (
        json.dumps(file.path).encode(),
        file.md5.hex().encode(),
    )


def _locate(blobs: BlobStore, files: Sequence[StoredFile]) -> list[Source]:
    """Look which files have their bytes, so that the others can be read; log those without."""
    return [(file, _is_there(blobs, file)) for file in files]


def _is_there(blobs: BlobStore, file: StoredFile) -> bool:
    if file.sha256 is None:  # lost before ngshare 1.0 adopted the site
        return False
    try:
        size = blobs.size(file.sha256)
    except BlobMissing:
        size = None
    if size == file.size:
        return True
    log.error(
        "The bytes of %s (SHA-256 %s) are %s the storage. "
        "Restore them from a backup; ngshare storage check finds what else there is.",
        file.path,
        file.sha256.hex(),
        "missing from" if size is None else "damaged in",
    )
    return False
