"""Parse the directory tree that a request uploads, and store its files as blobs, one by one."""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec
import pybase64

from ngshare.actions import quota
from ngshare.actions.access import Caller
from ngshare.blobs import BlobStore, BlobUpload
from ngshare.db.transactions import Action
from ngshare.errors import BadRequest, TooLarge
from ngshare.protocol.trees import StoredFile, check_distinct_paths, check_path
from ngshare.web.bodies.json_stream import take_contents
from ngshare.web.bodies.json_text import check_json_values, decode_json
from ngshare.web.bodies.long_values import TREE_FIELD, LongValue
from ngshare.web.bodies.receive import ApiHandler

P = ParamSpec("P")
T = TypeVar("T")

BAD_JSON = "Files cannot be JSON decoded"
NO_LIST = "Files must be a JSON list"

_WITHOUT_BLANKS = str.maketrans("", "", "\r\n\t ")


class BadContent(BadRequest):
    """The content of a file is not base64."""

    def __init__(self) -> None:
        super().__init__("Content cannot be base64 decoded")


@dataclass(frozen=True, slots=True)
class WrittenContent:
    """The content of a file, written as a blob: its digest (SHA-256), checksum, size in bytes."""

    digest: bytes
    md5: bytes
    size: int


class UploadHandler(ApiHandler):
    """Store the directory tree in the field ``files`` of a request."""

    _reserved = 0
    """Bytes of the course's quota that this upload has reserved."""

    async def store_files(self) -> list[StoredFile]:
        """Store the request's ``files`` durably, and return the rows to write.

        Raises BadRequest for an invalid tree, TooLarge for too many files, and OverQuota before
        a byte is stored that exceeds the quota of the course.
        """
        service = self.service
        files = self._fields.pop("files", None)
        reserve = await self._open_reservation()
        slot = (
            service.parsing_slot
            if isinstance(files, LongValue)
            else service.file_slots.of(self._name)
        )
        async with slot:
            return await service.in_file_thread(
                store_tree, service.blobs, files, service.max_files, reserve
            )

    async def reserve_quota(self, size: int) -> None:
        """Reserve ``size`` bytes of the course's quota. Raises OverQuota."""
        reserve = await self._open_reservation()
        reserve(size)

    async def _open_reservation(self) -> Callable[[int], None]:
        """Return a function that reserves bytes of the course's quota, and raises OverQuota."""
        service, course = self.service, self.path_args[0]
        limit = service.max_course_bytes
        used = 0
        if limit is not None:
            used = await self.run_read(quota.require_quota_left, course, limit)

        def reserve(size: int) -> None:
            if limit is not None:
                service.reservations.reserve(course, size, used, limit)
                self._reserved += size

        return reserve

    async def write_rows(self, action: Action[Concatenate[Caller, str, P], T], *args: Any) -> T:
        """Run an action that writes the rows of the stored files, within the course's quota."""
        self._release_quota()  # from here on the transaction counts them
        return await self.run_write(
            quota.enforce_quota(self.service.max_course_bytes, action), *args
        )

    def _release_quota(self) -> None:
        if self._reserved:
            self.service.reservations.release(self.path_args[0], self._reserved)
            self._reserved = 0

    def on_finish(self) -> None:
        self._release_quota()
        super().on_finish()


def store_tree(
    blobs: BlobStore, files: object, max_files: int, reserve: Callable[[int], None]
) -> list[StoredFile]:
    """Store the files of a tree durably, all or none. Blocks.

    files: the field of the request.
    max_files: the most files of the tree.
    reserve: is called with the size of each file or piece of a file before it is written; an
        exception that it raises ends the upload.
    """
    with blobs.upload() as upload:
        writer = TreeWriter(upload, reserve, max_files)
        # Checks the whole tree before a file is written, except for the long contents of a tree
        # that is in a file: they are written as they are read.
        tree = read_tree(files, writer.add_text)
        if len(tree) > max_files:
            raise TooLarge(f"There are {len(tree)} files; this service accepts {max_files} at once")
        stored = [writer.add(path, content) for path, content in tree]
        upload.commit()
    return stored


