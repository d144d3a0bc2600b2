"""Where the bytes of files are kept, each named by the SHA-256 of its content."""

from ngshare.blobs.store import (
    Amount,
    Blob,
    BlobDamaged,
    BlobEntry,
    BlobMissing,
    BlobStore,
    BlobUpload,
    ManagedBlobStore,
    QuarantinedBlob,
    sha256,
)

from ngshare.blobs.local import LocalBlobs, open_folder_store  # isort: skip

__all__ = [
    "Amount",
    "Blob",
    "BlobDamaged",
    "BlobEntry",
    "BlobMissing",
    "BlobStore",
    "BlobUpload",
    "LocalBlobs",
    "ManagedBlobStore",
    "QuarantinedBlob",
    "open_folder_store",
    "sha256",
]
