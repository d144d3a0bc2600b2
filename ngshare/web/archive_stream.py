"""Build a tar archive of trees as a stream, whose first member is an index of all files.

Memory is bounded by the largest tree: rows of files are read in batches, twice. The first time
they go to the index, a temporary file, whose size is in the header of the archive's first member.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from ngshare.actions import audit
from ngshare.actions.stored_trees import TreeSummary
from ngshare.blobs import BlobMissing, BlobStore
from ngshare.errors import OutOfSpace
from ngshare.protocol.manifests import ManifestFile, format_manifest
from ngshare.protocol.portable_paths import PortablePaths
from ngshare.protocol.times import format_time
from ngshare.protocol.trees import StoredFile
from ngshare.web.downloads import LOST, PIECE, check_blobs, read_file

INDEX = "manifest.json"
"""The name of the archive's first member."""

BATCH_FILES = 5000
"""The most files whose rows are in memory at once, except those of one tree that has more."""

BATCH_TREES = 500
"""The most trees whose rows are read at once."""

MAX_IN_MEMORY = 2**20
"""The largest index, in bytes, that is in memory."""

READ_AHEAD = 2**20
"""The bytes of an archive after which a piece is sent even if they were compressed to less."""

COMPRESSIBLE = re.compile(
    r"(?i)\.(c|cc|cfg|cpp|css|csv|geojson|h|hpp|html?|ini|ipynb|java|jl|js|json|jsonl|log|md|py|qmd"
    r"|r|rmd|rst|scala|sh|sql|svg|tex|toml|ts|tsv|txt|xml|ya?ml)$"
)
"""The names of files with text, which gzip makes much smaller. Others cost time and gain little."""

END = bytes(2 * tarfile.BLOCKSIZE)
"""The end of an archive."""


class Compressor(Protocol):
    """A compressor of zlib."""

    def compress(self, data: bytes, /) -> bytes:
        """Return compressed bytes, of this data or of data before it."""
        ...

    def flush(self) -> bytes:
        """Return the end of the compressed bytes."""
        ...


@dataclass(frozen=True, slots=True)
class ArchivedTree:
    """A tree with its folder in the archive."""

    tree: TreeSummary
    folder: str


Files = Mapping[int, Sequence[StoredFile]]
"""The files of trees, by the id of the tree."""


def split_batches(trees: Sequence[TreeSummary]) -> Iterator[list[TreeSummary]]:
    """Yield consecutive trees in batches whose rows fit into memory."""
    batch: list[TreeSummary] = []
    files = 0
    for tree in trees:
        if batch and (len(batch) == BATCH_TREES or files + tree.file_count > BATCH_FILES):
            yield batch
            batch, files = [], 0
        batch.append(tree)
        files += tree.file_count
    if batch:
        yield batch


