"""Reply with a directory tree: encoded in memory if it is small, streamed if it is large."""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pybase64

from ngshare.actions import audit
from ngshare.actions.stored_trees import TreeKind
from ngshare.blobs import BlobMissing, BlobStore
from ngshare.errors import Unavailable
from ngshare.protocol import trees
from ngshare.protocol.trees import StoredFile
from ngshare.web.bodies.receive import ApiHandler

log = logging.getLogger("ngshare")

LOST = b"The content of this file is missing from the exchange's storage.\n"
"""The content that replaces that of a lost file in a reply."""

MAX_IN_MEMORY = 2**20
"""The largest tree, in bytes of its encoded form, that is encoded in memory as a whole."""

MAX_CACHED = 4 * 2**20
"""The same for a tree that a whole class fetches, which is cached."""

READ_SIZE = 3 * 2**14
"""The bytes of a file that are read and encoded at once, a multiple of three because of base64.

They stay in memory for as long as the client reads nothing.
"""

PIECE = 2**17
"""The bytes of a file that are read and sent at once as they are, in an archive or by itself."""

READ_EVENTS = {
    TreeKind.RELEASE: "assignment fetched",
    TreeKind.SUBMISSION: "submission collected",
    TreeKind.FEEDBACK: "feedback fetched",
}
"""The events of the audit log for the contents of trees that were sent."""

Source = tuple[StoredFile, bool]
"""A file, and True if the store has its blob, in the recorded size."""


