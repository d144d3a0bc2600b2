"""Receive trees as one tar stream, and what is missing of it file by file."""

from __future__ import annotations

import contextlib
import json
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from requests import RequestException, Response
from urllib3.exceptions import HTTPError

from ngshare.errors import BadRequest
from ngshare.exchange.connection import Connection
from ngshare.exchange.downloads import Manifest, TreeWriter
from ngshare.exchange.progress import Progress
from ngshare.exchange.service_error import ServiceError
from ngshare.protocol.manifests import ManifestFile, parse_manifest

READ_SIZE = 2**18
"""The bytes that are read at once."""

MAX_INDEX = 2**28
"""The largest index of an archive, in bytes."""

MAX_FAILURES = 5
"""How often in a row the content of a file may break off before its first byte."""

BROKEN = (tarfile.TarError, HTTPError, RequestException, EOFError, OSError, zlib.error)
"""What reading a stream raises that was cut off or damaged."""


@dataclass(frozen=True, slots=True)
class ArchivedTree:
    """A tree of an archive: the folder in it, whose it is, and its files.

    lost: the paths of files whose contents the service has lost; a notice replaces them.
    """

    folder: str
    student: str | None
    timestamp: str | None
    files: list[ManifestFile]
    lost: Sequence[str] = ()


class Interrupted(ServiceError):
    """An archive ended too early; what arrived before is complete."""


def receive_archive(
    response: Response, writer_for: Callable[[ArchivedTree], AbstractContextManager[TreeWriter]]
) -> Iterator[tuple[ArchivedTree, TreeWriter]]:
    """Yield the trees of an archive, each in its writer, complete and verified.

    writer_for: returns the writer of a tree, in whose context the tree is yielded.
    Raises Interrupted, and what :meth:`TreeWriter.write` raises.
    """
    with response:
        content = cast(IO[bytes], _Content(response))
        try:
            with tarfile.open(fileobj=content, mode="r|", bufsize=READ_SIZE) as archive:
                trees = _read_index(archive, archive.next())
                with Progress("Receiving", sum(f.size for t in trees for f in t.files)) as progress:
                    for tree in trees:
                        with writer_for(tree) as writer:
                            for file in tree.files:
                                pieces = _read(_open_member(archive, tree, file), progress)
                                writer.write(file.path, pieces, file.sha256)
                            yield tree, writer
        except BROKEN as error:
            raise Interrupted("The connection to the exchange broke; try again") from error


def _read_index(archive: tarfile.TarFile, member: tarfile.TarInfo | None) -> list[ArchivedTree]:
    """Return the trees that the first member of an archive lists."""
    if member is None or member.name != "manifest.json" or not 0 < member.size <= MAX_INDEX:
        raise Interrupted("The exchange sent an archive without its index; try again")
    content = archive.extractfile(member)
    assert content is not None, "a regular file"
    try:
        return [_parse_tree(entry) for entry in json.loads(content.read())]
    except (BadRequest, ValueError, KeyError, TypeError) as error:
        raise ServiceError("The exchange sent an archive whose index makes no sense") from error


def _parse_tree(entry: Mapping[str, Any]) -> ArchivedTree:
    return ArchivedTree(
        str(entry["folder"]),
        entry.get("student_id"),
        entry.get("timestamp"),
        parse_manifest(entry["files"]),
        tuple(map(str, entry.get("lost", ()))),
    )


def _open_member(archive: tarfile.TarFile, tree: ArchivedTree, file: ManifestFile) -> IO[bytes]:
    """Return the content of the next member, which must be ``file``."""
    member = archive.next()
    if member is None:
        raise Interrupted("The connection to the exchange broke; try again")
    archive.members = []  # type: ignore[attr-defined]  # the archive would remember all members
    name = f"{tree.folder}/{file.path}" if tree.folder else file.path
    if not member.isreg() or member.name != name or member.size != file.size:
        raise ServiceError(f"The exchange sent {member.name!r} instead of {name!r}")
    content = archive.extractfile(member)
    assert content is not None, "a regular file"
    return content


