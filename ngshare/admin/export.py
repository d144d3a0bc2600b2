"""Export a course into one zip archive, with an index for people and for programs.

The archive is written from one consistent state of the database, piece by piece: neither a file's
content nor the list of all files is ever in memory as a whole.
"""

from __future__ import annotations

import csv
import hashlib
import json
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import IO

from sqlalchemy import Connection

from ngshare.actions import access, audit, audit_query, trash, tree_rows
from ngshare.actions.access import Caller, Capability
from ngshare.admin import export_index, export_rows
from ngshare.admin.progress import StartProgress
from ngshare.blobs import BlobMissing, BlobStore
from ngshare.errors import NotFound, Unavailable
from ngshare.protocol.portable_paths import PortablePaths
from ngshare.protocol.times import format_time
from ngshare.protocol.trees import StoredFile

ZIP64_BYTES = 1 << 31
"""The size in bytes from which a file needs the zip64 format."""


@dataclass(slots=True)
class ExportReport:
    """The contents of an archive, in numbers. ``replaced`` counts replaced releases and feedback.

    ``damaged`` counts files whose blob is missing or damaged, ``lost`` those whose bytes ngshare
    0.6 had lost before the adoption.
    """

    assignments: int = 0
    submissions: int = 0
    replaced: int = 0
    files: int = 0
    bytes: int = 0
    lost: int = 0
    damaged: int = 0


@dataclass(frozen=True, slots=True)
class ExportableCourse:
    """A course that the caller may export; ``removed_at`` (UTC) is set when it is in the trash."""

    course_id: int
    name: str
    removed_at: datetime | None


def require_exportable(connection: Connection, caller: Caller, course: str) -> ExportableCourse:
    """Return a course by name, for its instructors, or for admins a removed one by its trash key.

    Raises Forbidden, or NotFound; an admin's error names the keys of removed courses of that name.
    """
    try:
        course_access = access.require_capability(connection, caller, course, Capability.AUDIT)
    except NotFound as error:
        if not caller.admin:
            raise
        with suppress(NotFound):
            removed = trash.get_removed_course(connection, caller, course)
            return ExportableCourse(removed.course_id, removed.course, removed.at)
        keys = [item.key for item in trash.find_removed_courses(connection, caller, course)]
        if not keys:
            raise NotFound(f"There is no course {course}: {audit_query.CHECK_NAME}") from error
        commands = " and ".join(f"ngshare export {key}" for key in keys)
        raise NotFound(f"Course not found. It is in the trash, for {commands}") from error
    return ExportableCourse(course_access.course_id, course, None)


def export_course(
    connection: Connection,
    caller: Caller,
    course: str,
    store: BlobStore,
    target: IO[bytes],
    start_progress: StartProgress,
) -> ExportReport:
    """Write the archive of a course, by name or trash key, to ``target``. Progress counts trees.

    It includes removed and replaced trees, marked as such, and submissions of former members.
    Raises what :func:`require_exportable` raises, before anything is written.
    """
    exported = require_exportable(connection, caller, course)
    roster = export_rows.list_roster(connection, exported.course_id)
    assignments = export_rows.list_assignments(connection, exported.course_id)
    submissions = export_rows.list_submissions(connection, exported.course_id)
    replaced = export_rows.list_replaced(connection, exported.course_id)
    advance = start_progress(len(assignments) + len(submissions) + len(replaced))
    with (
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive,
        tempfile.TemporaryFile("w+", encoding="utf8", newline="") as file_list,
    ):
        writer = _ArchiveWriter(connection, store, archive, file_list)
        for tree in assignments:
            path = f"released/{tree.path}"
            tree.columns["folder"] = writer.add_tree(path, tree.tree_id, tree.at)
            advance(1)
        for tree in submissions:
            path = f"submitted/{tree.path}"
            tree.columns["folder"] = writer.add_tree(path, tree.tree_id, tree.at)
            tree.columns["feedback"] = None
            if tree.feedback_tree_id is not None:
                path = f"feedback/{tree.path}"
                tree.columns["feedback"] = writer.add_tree(path, tree.feedback_tree_id, tree.at)
            advance(1)
        for tree in replaced:
            path = f"replaced/{tree.path}"
            tree.columns["folder"] = writer.add_tree(path, tree.tree_id, tree.at)
            advance(1)
        tables = {
            "roster": roster,
            "assignments": [tree.columns for tree in assignments],
            "submissions": [tree.columns for tree in submissions],
            "replaced": [tree.columns for tree in replaced],
        }
        index = {
            "course": exported.name,
            "removed_at": exported.removed_at and format_time(exported.removed_at),
            "exported": format_time(audit.now()),
            **tables,
        }
        writer.add_text("index.json", [json.dumps(index, indent=1, ensure_ascii=False), "\n"])
        writer.add_text("index.html", export_index.html_lines(index))
        for name, rows in tables.items():
            writer.add_text(f"{name}.csv", export_index.csv_lines(rows))
        file_list.seek(0)
        writer.add_text("files.csv", file_list)
        writer.add_text("log.jsonl", export_rows.log_lines(connection, exported.course_id))
    report = writer.report
    report.assignments, report.submissions = len(assignments), len(submissions)
    report.replaced = len(replaced)
    return report


