"""Blob storage: the content of files, each stored once, under its SHA-256."""

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
