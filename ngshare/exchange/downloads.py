"""Receive trees: into a temporary folder, verified, and moved into place when complete."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ngshare.errors import BadRequest
from ngshare.exchange.service_error import ServiceError
from ngshare.exchange.temporary_folders import temporary_folder
from ngshare.protocol.manifests import ManifestFile, tree_digest
from ngshare.protocol.trees import check_path


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of a tree at the service, and its digest in hexadecimal digits.

    timestamp: the time of the submission; None for a release.
    """

    digest: str
    files: list[ManifestFile]
    timestamp: str | None = None


class TreeWriter:
    """Writes a tree into a temporary folder beside its destination. A context manager.

    Leaving it without :meth:`finish` leaves nothing behind. The folders of processes that were
    killed are removed by the next one that writes there.
    """

    def __init__(self, destination: Path) -> None:
        self.destination = destination
        self.files: list[ManifestFile] = []
        self._folder: Path | None = None
        self._paths: set[str] = set()
        self._folders: set[str] = set()
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> TreeWriter:
        with _errors_of(self.destination.parent):
            temporary = temporary_folder(self.destination.parent)
            self._folder = self._cleanup.enter_context(temporary) / "tree"
            self._folder.mkdir()
        return self

    def __exit__(self, *error: object) -> None:
        self._cleanup.close()

    @contextlib.contextmanager
    def shared(self) -> Iterator[TreeWriter]:
        """Return this writer as a context manager that leaves its folder as it is."""
        yield self

    def write(self, path: str, pieces: Iterable[bytes], expected: bytes | None = None) -> None:
        """Write one file. Raises ServiceError for a bad path, or for other than expected bytes.

        expected: the SHA-256 of the content (32 bytes).
        """
        assert self._folder is not None, "used outside of its context"
        self._check_path(path)
        digest, size = hashlib.sha256(), 0
        target = self._folder / path
        with _errors_of(self.destination / path):
            target.parent.mkdir(parents=True, exist_ok=True)
            file = target.open("xb")
        try:
            with file:
                # The errors of ``pieces`` are those of the connection, and pass as they are.
                for piece in pieces:
                    digest.update(piece)
                    size += len(piece)
                    with _errors_of(self.destination / path):
                        file.write(piece)
                with _errors_of(self.destination / path):
                    file.flush()
        except BaseException:
            target.unlink(missing_ok=True)  # it may be written again
            self._paths.discard(path)
            raise
        if expected is not None and digest.digest() != expected:
            target.unlink()
            self._paths.discard(path)
            raise ServiceError(f"The file {path} arrived damaged; try again")
        self.files.append(ManifestFile(path, digest.digest(), size))

    def _check_path(self, path: str) -> None:
        """Raise ServiceError for a path that is illegal, or that excludes another of the tree."""
        folders = {str(folder) for folder in PurePosixPath(path).parents}
        taken = path in self._paths or path in self._folders or not folders.isdisjoint(self._paths)
        try:
            check_path(path)
        except BadRequest:
            taken = True
        if taken:
            raise ServiceError(f"The exchange sent a file with a bad name: {path!r}")
        self._paths.add(path)
        self._folders |= folders

    def finish(self) -> Manifest:
        """Move the folder to its destination, which must not exist, and return what it has."""
        assert self._folder is not None, "used outside of its context"
        with _errors_of(self.destination):
            if os.path.lexists(self.destination):
                raise ServiceError(f"{self.destination} is there already")
            self._folder.rename(self.destination)
        self._folder = None
        files = sorted(self.files, key=lambda file: file.path.encode())
        return Manifest(tree_digest(files).hex(), files)


@contextlib.contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    """Raise ServiceError instead of the errors of the file system."""
    try:
        yield
    except OSError as error:
        raise ServiceError(f"Cannot write {path}: {error.strerror}") from error
