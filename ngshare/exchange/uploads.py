"""Send a tree: only the files that the service lacks, then one request that makes it visible."""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ngshare.exchange.connection import Connection
from ngshare.exchange.local_trees import LocalFile, LocalTree
from ngshare.exchange.progress import Progress
from ngshare.exchange.service_error import ServiceError
from ngshare.protocol.manifests import PART_SIZE, format_manifest

MIN_COMPRESSED = 1000
"""The bytes from which on a body is compressed, if that makes it smaller by a tenth."""

MAX_ASKED = 1000
"""The most files of one question for missing files."""

ATTEMPTS = 5
"""How often the service may ask for more files before the tree is given up."""

_SENT = ', "sent": true'
"""What the manifest has in addition for a file that follows it."""


def send_tree(
    connection: Connection,
    path: tuple[str, ...],
    tree: LocalTree,
    *,
    course: str,
    assignment: str,
    params: Mapping[str, str] | None = None,
    key: str | None = None,
    known: Collection[bytes] = (),
) -> dict[str, Any]:
    """Send a tree and return the reply.

    path: the request below the service's address. course, assignment: what the tree belongs to.
    key: sent as ``Idempotency-Key``, so that the request may be repeated.
    known: digests of files that the service probably has, which are not sent at first.

    Files of up to :data:`PART_SIZE` bytes together travel in the request itself, others before
    it in parts. Raises ServiceError.
    """
    files = {file.sha256: file for file in tree.files}  # each content once
    needed = {digest for digest in files if digest not in known}
    received: dict[str, int] | None = None
    if _size(files[digest] for digest in needed) > PART_SIZE:
        needed, received = _ask_missing(connection, course, assignment, tree)
    uploaded: set[bytes] = set()
    headers = {"Content-Type": "application/vnd.ngshare.tree"}
    if key is not None:
        headers["Idempotency-Key"] = key
    for _ in range(ATTEMPTS):
        inline = _choose_inline(tree, [files[digest] for digest in needed - uploaded])
        large = [files[each] for each in needed - uploaded - inline]
        if large:
            if received is None:
                _, received = _ask_missing(connection, course, assignment, tree)
            _send_parts(connection, course, large, received)
            received = None
            uploaded |= {file.sha256 for file in large}
        body, encoding = _compress(_encode(tree, inline))
        try:
            return connection.request_json(
                "POST",
                *path,
                params=params,
                body=body,
                headers={**headers, **encoding},
                repeatable=key is not None,
            )
        except ServiceError as error:
            if error.status != 409 or not error.missing:
                raise
            missing = {bytes.fromhex(digest) for digest in error.missing}
            if not missing <= files.keys():
                raise
            uploaded -= missing
            needed |= missing
    raise ServiceError("The exchange asks for the same files again and again; please report it")


def _size(files: Iterable[LocalFile]) -> int:
    return sum(file.size for file in files)


def _choose_inline(tree: LocalTree, files: Iterable[LocalFile]) -> set[bytes]:
    """Return the digests of the files that fit into one request, the smallest first."""
    chosen, total = set(), len(_encode(tree, ()))
    for file in sorted(files, key=lambda each: each.size):
        total += file.size + len(_SENT)
        if total > PART_SIZE and file.size:  # no part is empty
            break
        chosen.add(file.sha256)
    return chosen


def _encode(tree: LocalTree, inline: Collection[bytes]) -> bytes:
    """Return the body of the request: a line of JSON, then the contents of the files sent."""
    entries, contents, sent = format_manifest(tree.manifest), [], set()
    for entry, file in zip(entries, tree.files, strict=True):
        if file.sha256 in inline and file.sha256 not in sent:
            sent.add(file.sha256)
            entry["sent"] = True
            contents.append(b"".join(file.read()))
    return b"".join([json.dumps({"files": entries}).encode(), b"\n", *contents])


def _compress(body: bytes) -> tuple[bytes, dict[str, str]]:
    """Return a body, compressed if that helps, with the header that says so."""
    if len(body) >= MIN_COMPRESSED:
        packer = zlib.compressobj(level=1, wbits=31)
        packed = packer.compress(body) + packer.flush()
        if len(packed) < len(body) * 0.9:
            return packed, {"Content-Encoding": "gzip"}
    return body, {}


def _ask_missing(
    connection: Connection, course: str, assignment: str, tree: LocalTree
) -> tuple[set[bytes], dict[str, int]]:
    """Return the digests of the files that the service lacks, and how much of each has arrived.

    The manifest of many files is sent in several requests, as it may be above a proxy's limit.
    """
    missing: set[bytes] = set()
    received: dict[str, int] = {}
    for start in range(0, len(tree.files), MAX_ASKED):
        manifest = format_manifest(tree.manifest[start : start + MAX_ASKED])
        reply = connection.request_json(
            "POST",
            *("tree", "missing", course, assignment),
            body=json.dumps({"files": manifest}).encode(),
            headers={"Content-Type": "application/json"},
            repeatable=True,
        )
        missing |= {bytes.fromhex(digest) for digest in reply["missing"]}
        received |= reply.get("received", {})
    return missing, received


def _send_parts(
    connection: Connection, course: str, files: Collection[LocalFile], received: Mapping[str, int]
) -> None:
    """Send files in parts, each from where an interrupted attempt stopped.

    received: the bytes that the service has already, by digest.
    """
    total = _size(files)
    with Progress("Sending", total) as progress:
        for file in files:
            start = received.get(file.sha256.hex(), 0)
            progress.add(start)
            for offset, part in _parts(file):
                if offset + len(part) <= start:
                    continue
                body, encoding = _compress(part)
                connection.request_json(
                    "PUT",
                    *("part", course, file.sha256.hex()),
                    params={"start": str(offset), "size": str(file.size)},
                    body=body,
                    headers={"Content-Type": "application/octet-stream", **encoding},
                    repeatable=True,
                )
                progress.add(len(part) if offset >= start else offset + len(part) - start)


def _parts(file: LocalFile) -> Iterable[tuple[int, bytes]]:
    """Yield a file in parts, each with where it starts. The content is checked at its end."""
    buffer, start = bytearray(), 0
    for piece in file.read():
        buffer += piece
        while len(buffer) > PART_SIZE:
            yield start, bytes(buffer[:PART_SIZE])
            del buffer[:PART_SIZE]
            start += PART_SIZE
    yield start, bytes(buffer)