class DownloadHandler(ApiHandler):
    """Reply with directory trees."""

    @property
    def accepts_gzip(self) -> bool:
        """Return whether the client accepts a reply that is compressed with gzip."""
        codings = self.request.headers.get("Accept-Encoding", "").lower().replace(" ", "")
        return any(
            coding == "gzip" and not re.fullmatch(r"q=0(\.0*)?", weight)
            for coding, _, weight in (each.partition(";") for each in codings.split(","))
        )

    async def reply_tree(
        self,
        event: str,
        files: Sequence[StoredFile],
        *,
        cached: bool = False,
        **fields: Any,
    ) -> None:
        """Reply with a tree, without its contents if the client asked for ``list_only``.

        event: the event of the audit log, for a tree that is not empty and sent with its contents.
        cached: cache the encoded tree, because the rest of the class will soon fetch it too.
        fields: further fields of the reply.
        """
        service = self.service
        if self.flag("list_only"):
            async with service.reply_slots.of(self.caller.name):
                listed = {"success": True, "files": trees.format_tree(files), **fields}
                await self.reply_large(json.dumps(listed).encode())
            return
        head = json.dumps({"success": True, **fields}).encode()[:-1] + b', "files": '
        size = sum(file.size * 4 // 3 + 200 for file in files)
        if size <= (MAX_CACHED if cached else MAX_IN_MEMORY):
            async with service.reply_slots.of(self.caller.name):
                tree = service.tree_cache.get(files) if cached else None
                if tree is None:
                    tree = await service.in_file_thread(self._encode, files, cached)
                self._set_headers(len(head) + len(tree))
                await self.send(head, tree)
        else:
            await self._stream(
                head, await service.in_file_thread(check_blobs, service.blobs, files)
            )
        if files and self._finished:
            _, _, *student = self.path_args
            self.log_read(event, student[0] if student else None, files=len(files), **fields)

    def _set_headers(self, length: int) -> None:
        self.set_header("Content-Type", "application/json")
        self.set_header("Content-Length", str(length))

    def _encode(self, files: Sequence[StoredFile], cached: bool) -> bytes:
        """Return a tree as JSON with the end of the reply; cache it if no file is lost. Blocks."""
        sources = check_blobs(self.service.blobs, files)
        # Whole files: each piece costs four system calls, after which threads wait for each other.
        encoded = b"".join(encode_tree(self.service.blobs, sources, 3 * MAX_CACHED))
        if cached and all(present for _, present in sources):
            self.service.tree_cache.put(files, encoded)
        return encoded

    async def _stream(self, head: bytes, sources: Sequence[Source]) -> None:
        """Send ``head`` and a tree in pieces, each of which is read when the client is ready."""
        pieces = encode_tree(self.service.blobs, sources)
        self._set_headers(len(head) + encoded_size(sources))
        with self.cut_off_when_missing():
            async with self.sending():
                piece: bytes | None = head
                while piece is not None:
                    await self.send_piece(piece)
                    piece = await self.service.in_file_thread(next, pieces, None)

    @contextlib.contextmanager
    def cut_off_when_missing(self) -> Iterator[None]:
        """Close the connection when a file cannot be read after the reply has begun.

        The client then knows that the reply is not complete.
        """
        try:
            yield
        except (BlobMissing, Unavailable):
            log.error(
                "Cut off %s %s: a file was there when the reply began, and is not any more",
                self.request.method,
                self.request.path,
            )
            self.close_connection()

    def log_read(self, event: str, student: str | None, **detail: Any) -> None:
        """Write an event of the audit log about the path's course and assignment."""
        course, assignment = self.path_args[:2]
        self.service.reads.add(
            audit.ReadEvent(
                audit.now(), self.caller.name, event, course, assignment, student, detail
            )
        )


def encode_tree(
    blobs: BlobStore, sources: Sequence[Source], read_size: int = READ_SIZE
) -> Iterator[bytes]:
    """Yield a tree with its contents as JSON, and the brace that ends the reply. Blocks.

    read_size: the bytes of a file that are read and encoded at once, a multiple of three.
    It uses no JSON encoder, which would scan the base64 text for characters to escape; there are
    none. Raises BlobMissing and Unavailable.
    """
    before = b"["
    for file, present in sources:
        if len(before) > READ_SIZE:  # of many empty files; appending to it takes quadratic time
            yield before
            before = b""
        before += _head(file)
        if present:
            assert file.sha256 is not None, "a file without a digest has no blob"
            for start in range(0, file.size, read_size):
                size = min(read_size, file.size - start)
                # In no variable, which would keep it in memory while a slow client reads.
                yield before + pybase64.b64encode(b"".join(blobs.open(file.sha256, start, size)))
                before = b""
        else:
            before += pybase64.b64encode(LOST)
        before += _TAIL
    yield before.removesuffix(b", ") + b"]}"


def read_file(blobs: BlobStore, file: StoredFile, start: int, end: int) -> Iterator[bytes]:
    """Yield the bytes of a file from ``start`` until before ``end``, in small pieces. Blocks.

    Raises BlobMissing, also when the blob is shorter than the row says, and Unavailable.
    """
    assert file.sha256 is not None, "a file without a digest has no blob"
    for position in range(start, end, PIECE):
        size = min(PIECE, end - position)
        piece = b"".join(blobs.open(file.sha256, position, size))
        if len(piece) != size:
            raise BlobMissing(file.sha256)
        yield piece


def encoded_size(sources: Sequence[Source]) -> int:
    """Return the number of bytes that :func:`encode_tree` yields."""
    size = len(b"[]}") - (len(b", ") if sources else 0)
    for file, present in sources:
        content = file.size if present else len(LOST)
        size += len(_head(file)) + (content + 2) // 3 * 4 + len(_TAIL)
    return size


_TAIL = b'"}, '


def _head(file: StoredFile) -> bytes:
    """Return the JSON object of a file up to its content."""
    return b'{"path": %s, "checksum": "%s", "content": "' % (
        json.dumps(file.path).encode(),
        file.md5.hex().encode(),
    )


def check_blobs(blobs: BlobStore, files: Sequence[StoredFile]) -> list[Source]:
    """Return the files, each with True if the store has its blob; log the others."""
    return [(file, has_blob(blobs, file)) for file in files]


def has_blob(blobs: BlobStore, file: StoredFile) -> bool:
    """Return whether the store has a file's blob, in the recorded size; log an error if not."""
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