class _ArchiveWriter:
    """Writes files into a zip archive, and a CSV row for each into ``file_list``."""

    def __init__(
        self,
        connection: Connection,
        store: BlobStore,
        archive: zipfile.ZipFile,
        file_list: IO[str],
    ) -> None:
        self.report = ExportReport()
        self._connection = connection
        self._store = store
        self._archive = archive
        self._folders = PortablePaths()
        self._file_list = csv.writer(file_list)
        self._file_list.writerow(
            ["archived as", "folder", "path", "size", "sha256", "md5", "state"]
        )

    def add_tree(self, path: str, tree_id: int | None, modified: datetime) -> str:
        """Add the files of a tree under a portable form of ``path``; return that folder.

        ``modified`` (UTC) is the modification time of the files.
        """
        folder = self._folders.path(path)
        names = PortablePaths()
        for file in tree_rows.list_files(self._connection, tree_id):
            name = f"{folder}/{names.path(file.path)}"
            state = self._add_file(name, file, modified)
            digest = file.sha256.hex() if file.sha256 else ""
            cells = [name, folder, file.path, file.size, digest, file.md5.hex(), state]
            self._file_list.writerow(map(export_index.safe_cell, cells))
        return folder

    def add_text(self, name: str, lines: Iterable[str]) -> None:
        """Add a text file, line by line."""
        with self._open(name, audit.now(), 0) as target:
            for line in lines:
                target.write(line.encode())

    def _add_file(self, name: str, file: StoredFile, modified: datetime) -> str:
        """Add a file, if its blob can be read; return the state for the list of files."""
        if file.sha256 is None:
            self.report.lost += 1
            return "lost before ngshare 1.0"
        try:
            source = self._store.open(file.sha256)
        except (BlobMissing, Unavailable):
            self.report.damaged += 1
            return "missing"
        sha256 = hashlib.sha256()
        with closing(source), self._open(name, modified, file.size) as target:
            for piece in source:
                sha256.update(piece)
                target.write(piece)
                self.report.bytes += len(piece)
        self.report.files += 1
        if sha256.digest() != file.sha256:
            self.report.damaged += 1
            return "damaged"
        return "ok"

    @contextmanager
    def _open(self, name: str, modified: datetime, size: int) -> Iterator[IO[bytes]]:
        """Open a new file in the archive; ``size`` is in bytes, 0 when it is unknown."""
        info = zipfile.ZipInfo(name, max(modified.timetuple()[:6], (1980, 1, 1, 0, 0, 0)))
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = 0o600 << 16
        zip64 = not size or size >= ZIP64_BYTES
        with self._archive.open(info, "w", force_zip64=zip64) as target:
            yield target
