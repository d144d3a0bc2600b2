"""Where the bytes of files are kept, each named by the SHA-256 of its content."""

from ngshare.blobs.store import Blob, BlobDamaged, BlobMissing, BlobStore, BlobUpload, sha256

from ngshare.blobs.local import LocalBlobs  # isort: skip

__all__ = [
    "Blob",
    "BlobDamaged",
    "BlobMissing",
    "BlobStore",
    "BlobUpload",
    "LocalBlobs",
    "sha256",
]
