"""The files against the rows: check them all, and remove those that nothing names.

Both take a long time and many transactions, so they are given the database itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import aliased

from ngshare import snapshots
from ngshare.actions import transfer
from ngshare.blobs import LocalBlobs
from ngshare.blobs.sweep import (
    SHARDS,
    Entry,
    Removed,
    disk_time,
    entries,
    sweep,
    sweep_incoming,
)
from ngshare.database import Database
from ngshare.models import Assignment, Course, File, ReplacedTree, Submission, Tree, User

CHUNK = 500
"""How many digests one IN list holds; old SQLite takes 999 parameters at most."""

SHOWN = 5
"""How many of the places that name a damaged file are looked up."""

PIECE = 1 << 20
"""How many bytes of a file are read at once."""

LEAST_AGE = 3600.0
"""What is younger than so many seconds is never removed: a request may still name it."""

ASIDE = "aside"
"""The folder in the storage of the databases that restores put aside; they name files as well."""


class Unreadable(Exception):
    """What an old database names is not known. The message is one line that says what to do."""


Step = Callable[[], object]
"""Called after each of the :data:`SHARDS` folders."""


@dataclass(frozen=True, slots=True)
class Use:
    """Where a file is named: whose, in which assignment of which course, under which path.

    ``kind`` is ``release``, ``submission``, ``feedback`` or ``replaced``: an old release,
    or old feedback on a student's submission. Of a few old ones the assignment is not known.
    ``removed`` says that its course or assignment is in the trash.
    """

    course: str
    assignment: str | None
    student: str | None
    submitted_at: datetime | None
    kind: str
    path: str
    removed: bool


@dataclass(frozen=True, slots=True)
class Damage:
    """What is wrong with a file, and who names it: the first few uses, and how many there are."""

    what: str
    digest: bytes
    file: Path
    uses: list[Use]
    times: int


@dataclass(slots=True)
class Report:
    """What a check found. ``files`` and ``bytes`` count all that was read.

    ``lost`` are files whose bytes an ngshare 0.6 had lost before it was adopted: the
    first few, and how many. ``unnamed`` is what no row names. ``strangers`` are files
    in the blobs' folders that are no blobs.
    """

    files: int = 0
    bytes: int = 0
    damage: list[Damage] = field(default_factory=list)
    lost: list[Use] = field(default_factory=list)
    lost_count: int = 0
    unnamed: Removed = field(default_factory=Removed)
    strangers: list[Path] = field(default_factory=list)


@dataclass(slots=True)
class Collected:
    """What was removed, or would be, and what of that age only old databases name."""

    removed: Removed = field(default_factory=Removed)
    kept_for_old: Removed = field(default_factory=Removed)


def check(database: Database, store: LocalBlobs, step: Step) -> Report:
    """Read every blob, and compare it with its name and with the rows that name it.

    Nothing may be removed from the store meanwhile
    (:func:`ngshare.blobs.sweep.kept_still`); uploads may go on.
    """
    report = Report()
    with ThreadPoolExecutor(4) as threads:
        for shard in range(SHARDS):
            # Rows first: the bytes of what they name were there before them.
            wanted = database.read(named_in, shard)
            present = entries(store, shard)
            blobs = {entry.digest: entry for entry in present if entry.digest is not None}
            report.strangers += [entry.path for entry in present if entry.digest is None]
            found = dict(zip(blobs, threads.map(_read, blobs.values()), strict=True))
            for digest, what in _compare(wanted, blobs, found):
                uses, times = database.read(uses_of, digest)
                report.damage.append(Damage(what, digest, store.path(digest), uses, times))
            for digest, entry in blobs.items():
                report.files += 1
                report.bytes += entry.size
                if digest not in wanted:
                    report.unnamed += Removed(1, entry.size)
            step()
    report.lost, report.lost_count = database.read(uses_of, None)
    return report


def names_none(database: Database, store: LocalBlobs) -> bool:
    """Whether there are blobs, young or old, and the database names none of them."""
    number = 0
    for shard in range(SHARDS):
        there = [entry.digest for entry in entries(store, shard) if entry.digest is not None]
        number += len(there)
        if there and _ask(database, there):
            return False
    return number > 0


def _ask(database: Database, digests: Sequence[bytes]) -> set[bytes]:
    return database.read(named, digests)


def collect(
    database: Database,
    store: LocalBlobs,
    seconds: float,
    step: Step,
    *,
    old: Sequence[Path] = (),
    remove: bool = True,
) -> Collected:
    """Remove the blobs, and the leftovers of uploads, that nothing names and that are that old.

    ``seconds`` must be longer than any request takes, see :data:`LEAST_AGE`. What the
    ``old`` databases name stays too. The caller holds the store alone
    (:func:`ngshare.blobs.sweep.kept_still`). Without ``remove`` it is only counted.

    Raises Unreadable.
    """
    before = disk_time(store) - seconds
    result = Collected()

    with ExitStack() as opened:
        others = [(path, opened.enter_context(transfer.open_file(path))) for path in old]

        def ask(digests: Sequence[bytes]) -> set[bytes]:
            found = _ask(database, digests)
            only_old: set[bytes] = set()
            for path, other in others:
                with _readable(path):
                    only_old |= named(other, [digest for digest in digests if digest not in found])
            for digest in only_old:
                result.kept_for_old += Removed(1, store.path(digest).stat().st_size)
            return found | only_old

        for shard in range(SHARDS):
            result.removed += sweep(store, shard, before, ask, remove=remove)
            step()
    result.removed += sweep_incoming(store, before, remove=remove)
    return result


def put_aside(store: LocalBlobs) -> list[Path]:
    """The databases that restores put aside: what they name is needed to go back to them."""
    return sorted((store.folder / ASIDE).glob("*/*.db"))


def backups_beside(database: Database) -> list[Path]:
    """The backups beside a SQLite database that name blobs: a way back to them needs those.

    Those of an ngshare 0.6 name none. Raises Unreadable.
    """
    if database.url.get_backend_name() != "sqlite":
        return []
    found = []
    for backup in snapshots.list_backups(Path(database.url.database or "")):
        with _readable(backup.path), transfer.open_file(backup.path) as connection:
            columns = connection.exec_driver_sql("SELECT name FROM pragma_table_info('files')")
            if "sha256" in set(columns.scalars()):
                found.append(backup.path)
    return found


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        raise Unreadable(
            f"{path} cannot be read ({error.orig}), so nobody knows which files it needs: "
            "mend or remove it"
        ) from error


def named(connection: Connection, digests: Sequence[bytes]) -> set[bytes]:
    """Those of these digests that some row names, of what is removed too until it is purged."""
    found: set[bytes] = set()
    for start in range(0, len(digests), CHUNK):
        chunk = digests[start : start + CHUNK]
        found.update(
            digest
            for digest in connection.scalars(
                select(File.sha256).where(File.sha256.in_(chunk)).distinct()
            )
            if digest is not None
        )
    return found


def uses_of(connection: Connection, digest: bytes | None) -> tuple[list[Use], int]:
    """Who names this blob (None: bytes that were lost): the first few, and how many there are."""
    fits = File.sha256.is_(None) if digest is None else File.sha256 == digest
    times = connection.scalar(select(func.count()).select_from(File).where(fits)) or 0
    if not times:
        return [], 0
    submitted, feedback, earlier = (aliased(Submission) for _ in range(3))
    released, answered = aliased(Assignment), aliased(Assignment)
    rows = connection.execute(
        select(
            Course.name.label("course"),
            func.coalesce(released.name, answered.name).label("assignment"),
            User.name.label("student"),
            func.coalesce(
                submitted.submitted_at, feedback.submitted_at, earlier.submitted_at
            ).label("submitted_at"),
            File.path,
            released.id.label("release"),
            submitted.id.label("submission"),
            feedback.id.label("feedback"),
            Course.removed_at.label("course_removed"),
            func.coalesce(released.removed_at, answered.removed_at).label("removed"),
        )
        .select_from(File)
        .join(Tree, Tree.id == File.tree_id)
        .join(Course, Course.id == Tree.course_id)
        .outerjoin(released, released.tree_id == Tree.id)
        .outerjoin(submitted, submitted.tree_id == Tree.id)
        .outerjoin(feedback, feedback.feedback_tree_id == Tree.id)
        .outerjoin(ReplacedTree, ReplacedTree.tree_id == Tree.id)
        .outerjoin(earlier, earlier.id == ReplacedTree.submission_id)
        .outerjoin(
            answered,
            answered.id
            == func.coalesce(
                submitted.assignment_id, feedback.assignment_id, ReplacedTree.assignment_id
            ),
        )
        .outerjoin(
            User,
            User.id == func.coalesce(submitted.student_id, feedback.student_id, earlier.student_id),
        )
        .where(fits)
        .order_by(File.tree_id, File.path)
        .limit(SHOWN)
    )
    return [_use(row) for row in rows], times


def _use(row: Any) -> Use:
    kind = "replaced"
    for name in ("release", "submission", "feedback"):
        if getattr(row, name) is not None:
            kind = name
    removed = row.course_removed is not None or row.removed is not None
    return Use(row.course, row.assignment, row.student, row.submitted_at, kind, row.path, removed)


def named_in(connection: Connection, shard: int) -> dict[bytes, set[tuple[bytes, int]]]:
    """What rows name in a shard: digests, each with the MD5 and the size that rows say."""
    rows = select(File.sha256, File.md5, File.size).where(File.sha256 >= bytes([shard])).distinct()
    if shard + 1 < SHARDS:
        rows = rows.where(File.sha256 < bytes([shard + 1]))
    found: dict[bytes, set[tuple[bytes, int]]] = {}
    for digest, md5, size in connection.execute(rows):
        if digest is not None:
            found.setdefault(digest, set()).add((md5, size))
    return found


@dataclass(frozen=True, slots=True)
class _Content:
    """What reading a file gave; ``error`` is set when it could not be read to its end."""

    sha256: bytes
    md5: bytes
    size: int
    error: str | None = None


def _read(entry: Entry) -> _Content:
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    error = None
    try:
        with entry.path.open("rb", buffering=0) as file:
            while piece := file.read(PIECE):
                sha256.update(piece)
                md5.update(piece)
                size += len(piece)
    except OSError as failure:
        error = failure.strerror or str(failure)
    return _Content(sha256.digest(), md5.digest(), size, error)


def _compare(
    wanted: dict[bytes, set[tuple[bytes, int]]],
    blobs: dict[bytes, Entry],
    found: dict[bytes, _Content],
) -> Iterator[tuple[bytes, str]]:
    for digest in sorted(wanted.keys() | blobs.keys()):
        content = found.get(digest)
        if content is None:
            yield digest, "its bytes are missing"
        elif content.error is not None:
            yield digest, f"it cannot be read ({content.error})"
        elif content.sha256 != digest:
            yield digest, "its bytes have changed"
        else:
            for md5, size in wanted.get(digest, ()):
                if size != content.size:
                    yield digest, f"a row says it has {size} bytes, it has {content.size}"
                if md5 != content.md5:
                    yield digest, "a row says another MD5 than its bytes have"
