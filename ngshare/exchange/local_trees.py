"""Read a folder as a tree to be sent: its files with their digests, or the reason why not."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import islice
from pathlib import Path

from ngshare.errors import BadRequest
from ngshare.exchange.service_error import ServiceError
from ngshare.protocol.manifests import ManifestFile, tree_digest
from ngshare.protocol.trees import check_distinct_paths, check_path

READ_SIZE = 2**20
"""The bytes of a file that are read at once."""

MAX_DEPTH = 100
"""The most folders within folders."""

MAX_FILES = 100_000
"""The most files: links to folders inside a folder can multiply them without end."""

log = logging.getLogger("ngshare.exchange")


@dataclass(frozen=True, slots=True)
class Filter:
    """nbgrader's filters of a course directory: names to leave out or in, and a size in kB.

    Folders are left out by ``ignore`` alone. An empty ``include``, and None as size, mean all.
    """

    ignore: Sequence[str] = ()
    include: Sequence[str] = ()
    max_file_size: int | None = None

    def accepts(self, absolute: Path) -> bool:
        """Return whether a file or folder belongs to the tree; log why it does not."""
        name = absolute.name
        if any(fnmatch(name, pattern) for pattern in self.ignore):
            log.debug("Ignored by name: %s", absolute)
            return False
        try:
            status = absolute.stat()
        except OSError:
            return True  # the walk says what is wrong with it
        if not stat.S_ISREG(status.st_mode):
            return True
        if self.include and not any(fnmatch(name, pattern) for pattern in self.include):
            log.debug("Ignored, not included: %s", absolute)
            return False
        if self.max_file_size is not None and status.st_size > 1000 * self.max_file_size:
            log.warning("Ignored, larger than %d kB: %s", self.max_file_size, absolute)
            return False
        return True


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file to be sent: its path in the tree, its location, and digest and size when scanned."""

    path: str
    absolute: Path
    sha256: bytes
    size: int
    modified: int
    """Its time of modification in nanoseconds since the epoch."""

    def read(self) -> Iterator[bytes]:
        """Yield the content in pieces. Raises ServiceError when it is not what was scanned."""
        digest, size = hashlib.sha256(), 0
        try:
            with self.absolute.open("rb") as file:
                while piece := file.read(READ_SIZE):
                    digest.update(piece)
                    size += len(piece)
                    yield piece
        except OSError as error:
            raise _unreadable(self.path, error) from error
        if size != self.size or digest.digest() != self.sha256:
            raise ServiceError(
                f"The file {self.path} changed while it was sent: nothing was stored. "
                "Save your work, and try again"
            )


@dataclass(frozen=True, slots=True)
class LocalTree:
    """The files of a folder, sorted by path."""

    folder: Path
    files: list[LocalFile]

    @property
    def manifest(self) -> list[ManifestFile]:
        """Return the paths, digests and sizes of the files."""
        return [ManifestFile(file.path, file.sha256, file.size) for file in self.files]

    @property
    def digest(self) -> str:
        """Return the digest of the tree in hexadecimal digits."""
        return tree_digest(self.manifest).hex()

    @property
    def size(self) -> int:
        """Return the size of all files in bytes."""
        return sum(file.size for file in self.files)


def scan_tree(
    folder: Path,
    ignore: Sequence[str] = (),
    include: Sequence[str] = (),
    max_file_size: int | None = None,
    max_dir_size: int | None = None,
) -> LocalTree:
    """Return the files of a folder that are to be sent.

    A link to a file or folder inside the folder counts as what it leads to.

    ignore, include, max_file_size: as in :class:`Filter`.
    max_dir_size: the most kB of all files together; None for no limit.

    Raises ServiceError, before anything is sent, for links that dangle, loop or lead out of the
    folder, for what is no file, for names that the service refuses, and for too large a folder.
    """
    root = Path(os.path.realpath(folder))
    chosen = Filter(ignore, include, max_file_size)
    paths = list(islice(_walk(folder, root, "", chosen, [str(root)]), MAX_FILES + 1))
    if len(paths) > MAX_FILES:
        raise ServiceError(f"The folder {folder} has more than {MAX_FILES} files: remove some")
    try:
        check_distinct_paths([path for path, _ in paths])
    except BadRequest as error:
        raise _illegal(error) from error
    total = sum(_size(path, absolute) for path, absolute in paths)
    if max_dir_size is not None and total > 1000 * max_dir_size:
        raise ServiceError(
            f"The folder {folder} has {total // 1000} kB, more than the {max_dir_size} kB that are "
            "sent at most (CourseDirectory.max_dir_size): remove what does not belong to it"
        )
    paths.sort(key=lambda each: each[0].encode())
    return LocalTree(folder, [_hash(path, absolute) for path, absolute in paths])


def _walk(
    folder: Path, root: Path, prefix: str, chosen: Filter, above: list[str]
) -> Iterator[tuple[str, Path]]:
    """Yield the files below a folder. ``above`` has the real paths of the folders around it."""
    if len(above) > MAX_DEPTH:
        raise ServiceError(f"{prefix} has too many folders within folders")
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise _unreadable(prefix or str(folder), error) from error
    for name in names:
        path, absolute = prefix + name, folder / name
        if not chosen.accepts(absolute):
            continue
        try:
            check_path(path)
        except BadRequest as error:
            raise _illegal(error) from error
        kind = _kind(path, absolute, root, above)
        if stat.S_ISDIR(kind):
            inside = [*above, os.path.realpath(absolute)]
            yield from _walk(absolute, root, path + "/", chosen, inside)
        else:
            yield path, absolute


def _kind(path: str, absolute: Path, root: Path, above: list[str]) -> int:
    """Return the mode of what a path leads to. Raises ServiceError for what cannot be sent."""
    if absolute.is_symlink():
        target = os.path.realpath(absolute)
        if not os.path.lexists(target) or Path(target).is_symlink():
            raise ServiceError(f"{path} is a link to nothing: remove it, or put the file there")
        if Path(target) != root and root not in Path(target).parents:
            raise ServiceError(
                f"{path} is a link that leads out of the folder: put the file itself there"
            )
        if target in above:
            raise ServiceError(f"{path} is a link to a folder around it: remove it")
    try:
        mode = absolute.stat().st_mode
    except OSError as error:
        raise _unreadable(path, error) from error
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        raise ServiceError(f"{path} is neither a file nor a folder: remove it")
    return mode


def _size(path: str, absolute: Path) -> int:
    try:
        return absolute.stat().st_size
    except OSError as error:
        raise _unreadable(path, error) from error


def _hash(path: str, absolute: Path) -> LocalFile:
    digest, size = hashlib.sha256(), 0
    try:
        with absolute.open("rb") as file:
            modified = os.fstat(file.fileno()).st_mtime_ns
            while piece := file.read(READ_SIZE):
                digest.update(piece)
                size += len(piece)
    except OSError as error:
        raise _unreadable(path, error) from error
    return LocalFile(path, absolute, digest.digest(), size, modified)


def _unreadable(path: str, error: OSError) -> ServiceError:
    return ServiceError(f"{path} cannot be read: {error.strerror}")


def _illegal(error: BadRequest) -> ServiceError:
    """Return the error for a path that the service would refuse, with the path and the fault."""
    return ServiceError(f"{error.log_reason}: the exchange takes no such file; rename it")