class _Content:
    """The content of a reply as a file: gzip is decompressed by pieces of bounded size.

    The HTTP client would decompress as a whole what it has read.
    """

    def __init__(self, response: Response) -> None:
        self._raw = response.raw
        compressed = response.headers.get("Content-Encoding") == "gzip"
        self._decompressor = zlib.decompressobj(wbits=31) if compressed else None

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes; none at the end. Raises one of :data:`BROKEN`."""
        if self._decompressor is None:
            return self._raw.read(size, decode_content=False)
        while not self._decompressor.eof:
            packed = self._decompressor.unconsumed_tail
            packed = packed or self._raw.read(READ_SIZE, decode_content=False)
            if content := self._decompressor.decompress(packed, size):
                return content
            if not packed:
                raise EOFError("The compressed reply was cut off")
        return b""


def _read(content: IO[bytes], progress: Progress) -> Iterator[bytes]:
    while piece := content.read(READ_SIZE):
        progress.add(len(piece))
        yield piece


def archive_headers(connection: Connection) -> dict[str, str]:
    """Return the header that tells whether archives may be compressed.

    Between a user's server and its Hub the network is fast: there gzip makes an archive two to
    five times slower. Without a Hub, the user may be far from the service.
    """
    encoding = "identity" if connection.address.token else "gzip"
    return {"Accept-Encoding": encoding}


def fetch_tree(
    connection: Connection,
    destination: Path,
    kind: tuple[str, ...],
    params: Mapping[str, str],
) -> Manifest:
    """Download one tree to ``destination``, which must not exist.

    kind: the path of the tree below ``archive`` and ``content``. When the stream breaks, the files
    that are missing are requested one by one, from where they broke off.
    """
    response = connection.request(
        "GET", "archive", *kind, params=params, headers=archive_headers(connection)
    )
    # The writer is entered once, so that it survives an interruption.
    with TreeWriter(destination) as writer:
        timestamp = None
        try:
            for tree, _ in receive_archive(response, lambda _: writer.shared()):
                timestamp = tree.timestamp
                if tree.lost:
                    raise ServiceError(
                        f"The exchange has lost the content of {', '.join(tree.lost)}; ask your "
                        "administrator to restore it from a backup"
                    )
        except Interrupted:
            timestamp = _fetch_missing(connection, kind, params, writer)
        manifest = writer.finish()
    return Manifest(manifest.digest, manifest.files, timestamp)


def _fetch_missing(
    connection: Connection, kind: tuple[str, ...], params: Mapping[str, str], writer: TreeWriter
) -> str | None:
    """Download what a writer lacks of a tree, file by file; return the time of the submission."""
    manifest = connection.request_json("GET", "manifest", *kind, params=params)
    files, timestamp = parse_manifest(manifest["files"]), manifest.get("timestamp")
    received = {file.path: file for file in writer.files}
    if not received.items() <= {file.path: file for file in files}.items():
        raise Interrupted("The files changed while they were received; try again")
    if timestamp is not None:
        params = {**params, "timestamp": timestamp}
    for file in files:
        if file.path not in received:
            writer.write(file.path, fetch_file(connection, kind, params, file), file.sha256)
    return timestamp


def fetch_file(
    connection: Connection,
    kind: tuple[str, ...],
    params: Mapping[str, str],
    file: ManifestFile,
) -> Iterator[bytes]:
    """Yield the content of one file; a broken connection is resumed where it broke off."""
    received, failures = 0, 0
    while received < file.size:
        headers = {"Accept-Encoding": "identity"}
        if received:
            headers["Range"] = f"bytes={received}-"
            headers["If-Range"] = f'"{file.sha256.hex()}"'
        response = connection.request(
            "GET",
            *("content", *kind),
            params={**params, "path": file.path},
            headers=headers,
            accept=(200, 206),
        )
        if received and response.status_code != 206:
            response.close()
            raise ServiceError(f"The file {file.path} changed while it was received; try again")
        failures += 1
        with response, contextlib.suppress(*BROKEN):
            for piece in response.iter_content(READ_SIZE):
                received += len(piece)
                failures = 0
                yield piece
        if received < file.size and failures > MAX_FAILURES:
            raise Interrupted("The connection to the exchange broke; try again")
