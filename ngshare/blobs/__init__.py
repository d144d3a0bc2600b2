"""Where the bytes of files are kept, each named by the SHA-256 of its content."""

from ngshare.blobs.store import BlobMissing, BlobStore, sha256

from ngshare.blobs.local import LocalBlobs  # isort: skip

__all__ = ["BlobMissing", "BlobStore", "LocalBlobs", "sha256"]
