"""Receive trees as one tar stream, and what is missing of it file by file."""

from __future__ import annotations

import json
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

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

BROKEN = (tarfile.TarError, HTTPError, RequestException, EOFError, OSError, zlib.error)
"""What reading a stream raises that was cut off or damaged."""


@dataclass(frozen=True, slots=True)
class ArchivedTree:
    """A tree of an archive: the folder in it, whose it is, and its files."""

    folder: str
    student: str | None
    timestamp: str | None
    files: list[ManifestFile]


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
        response.raw.decode_content = True
        try:
            with tarfile.open(fileobj=response.raw, mode="r|", bufsize=READ_SIZE) as archive:
                members = iter(archive)
                trees = _read_index(archive, next(members, None))
                with Progress("Receiving", sum(f.size for t in trees for f in t.files)) as progress:
                    for tree in trees:
                        with writer_for(tree) as writer:
                            for file in tree.files:
                                member = next(members, None)
                                _check_member(member, tree, file)
                                assert member is not None
                                content = archive.extractfile(member)
                                assert content is not None, "a regular file"
                                writer.write(file.path, _read(content, progress), file.sha256)
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
    )


def _check_member(member: tarfile.TarInfo | None, tree: ArchivedTree, file: ManifestFile) -> None:
    if member is None:
        raise Interrupted("The connection to the exchange broke; try again")
    name = f"{tree.folder}/{file.path}" if tree.folder else file.path
    if not member.isreg() or member.name != name or member.size != file.size:
        raise ServiceError(f"The exchange sent {member.name!r} instead of {name!r}")


def _read(content: IO[bytes], progress: Progress) -> Iterator[bytes]:
    while piece := content.read(READ_SIZE):
        progress.add(len(piece))
        yield piece


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
        "GET", "archive", *kind, params=params, headers={"Accept-Encoding": "gzip"}
    )
    single = TreeWriter(destination)
    timestamp = None
    with single:
        try:
            # The writer is entered here, so that it survives an interruption.
            for tree, _ in receive_archive(response, lambda _: single.shared()):
                timestamp = tree.timestamp
        except Interrupted:
            manifest = connection.request_json("GET", "manifest", *kind, params=params)
            timestamp = manifest.get("timestamp")
            present = {file.path for file in single.files}
            for file in parse_manifest(manifest["files"]):
                if file.path not in present:
                    pieces = fetch_file(connection, kind, params, file)
                    single.write(file.path, pieces, file.sha256)
        finished = single.finish()
    return Manifest(finished.digest, finished.files, timestamp)


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
        try:
            with response:
                for piece in response.iter_content(READ_SIZE):
                    received += len(piece)
                    failures = 0
                    yield piece
        except BROKEN as error:
            failures += 1
            if failures > 5:
                raise Interrupted("The connection to the exchange broke; try again") from error
