"""Everything of a course in one zip archive, with an index for people and for programs.

It is written from one consistent state of the database, piece by piece: no file, and no
list of files, is ever in memory as a whole.
"""

from __future__ import annotations

import csv
import hashlib
import html
import io
import json
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any
from urllib.parse import quote

from sqlalchemy import Connection, select

from ngshare.actions import access, audit, trash, tree_rows
from ngshare.actions.access import Caller, Capability
from ngshare.admin.archive_names import Names
from ngshare.blobs import BlobMissing, BlobStore
from ngshare.db.models import Assignment, AuditEntry, Membership, Submission, User
from ngshare.errors import NotFound, Unavailable
from ngshare.protocol.times import format_time
from ngshare.protocol.trees import StoredFile

LARGE = 1 << 31
"""From so many bytes on a file needs the form of zip for large ones."""

TOGETHER = 1000
"""How many rows are read at once."""

Step = Callable[[int], object]


@dataclass(slots=True)
class Exported:
    """What is in the archive. ``replaced`` counts trees that newer ones replaced.

    ``lost`` and ``damaged`` count files without their right bytes. Lost are those of which an
    ngshare 0.6 had lost the bytes before it was adopted.
    """

    assignments: int = 0
    submissions: int = 0
    replaced: int = 0
    files: int = 0
    bytes: int = 0
    lost: int = 0
    damaged: int = 0


@dataclass(frozen=True, slots=True)
class Exportable:
    """A course that somebody may export; ``removed_at`` (UTC) is when it went into the trash."""

    course_id: int
    name: str
    removed_at: datetime | None


def find(connection: Connection, caller: Caller, course: str) -> Exportable:
    """The course of this name; for its instructors. For admins also a removed one by its key.

    Raises NotFound, which names the keys of removed courses of that name, and Forbidden.
    """
    try:
        found = access.require(connection, caller, course, Capability.AUDIT)
    except NotFound as error:
        if not caller.admin:
            raise
        with suppress(NotFound):
            removed = trash.find_course(connection, caller, course)
            return Exportable(removed.course_id, removed.course, removed.at)
        keys = [item.key for item in trash.find_courses(connection, caller, course)]
        if not keys:
            raise NotFound(f"There is no course {course}: {audit.CHECK_NAME}") from error
        named = " and ".join(f"ngshare export {key}" for key in keys)
        raise NotFound(f"Course not found. It is in the trash, for {named}") from error
    return Exportable(found.course_id, course, None)


def write(
    connection: Connection,
    caller: Caller,
    course: str,
    store: BlobStore,
    to: IO[bytes],
    started: Callable[[int], Step],
) -> Exported:
    """Write the archive of a course, as :func:`find` finds it.

    With what is removed or replaced in it, which the index says, and what was handed in by
    those who left. ``started`` is told how many trees there are, and gives what is told of each.
    Raises NotFound and Forbidden before anything is written.
    """
    found = find(connection, caller, course)
    roster = _roster(connection, found.course_id)
    assignments = _assignments(connection, found.course_id)
    submissions = _submissions(connection, found.course_id)
    replaced = _replaced(connection, found.course_id)
    step = started(len(assignments) + len(submissions) + len(replaced))
    with (
        zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as zipped,
        tempfile.TemporaryFile("w+", encoding="utf8", newline="") as listed,
    ):
        writer = _Writer(zipped, store, listed)
        names = Names()
        for one in assignments:
            one["folder"] = names.path(f"released/{one['assignment']}")
            tree = tree_rows.files(connection, one.pop("tree_id"))
            writer.add_tree(one["folder"], tree, one["moment"])
            step(1)
        for one in submissions:
            place = f"{one['assignment']}/{one['student']}/{_folder(one['moment'])}"
            one["folder"] = names.path(f"submitted/{place}")
            tree = tree_rows.files(connection, one.pop("tree_id"))
            writer.add_tree(one["folder"], tree, one["moment"])
            feedback, one["feedback"] = one.pop("feedback_tree_id"), None
            if feedback is not None:
                one["feedback"] = names.path(f"feedback/{place}")
                writer.add_tree(
                    one["feedback"], tree_rows.files(connection, feedback), one["moment"]
                )
            step(1)
        for one in replaced:
            one["folder"] = names.path(f"replaced/{one.pop('place')}")
            tree = tree_rows.files(connection, one.pop("tree_id"))
            writer.add_tree(one["folder"], tree, one["moment"])
            step(1)
        for one in (*assignments, *submissions, *replaced):
            del one["moment"]
        index = {
            "course": found.name,
            "removed_at": _moment(found.removed_at),
            "exported": format_time(audit.now()),
            "roster": roster,
            "assignments": assignments,
            "submissions": submissions,
            "replaced": replaced,
        }
        writer.add_text("index.json", [json.dumps(index, indent=1, ensure_ascii=False), "\n"])
        writer.add_text("index.html", _page(index))
        for name in ("roster", "assignments", "submissions", "replaced"):
            writer.add_text(f"{name}.csv", _csv(index[name]))  # type: ignore[arg-type]  # lists
        listed.seek(0)
        writer.add_text("files.csv", listed)
        writer.add_text("log.jsonl", _log(connection, found.course_id))
    exported = writer.exported
    exported.assignments, exported.submissions = len(assignments), len(submissions)
    exported.replaced = len(replaced)
    return exported


