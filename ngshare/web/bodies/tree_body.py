"""Parse the body of a tree: a line of JSON with its manifest, then the contents of files.

The manifest is ``{"files": [{"path", "sha256", "size", "sent"}, ...]}``. The contents of the files
with ``"sent": true`` follow the line break, in their order, with nothing between them.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO

from ngshare.errors import BadRequest, TooLarge
from ngshare.protocol.manifests import ManifestFile, parse_manifest
from ngshare.web.bodies.json_text import decode_json

MAX_MANIFEST = 2**25
"""The largest manifest, in bytes."""

READ_SIZE = 2**20
"""The bytes of a file that are read at once."""


@dataclass(frozen=True, slots=True)
class TreeBody:
    """The manifest of a body, and the indexes of the files that the body contains."""

    files: list[ManifestFile]
    sent: list[int]

    @property
    def size(self) -> int:
        """Return the size of the whole tree in bytes."""
        return sum(file.size for file in self.files)

    def digests(self) -> set[bytes]:
        """Return the digests of the files that the body does not contain."""
        sent = {self.files[at].sha256 for at in self.sent}
        return {file.sha256 for file in self.files} - sent


def read_manifest(body: IO[bytes], limit: int = MAX_MANIFEST) -> TreeBody | None:
    """Return the manifest at the start of a body; None if it is longer than ``limit`` bytes.

    Raises BadRequest when there is none, or it is malformed.
    """
    line = _read(lambda: body.readline(limit + 1))
    if len(line) > limit:
        return None
    if not line.endswith(b"\n"):
        raise BadRequest("The body should begin with a line of JSON: the manifest")
    manifest = decode_json(line, "The manifest cannot be JSON decoded")
    entries = manifest.get("files") if isinstance(manifest, dict) else None
    files = parse_manifest(entries)
    assert isinstance(entries, list), "parse_manifest checks it"
    return TreeBody(files, [at for at, entry in enumerate(entries) if entry.get("sent") is True])


def require_manifest(body: IO[bytes]) -> TreeBody:
    """Return the manifest at the start of a body. Raises BadRequest and TooLarge. Blocks."""
    body.seek(0)
    manifest = read_manifest(body)
    if manifest is None:
        raise TooLarge(f"The manifest is longer than {MAX_MANIFEST // 2**20} MiB")
    return manifest


def read_content(body: IO[bytes], file: ManifestFile) -> Iterator[bytes]:
    """Yield the content of the next file of a body in pieces. Raises BadRequest at a cut body."""
    left = file.size
    while left:
        piece = _read(lambda: body.read(min(left, READ_SIZE)))  # noqa: B023  # called at once
        if not piece:
            raise BadRequest("The body ends within a file; nothing was stored")
        left -= len(piece)
        yield piece


def read_all(body: IO[bytes], limit: int) -> bytes:
    """Return a body that is a part of a file. Raises TooLarge above ``limit`` bytes. Blocks."""
    content = _read(lambda: body.read(limit + 1))
    if len(content) > limit:
        raise TooLarge(f"A part of a file may have {limit} bytes")
    return content


def require_end(body: IO[bytes]) -> None:
    """Raise BadRequest unless the whole body was read."""
    if _read(lambda: body.read(1)):
        raise BadRequest("The body is longer than the files that it announces")


def _read(read: Callable[[], bytes]) -> bytes:
    """Return what ``read`` returns. Raises BadRequest for compressed data that is damaged."""
    try:
        return read()
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise BadRequest("The compressed body is damaged or cut off") from None
