"""``nbgrader fetch_assignment``: copy a released assignment into the student's folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from nbgrader.exchange import abc

from ngshare.exchange.connection import ServiceError
from ngshare.exchange.plugin.base import Exchange
from ngshare.exchange.plugin.listing import has_assignment
from ngshare.exchange.temporary_folders import temporary_folder
from ngshare.protocol.manifests import ManifestFile


class ExchangeFetchAssignment(Exchange, abc.ExchangeFetchAssignment):  # type: ignore[misc]
    """Fetch an assignment, or with ``replace_missing_files`` only the files that are missing."""

    def init_src(self) -> None:
        """Decide on the course; nbgrader calls this first."""
        self.course = self.require_course("student")
        self.assignment = self.require_folder_name(self.coursedir.assignment_id.rstrip("/"))

    def init_dest(self) -> None:
        """Decide on the folder, and refuse one that has an assignment already."""
        self.dest_path = self.assignment_folder(self.course, self.assignment)
        if self.dest_path.is_dir():
            self.require_folder_of_course(self.dest_path, self.course)
            if has_assignment(self.dest_path) and not self.replace_missing_files:
                root = self.dest_path.relative_to(Path(self.assignment_dir).absolute())
                self.fail(
                    "You already have a copy of the assignment in this directory: "
                    f"{root}. Add --replace to get back files that are missing in it."
                )
        elif os.path.lexists(self.dest_path):
            self.fail(f"A file is in the way, rename it first: {self.dest_path}")

    def copy_files(self) -> None:
        """Download the release to a temporary folder, and move it into place when complete."""
        self.log.info("Source: %s", self.client.address.url)
        self.log.info("Destination: %s", self.dest_path)
        try:
            files = self._copy_missing() if self.dest_path.is_dir() else self._copy_all()
        except ServiceError as error:
            if error.status == 404:
                self._suggest_assignment()
            raise
        self.submission_cache.remember_course(self.dest_path, self.course)
        digests = {file.sha256 for file in files}
        self.submission_cache.remember_digests(self.course, self.assignment, digests)
        self.log.info("Fetched as: %s %s", self.course, self.assignment)

    def _copy_all(self) -> Collection[ManifestFile]:
        with self._downloaded() as (tree, files):
            # An empty folder that appears meanwhile is replaced, and any other is kept.
            tree.rename(self.dest_path)
        return files

    def _copy_missing(self) -> Collection[ManifestFile]:
        """Restore files that do not exist in the folder. Those that do are never changed."""
        manifest = self.client.release_manifest(self.course, self.assignment)
        missing = [
            path
            for path in sorted(file.path for file in manifest.files)
            if not self._ignored(path) and not os.path.lexists(self.dest_path / path)
        ]
        for path in missing:
            self._require_folders(path)
        if not missing:
            return manifest.files
        with self._downloaded() as (tree, files):
            for path in missing:
                destination = self.dest_path / path
                self._create_folders(destination.parent)
                if not os.path.lexists(destination):
                    self.log.warning("Replacing missing file '%s'", os.path.relpath(destination))
                    (tree / path).rename(destination)
        return files

    def _require_folders(self, path: str) -> None:
        """Fail if a file of the student is where the release has a folder."""
        for parent in (Path(path).parents)[:-1]:
            if os.path.lexists(self.dest_path / parent) and not (self.dest_path / parent).is_dir():
                self.fail(
                    f"'{parent}' is a file in your folder and a folder in the assignment. "
                    "Rename your file, and run the command again."
                )

    def _create_folders(self, folder: Path) -> None:
        if not folder.is_dir():
            self._create_folders(folder.parent)
            self.log.warning("Creating missing directory '%s'", os.path.relpath(folder))
            folder.mkdir()

    @contextmanager
    def _downloaded(self) -> Iterator[tuple[Path, Collection[ManifestFile]]]:
        """Yield a folder with the complete release, without ignored files, and its manifest."""
        with temporary_folder(self.dest_path.parent) as folder:
            tree = folder / "tree"
            manifest = self.client.fetch_release(self.course, self.assignment, tree)
            for ignored in {self._ignored(file.path) for file in manifest.files}:
                if ignored:
                    _remove(tree / ignored)
            yield tree, manifest.files

    def _ignored(self, path: str) -> Path | None:
        """Return the topmost file or folder of a path that ``CourseDirectory.ignore`` matches."""
        for parent in reversed([Path(path), *Path(path).parents]):
            if any(fnmatch(parent.name, pattern) for pattern in self.coursedir.ignore):
                return parent
        return None

    def _suggest_assignment(self) -> None:
        courses = self.client.overview(self.course).courses
        names = [a.name for course in courses for a in course.assignments]
        self.suggest(self.assignment, names)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
