"""Handlers that receive files in parts, and that list the files of a tree that are missing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from ngshare.actions import presence, uploads
from ngshare.actions.uploads import Part, UploadLimits
from ngshare.blobs import BlobDamaged, BlobMissing, BlobStore
from ngshare.errors import BadRequest, Conflict, TooLarge
from ngshare.protocol.manifests import PART_SIZE, parse_digest, parse_manifest
from ngshare.web.api.lists import ListHandler
from ngshare.web.bodies.json_text import decode_json
from ngshare.web.bodies.receive import ApiHandler
from ngshare.web.bodies.tree_body import read_all
from ngshare.web.route_access import Audience, allow


class MissingFiles(ApiHandler):
    """List the files of a manifest that the service lacks for the caller."""

    @allow(Audience.MEMBER)
    async def post(self, course: str, assignment: str) -> None:
        await self.run_read(presence.find_in_course, course, assignment, ())  # permission first
        files = self.value("files")
        if isinstance(files, str):
            files = decode_json(files, "Files cannot be JSON decoded")
        manifest = await self.service.in_file_thread(parse_manifest, files)
        digests = {file.sha256 for file in manifest}
        present = await self.run_read(presence.find_in_course, course, assignment, digests)
        missing = digests - present.keys()
        received = await self.run_read(uploads.count_received, course, missing)
        self.reply(
            missing=sorted(digest.hex() for digest in missing),
            received={digest.hex(): size for digest, size in received.items()},
        )


class FilePart(ListHandler):
    """Take a part of a file of the caller's."""

    async def parse_body_fields(self) -> dict[str, Any]:
        """Return no fields, because the body is the part."""
        return {}

    @allow(Audience.MEMBER)
    async def put(self, course: str, digest: str) -> None:
        service = self.service
        await self.run_read(presence.find_in_course, course, "", ())  # permission first
        sha256, size = parse_digest(digest), self.number("size") or 0
        start = 0 if self.field("start") in (None, "0") else self.number("start") or 0
        if size > service.max_tree:
            raise TooLarge(
                f"The file is larger than {service.max_tree // 2**20} MiB, the most that this "
                "service accepts at once"
            )
        limits = UploadLimits(service.max_tree, service.max_course_bytes)
        await self.run_read(uploads.authorize_part, course, sha256, size, limits)
        body = self.open_body()
        async with service.file_slots.of(self._name):
            content = await service.in_file_thread(read_all, body, PART_SIZE)
            if not content or start + len(content) > size:
                raise BadRequest("A part should have bytes, and end within the size of the file")
            # Before the part is stored: one that is not recorded would take space uncounted.
            received = await self.run_read(uploads.find_received, course, sha256)
            if received is not None and start > received:
                raise Conflict(f"Send the part that begins with byte {received}")
            if received is None and start > 0:  # complete
                self.reply(received=size)
                return
            if received is not None and start + len(content) <= received < size:
                self.reply(received=received)
                return
            (stored,) = await service.in_file_thread(service.blobs.put, [content])
        part = Part(start, stored, len(content))
        state = await self.run_write(uploads.add_part, course, sha256, size, part, limits)
        if state.parts is not None:
            await self._assemble(state.id, sha256, state.parts)
        self.reply(received=state.received)

    async def _assemble(self, upload_id: int, sha256: bytes, parts: Sequence[Part]) -> None:
        """Store the whole file. Raises BadRequest if its digest differs, and forgets the parts."""
        service = self.service
        try:
            async with service.file_slots.of(self._name):
                md5 = await service.in_file_thread(assemble, service.blobs, sha256, parts)
        except BlobDamaged:
            await self.run_write(uploads.forget_upload, upload_id, sha256)
            raise BadRequest(
                "The parts have another SHA-256 than the file; send them again"
            ) from None
        except BlobMissing:
            await self.run_write(uploads.forget_upload, upload_id, sha256)
            raise Conflict("A part of the file was lost; send the file again") from None
        await self.run_write(uploads.complete_upload, upload_id, sha256, md5)


def assemble(blobs: BlobStore, sha256: bytes, parts: Sequence[Part]) -> bytes:
    """Store the blob that the parts make up, and return its MD5. Blocks.

    Raises BlobDamaged when it has another digest, BlobMissing when a part is not there.
    """
    checksum = hashlib.md5(usedforsecurity=False)

    def pieces() -> Iterator[bytes]:
        for part in parts:
            for piece in blobs.open(part.sha256):
                checksum.update(piece)
                yield piece

    with blobs.upload() as upload:
        upload.add(pieces(), digest=sha256)
        upload.commit()
    return checksum.digest()


routes = [
    (r"tree/missing/([^/]+)/([^/]+)", MissingFiles),
    (r"part/([^/]+)/([^/]+)", FilePart),
]