class ArchiveIndex:
    """The index of an archive, in memory if it is small, else in a temporary file. Close it.

    It chooses the folders: one is named after student and time, for a release after the
    assignment, so that every system can unpack it. ``size`` is the size of the index in bytes.
    ``lost`` has the paths of files whose contents are missing, by folder. ``compressible`` and
    ``total`` are the bytes of the files that gzip makes much smaller, and of all.
    """

    def __init__(self, blobs: BlobStore, assignment: str, folder: Path | None) -> None:
        self.size = self.compressible = self.total = 0
        self.lost: dict[str, frozenset[str]] = {}
        self._blobs = blobs
        self._assignment = assignment
        self._paths = PortablePaths()
        self._paths.reserve(INDEX)
        where = None if folder is None else str(folder)
        self._file = tempfile.SpooledTemporaryFile(MAX_IN_MEMORY, dir=where)  # noqa: SIM115
        self._separator = b"["

    def close(self) -> None:
        """Remove the file."""
        self._file.close()

    def add(self, trees: Sequence[TreeSummary], files: Files) -> list[ArchivedTree]:
        """Append trees, and return them with their folders. Blocks.

        Checks that the blobs of their files exist. Raises OutOfSpace.
        """
        archived = [ArchivedTree(tree, self._choose_folder(tree)) for tree in trees]
        for each in archived:
            tree = each.tree
            sources = check_blobs(self._blobs, files.get(tree.id, ()))
            if lost := frozenset(file.path for file, present in sources if not present):
                self.lost[each.folder] = lost
            entry: dict[str, Any] = {
                "folder": each.folder,
                "student_id": tree.student,
                "timestamp": tree.submitted_at and format_time(tree.submitted_at),
                "digest": tree.digest.hex(),
                "files": format_manifest(_describe(file, present) for file, present in sources),
            }
            if lost:
                entry["lost"] = sorted(lost)
            self._write(self._separator + json.dumps(entry).encode())
            self._separator = b",\n"
            for file, _ in sources:
                self.total += file.size
                if COMPRESSIBLE.search(file.path):
                    self.compressible += file.size
        return archived

    def encode(self) -> Iterator[bytes]:
        """Yield the first member of the archive. Nothing can be added any more. Blocks."""
        self._write(b"[]\n" if self._separator == b"[" else b"]\n")
        yield _header(INDEX, self.size, None)
        self._file.seek(0)
        while piece := self._file.read(PIECE):
            yield piece
        yield _padding(self.size)

    def _choose_folder(self, tree: TreeSummary) -> str:
        if tree.student is None or tree.submitted_at is None:
            return self._paths.path(self._assignment)
        return self._paths.path(f"{tree.student}/{tree.submitted_at:%Y-%m-%dT%H-%M-%S.%fZ}")

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise OutOfSpace(
                    "The exchange's disk has no room to prepare this archive"
                ) from None
            raise
        self.size += len(data)


def encode_trees(
    blobs: BlobStore,
    trees: Sequence[ArchivedTree],
    files: Files,
    index: ArchiveIndex,
    done: list[ArchivedTree],
) -> Iterator[bytes]:
    """Yield the members of the archive for these trees, as the index describes them. Blocks.

    done: each tree is appended to it when it is encoded.
    Raises Unavailable, and BlobMissing when a file that was there for the index is not any more.
    """
    for each in trees:
        of_tree = files.get(each.tree.id, ())
        if len(of_tree) != each.tree.file_count:
            raise BlobMissing(each.tree.digest)  # the tree was purged since
        lost = index.lost.get(each.folder, frozenset())
        for file in of_tree:
            name, modified = f"{each.folder}/{file.path}", each.tree.submitted_at
            if file.path in lost:
                yield _header(name, len(LOST), modified) + LOST + _padding(len(LOST))
            else:
                yield _header(name, file.size, modified)
                yield from read_file(blobs, file, 0, file.size)
                yield _padding(file.size)
        done.append(each)


def collect_pieces(
    pieces: Iterable[bytes], compressor: Compressor | None, *, last: bool
) -> Iterator[bytes]:
    """Yield the bytes of small pieces in larger ones, compressed if there is a compressor. Blocks.

    last: nothing follows. Otherwise bytes may be left in the compressor.
    """
    collected: list[bytes] = []
    taken = size = 0
    for piece in pieces:
        taken += len(piece)
        part = piece if compressor is None else compressor.compress(piece)
        collected.append(part)
        size += len(part)
        if size >= PIECE or taken >= READ_AHEAD:
            yield b"".join(collected)
            collected, taken, size = [], 0, 0
    if last and compressor is not None:
        collected.append(compressor.flush())
    if any(collected):
        yield b"".join(collected)


def _describe(file: StoredFile, present: bool) -> ManifestFile:
    """Return a file as the archive contains it: of one that is lost, the text that says so."""
    if not present or file.sha256 is None:
        return ManifestFile(file.path, hashlib.sha256(LOST).digest(), len(LOST))
    return ManifestFile(file.path, file.sha256, file.size)


def _header(name: str, size: int, modified: datetime | None) -> bytes:
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = 0o644
    member.mtime = int((modified or audit.now()).timestamp())
    return member.tobuf(tarfile.PAX_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)