class _Writer:
    """Adds files to the archive, and lists them."""

    def __init__(self, zipped: zipfile.ZipFile, store: BlobStore, listed: IO[str]) -> None:
        self.exported = Exported()
        self._zipped = zipped
        self._store = store
        self._list = csv.writer(listed)
        self._list.writerow(["archived as", "folder", "path", "size", "sha256", "md5", "state"])

    def add_tree(self, folder: str, files: Sequence[StoredFile], moment: datetime) -> None:
        """Add the files of a tree, and say of each where it is."""
        names = Names()
        for file in files:
            name = f"{folder}/{names.path(file.path)}"
            state = self._add_file(name, file, moment)
            digest = file.sha256.hex() if file.sha256 else ""
            cells = [name, folder, file.path, file.size, digest, file.md5.hex(), state]
            self._list.writerow(map(_cell, cells))

    def add_text(self, name: str, lines: Iterable[str]) -> None:
        """Add a text, which is written as it comes."""
        with self._open(name, audit.now(), 0) as target:
            for line in lines:
                target.write(line.encode())

    def _add_file(self, name: str, file: StoredFile, moment: datetime) -> str:
        if file.sha256 is None:
            self.exported.lost += 1
            return "lost before ngshare 1.0"
        try:
            source = self._store.open(file.sha256)
        except (BlobMissing, Unavailable):
            self.exported.damaged += 1
            return "missing"
        hashed = hashlib.sha256()
        with closing(source), self._open(name, moment, file.size) as target:
            for piece in source:
                hashed.update(piece)
                target.write(piece)
                self.exported.bytes += len(piece)
        self.exported.files += 1
        if hashed.digest() != file.sha256:
            self.exported.damaged += 1
            return "damaged"
        return "ok"

    @contextmanager
    def _open(self, name: str, moment: datetime, size: int) -> Iterator[IO[bytes]]:
        when = max(moment.timetuple()[:6], (1980, 1, 1, 0, 0, 0))
        info = zipfile.ZipInfo(name, when)
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = 0o600 << 16
        # How long a text becomes is not known before.
        with self._zipped.open(info, "w", force_zip64=not size or size >= LARGE) as target:
            yield target


def _roster(connection: Connection, course_id: int) -> list[dict[str, Any]]:
    rows = connection.execute(
        select(
            User.name.label("user"),
            Membership.role,
            Membership.first_name,
            Membership.last_name,
            Membership.email,
            Membership.removed_at,
        )
        .join(User, User.id == Membership.user_id)
        .where(Membership.course_id == course_id)
        .order_by(Membership.role, User.name)
    )
    return [{**row, "removed_at": _moment(row.removed_at)} for row in rows.mappings()]


def _assignments(connection: Connection, course_id: int) -> list[dict[str, Any]]:
    rows = connection.execute(
        select(Assignment)
        .where(Assignment.course_id == course_id)
        .order_by(Assignment.released_at, Assignment.id)
    )
    return [
        {
            "assignment": row.name,
            "released_at": _moment(row.released_at),
            "removed_at": _moment(row.removed_at),
            "tree_id": row.tree_id,
            "moment": row.released_at,
        }
        for row in rows
    ]