class TreeWriter:
    """Writes the files of a tree into an upload, with the checksum that clients compare."""

    def __init__(self, upload: BlobUpload, reserve: Callable[[int], None], max_files: int) -> None:
        self._upload = upload
        self._reserve = reserve
        self._max_files = max_files
        self._texts = 0

    def add(self, path: str, content: bytes | WrittenContent) -> StoredFile:
        """Return the file with this content, which is written unless it was already."""
        if isinstance(content, bytes):
            self._reserve(len(content))
            content = self._write((content,))
        return StoredFile(path, content.digest, content.md5, content.size)

    def add_text(self, text: Iterator[str]) -> WrittenContent | None:
        """Decode base64 text and write the content; return None when the text is not base64.

        It raises no error then, because the text may be in a field of the JSON that is ignored.
        """
        self._texts += 1
        if self._texts > self._max_files:  # each is a file that is written and synced
            raise TooLarge(
                f"There are more than {self._max_files} files; this service accepts as many at once"
            )
        try:
            return self._write(self._reserving(decode_pieces(text)))
        except BadContent:
            return None

    def _reserving(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self._reserve(len(piece))
            yield piece

    def _write(self, pieces: Iterable[bytes]) -> WrittenContent:
        checksum = hashlib.md5(usedforsecurity=False)

        def hashed() -> Iterator[bytes]:
            for piece in pieces:
                checksum.update(piece)
                yield piece

        blob = self._upload.add(hashed())
        return WrittenContent(blob.digest, checksum.digest(), blob.size)


def decode_entries(files: object) -> list[object]:
    """Return the field ``files`` as a list, decoded if it is JSON text. Raises BadRequest."""
    if files is None:
        raise BadRequest("Please supply files")
    if isinstance(files, (str, bytes)):
        check_json_values(files)
        try:
            files = msgspec.json.decode(files)
        except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
            raise BadRequest(BAD_JSON) from None
    if not isinstance(files, list):
        raise BadRequest(NO_LIST)
    return files


def read_tree(
    files: object, add_text: Callable[[Iterator[str]], T | None]
) -> list[tuple[str, bytes | T]]:
    """Return the path and the content of each file in a request's field ``files``.

    files: a list, its JSON text, or a LongValue for a tree that is in a file.
    add_text: is called with each long content of a LongValue, as base64 in pieces. Its result
        takes the place of the content; None means that the text is not base64.

    Raises BadRequest; the contract fixes some of the messages.
    """
    contents: dict[str, T | None] = {}
    if isinstance(files, LongValue):
        rest, contents = take_contents(files.pieces(), add_text, BAD_JSON)
        files = decode_json(rest, BAD_JSON)[TREE_FIELD] if files.in_body else rest
    tree: list[tuple[str, bytes | T]] = []
    for path, text in check_entries(decode_entries(files)):
        content = contents[text] if text in contents else decode_content(text)
        if content is None:
            raise BadContent
        tree.append((path, content))
    return tree


def check_entries(entries: Iterable[object]) -> list[tuple[str, str]]:
    """Return the path and the encoded content of each entry of a tree.

    Raises BadRequest; the contract fixes some of the messages.
    """
    checked = [_check_entry(index, entry) for index, entry in enumerate(entries)]
    for path, _ in checked:
        check_path(path)
    check_distinct_paths([path for path, _ in checked])
    return checked


def _check_entry(index: int, entry: object) -> tuple[str, str]:
    if not isinstance(entry, dict):
        raise BadRequest(f"Files must be a list of objects: entry {index} is not one")
    for key in ("path", "content"):
        if key not in entry:
            raise BadRequest(f"Files entry {index} has no {key}")
        if not isinstance(entry[key], str):
            raise BadRequest(f"Files entry {index}: {key} must be a string")
    return entry["path"], entry["content"]


def decode_content(text: str) -> bytes:
    """Decode base64 text. Raises BadContent when it is not base64."""
    return b"".join(decode_pieces(iter((text,))))


def decode_pieces(texts: Iterator[str]) -> Iterator[bytes]:
    """Decode base64 text in pieces. Raises BadContent when it is not base64.

    Blanks and line breaks may be anywhere in it: today's clients use ``encodebytes``, which breaks
    lines.
    """
    rest, padded = "", False
    try:
        for text in texts:
            if not text.isascii():  # checked first: a search for blanks would be slow
                raise BadContent
            text = rest + text.replace("\n", "")
            if any(blank in text for blank in "\r\t "):
                text = text.translate(_WITHOUT_BLANKS)
            if padded and text:
                raise BadContent
            whole = len(text) // 4 * 4
            rest = text[whole:]
            padded = padded or text[:whole].endswith("=")
            yield pybase64.b64decode(text[:whole], validate=True)
    except (binascii.Error, ValueError):
        raise BadContent from None
    if rest:
        raise BadContent
