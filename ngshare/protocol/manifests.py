"""Manifests: the paths, digests and sizes of a tree's files, exchanged before their contents.

Paths are those of :mod:`ngshare.protocol.trees`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from ngshare.errors import BadRequest
from ngshare.protocol.trees import check_distinct_paths, check_path

PART_SIZE = 1_000_000
"""The most bytes of a file in one request: nginx refuses more than 1 MiB unless configured."""

LOST_DIGEST = bytes(32)
"""The digest, in a manifest, of a file whose content was lost before ngshare 1.0."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One file of a manifest: its path, the SHA-256 of its content (32 bytes), its size."""

    path: str
    sha256: bytes
    size: int


def tree_digest(files: Iterable[ManifestFile]) -> bytes:
    """Return the digest (SHA-256, 32 bytes) of a tree.

    It is the digest of what ``sha256sum`` prints for the files, sorted by the UTF-8 bytes of their
    paths, so that users can compute it themselves.
    """
    lines = sorted((file.path.encode(), file.sha256.hex().encode()) for file in files)
    return hashlib.sha256(b"".join(b"%s  %s\n" % (sha, path) for path, sha in lines)).digest()


def parse_digest(text: object) -> bytes:
    """Return the 32 bytes of a SHA-256 in lower-case hexadecimal digits. Raises BadRequest."""
    if not isinstance(text, str) or not _DIGEST.fullmatch(text):
        raise BadRequest("A SHA-256 should be 64 lower-case hexadecimal digits")
    return bytes.fromhex(text)


def format_manifest(files: Iterable[ManifestFile]) -> list[dict[str, str | int]]:
    """Return a manifest as a JSON value: a list of ``{"path", "sha256", "size"}``."""
    return [{"path": file.path, "sha256": file.sha256.hex(), "size": file.size} for file in files]


def parse_manifest(value: object) -> list[ManifestFile]:
    """Return the files of a manifest that was decoded from JSON; further keys are ignored.

    Raises BadRequest when it is malformed, a path is illegal, or two paths exclude each other.
    """
    if not isinstance(value, list):
        raise BadRequest("A manifest should be a JSON list of files")
    files = [_parse_file(entry) for entry in value]
    check_distinct_paths([file.path for file in files])
    return files


def _parse_file(entry: object) -> ManifestFile:
    if not isinstance(entry, dict):
        raise BadRequest("A file of a manifest should be an object with path, sha256 and size")
    path, size = entry.get("path"), entry.get("size")
    if not isinstance(path, str):
        raise BadRequest("The path of a file in a manifest should be a text")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 2**63:
        raise BadRequest("The size of a file in a manifest should be its number of bytes")
    return ManifestFile(check_path(path), parse_digest(entry.get("sha256")), size)