def _submissions(connection: Connection, course_id: int) -> list[dict[str, Any]]:
    rows = connection.execute(
        select(
            Assignment.name.label("assignment"),
            User.name.label("student"),
            Submission.submitted_at,
            Submission.tree_id,
            Submission.feedback_tree_id,
        )
        .join(Assignment, Assignment.id == Submission.assignment_id)
        .join(User, User.id == Submission.student_id)
        .where(Assignment.course_id == course_id)
        .order_by(Assignment.released_at, Assignment.id, User.name, Submission.submitted_at)
    )
    return [
        {
            "assignment": row.assignment,
            "student": row.student,
            "submitted_at": _moment(row.submitted_at),
            "tree_id": row.tree_id,
            "feedback_tree_id": row.feedback_tree_id,
            "moment": row.submitted_at,
        }
        for row in rows
    ]


def _replaced(connection: Connection, course_id: int) -> list[dict[str, Any]]:
    """The trees that newer ones replaced: of an assignment's release, or of feedback."""
    rows = []
    for item in trash.replaced_trees(connection, course_id):
        kind = {"release": "released", "feedback": "feedback"}.get(item.kind, "unknown")
        of = (item.assignment, item.user, item.submitted_at and _folder(item.submitted_at))
        # One moment replaces one tree of a place, and the key tells the others apart.
        last = item.key if kind == "unknown" else _folder(item.at)
        rows.append(
            {
                "replaced": item.kind,
                "assignment": item.assignment,
                "student": item.user,
                "submitted_at": _moment(item.submitted_at),
                "replaced_at": _moment(item.at),
                "replaced_by": item.by,
                "key": item.key,
                "tree_id": int(item.key[1:]),
                "moment": item.at,
                "place": "/".join((kind, *(part for part in of if part), last)),
            }
        )
    return rows


def _log(connection: Connection, course_id: int) -> Iterator[str]:
    query = select(AuditEntry).where(AuditEntry.course_id == course_id).order_by(AuditEntry.id)
    with connection.execution_options(yield_per=TOGETHER).execute(query) as rows:
        for row in rows:
            entry = {
                "id": row.id,
                "timestamp": format_time(row.at),
                "actor": row.actor,
                "event": row.event,
                "course": row.course,
                "assignment": row.assignment,
                "student": row.student,
                "detail": row.detail,
            }
            yield json.dumps(entry, ensure_ascii=False) + "\n"


def _moment(at: datetime | None) -> str | None:
    return None if at is None else format_time(at)


def _folder(at: datetime) -> str:
    """A moment as the name of a folder; Windows has no colons in names."""
    return at.strftime("%Y-%m-%dT%H-%M-%S.%fZ")


def _csv(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    for row in ([list(rows[0])] if rows else []) + [list(row.values()) for row in rows]:
        line = io.StringIO()
        csv.writer(line).writerow(map(_cell, row))
        yield line.getvalue()


def _cell(value: object) -> object:
    """A cell that no spreadsheet takes for a formula; the exact value is in index.json."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value


def _page(index: dict[str, Any]) -> Iterator[str]:
    title = html.escape(index["course"])
    removed = index["removed_at"]
    state = f"In the trash since {html.escape(removed)}. " if removed else ""
    yield (
        f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        "<style>body{font-family:sans-serif;margin:2em}table{border-collapse:collapse}"
        "td,th{border:1px solid #999;padding:.2em .6em;text-align:left}</style>"
        f"<h1>{title}</h1><p>{state}Exported {html.escape(index['exported'])}. "
        "The same for programs: "
    )
    tables = ("roster", "assignments", "submissions", "replaced", "files")
    names = ("index.json", *(f"{name}.csv" for name in tables), "log.jsonl")
    yield ", ".join(f'<a href="{name}">{name}</a>' for name in names) + ".</p>"
    for name, heading in (
        ("assignments", "Assignments"),
        ("submissions", "Submissions"),
        ("replaced", "Releases and feedback that newer ones replaced"),
        ("roster", "Roster"),
    ):
        yield f"<h2>{heading}: {len(index[name])}</h2>"
        yield from _table(index[name])


def _table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    if not rows:
        return
    heads = "".join(f"<th>{html.escape(key.replace('_', ' '))}</th>" for key in rows[0])
    yield f"<table><tr>{heads}</tr>"
    for row in rows:
        yield "<tr>" + "".join(f"<td>{_shown(key, row[key])}</td>" for key in row) + "</tr>\n"
    yield "</table>"


def _shown(key: str, value: object) -> str:
    text = html.escape("" if value is None else str(value))
    if value is not None and key in ("folder", "feedback"):
        return f'<a href="{quote(str(value))}/">{text}</a>'
    return text
