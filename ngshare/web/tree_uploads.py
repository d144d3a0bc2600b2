"""Receive trees of which only some files are sent, and store those as blobs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, Concatenate, ParamSpec, TypeVar

from ngshare.actions import uploads
from ngshare.actions.access import Caller
from ngshare.actions.presence import Present, PresentContent
from ngshare.blobs import BlobDamaged, BlobMissing, BlobStore
from ngshare.db.transactions import Action
from ngshare.errors import BadRequest, Conflict, TooLarge
from ngshare.protocol.manifests import ManifestFile
from ngshare.protocol.trees import StoredFile
from ngshare.web.base import INLINE
from ngshare.web.bodies.tree_body import (
    TreeBody,
    read_content,
    read_manifest,
    require_end,
    require_manifest,
)
from ngshare.web.uploads import UploadHandler

P = ParamSpec("P")
T = TypeVar("T")


class FilesMissing(Conflict):
    """The service lacks files that the request did not contain; ``digests`` has their SHA-256."""

    def __init__(self, digests: list[bytes]) -> None:
        super().__init__("The exchange lacks files of this tree; send them, too")
        self.digests = digests


class TreeUploadHandler(UploadHandler):
    """Receive a body as :mod:`ngshare.web.bodies.tree_body` describes it."""

    _used_uploads: Sequence[bytes] = ()
    """The digests of files that the caller uploaded before."""

    async def parse_body_fields(self) -> dict[str, Any]:
        """Return no fields, because the body has none."""
        return {}

    async def store_sent_files(
        self,
        authorize: Action[..., Any],
        find_present: Action[..., Present],
        *args: Any,
    ) -> tuple[list[StoredFile], int]:
        """Store the sent files durably; return the rows to write, and the number of sent files.

        authorize, find_present: actions with the same ``args``; the second one takes the digests
            of the other files as well.

        Raises what these raise, BadRequest for a malformed body, TooLarge, OverQuota, and
        FilesMissing; in each case, nothing is stored.
        """
        service = self.service
        try:
            body = self.open_body()
            manifest = None if self.body_in_file else read_manifest(body, INLINE)
            if manifest is None:  # it takes long to read or to parse
                async with service.parsing_slot:
                    manifest = await service.in_file_thread(require_manifest, body)
            self._check_limits(manifest)
        except (BadRequest, TooLarge):
            await self.run_read(authorize, *args)  # permission comes first
            raise
        present = await self.run_read(find_present, *args, manifest.digests())
        await self.reserve_quota(manifest.size)
        async with service.file_slots.of(self._name):
            files = await service.in_file_thread(
                store_files, service.blobs, body, manifest, present
            )
        self._used_uploads = [digest for digest, each in present.items() if each.uploaded]
        return files, len(manifest.sent)

    async def write_rows(self, action: Action[Concatenate[Caller, str, P], T], *args: Any) -> T:
        """Run an action that writes the rows of the tree, and forget the uploads that it has."""
        return await super().write_rows(uploads.forget_after(self._used_uploads, action), *args)

    def _check_limits(self, manifest: TreeBody) -> None:
        service = self.service
        if len(manifest.files) > service.max_files:
            raise TooLarge(
                f"There are {len(manifest.files)} files; this service accepts "
                f"{service.max_files} at once"
            )
        if manifest.size > service.max_tree:
            raise TooLarge(
                f"The files have {manifest.size // 2**20} MiB together, more than the "
                f"{service.max_tree // 2**20} MiB that this service accepts at once"
            )

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = (kwargs.get("exc_info") or (None, None))[1]
        if isinstance(error, FilesMissing):
            self.set_status(error.status)
            self.set_header("Content-Type", "application/json")
            missing = [digest.hex() for digest in error.digests]
            reply = {"success": False, "message": error.message, "missing": missing}
            self.finish(json.dumps(reply).encode())
        else:
            super().write_error(status_code, **kwargs)


def store_files(
    blobs: BlobStore, body: IO[bytes], manifest: TreeBody, present: Present
) -> list[StoredFile]:
    """Store the files that a body contains, all or none, and return the whole tree. Blocks.

    body: is read from after its manifest. present: the contents that are not sent.

    Raises BadRequest, FilesMissing, and what the blob store raises.
    """
    contents = dict(present)
    missing = [
        digest
        for digest in sorted(manifest.digests())
        if digest not in contents or not _is_stored(blobs, digest, contents[digest].size)
    ]
    if missing:
        raise FilesMissing(missing)
    if manifest.sent:
        with blobs.upload() as upload:
            for at in manifest.sent:
                file = manifest.files[at]
                checksum = hashlib.md5(usedforsecurity=False)
                try:
                    pieces = _hashing(read_content(body, file), checksum.update)
                    upload.add(pieces, digest=file.sha256)
                except BlobDamaged:
                    raise BadRequest(
                        f"The content of {file.path} has another SHA-256 than its manifest says"
                    ) from None
                contents[file.sha256] = PresentContent(checksum.digest(), file.size)
            require_end(body)
            upload.commit()
    else:
        require_end(body)
    return [_stored_file(file, contents[file.sha256]) for file in manifest.files]


def _hashing(pieces: Iterator[bytes], update: Callable[[bytes], None]) -> Iterator[bytes]:
    for piece in pieces:
        update(piece)
        yield piece


def _stored_file(file: ManifestFile, content: PresentContent) -> StoredFile:
    if content.size != file.size:
        raise BadRequest(f"The size of {file.path} in the manifest is not that of its content")
    return StoredFile(file.path, file.sha256, content.md5, content.size)


def _is_stored(blobs: BlobStore, digest: bytes, size: int) -> bool:
    """Return whether the store has a blob of this size. A lost one is asked of the client."""
    try:
        return blobs.size(digest) == size
    except BlobMissing:
        return False
