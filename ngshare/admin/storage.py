"""The files against the rows: check them all, and remove those that nothing names.

Both take a long time and many transactions, so they are given the database itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import aliased

from ngshare.admin import copy_rows
from ngshare.blobs import Amount, BlobEntry, BlobMissing, ManagedBlobStore, gc
from ngshare.blobs.gc import SHARDS
from ngshare.db import snapshots
from ngshare.db.models import (
    Assignment,
    AuditEntry,
    Course,
    File,
    ReplacedTree,
    Submission,
    Tree,
    User,
)
from ngshare.db.transactions import Database
from ngshare.errors import Unavailable

CHUNK = 500
"""How many digests one IN list holds; old SQLite takes 999 parameters at most."""

SHOWN = 5
"""How many of the places that name a damaged file are looked up."""


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
    file: str
    uses: list[Use]
    times: int


@dataclass(slots=True)
class Report:
    """What a check found. ``files`` and ``bytes`` count all that was read.

    ``lost`` are files whose bytes an ngshare 0.6 had lost before it was adopted: the
    first few, and how many. ``unnamed`` is what no row names. ``strangers`` are files
    in the blobs' folders that are no blobs. ``quarantined`` is what is in the quarantine,
    ``put_back`` counts what rows name and was moved back from there by this check.
    """

    files: int = 0
    bytes: int = 0
    damage: list[Damage] = field(default_factory=list)
    lost: list[Use] = field(default_factory=list)
    lost_count: int = 0
    unnamed: Amount = field(default_factory=Amount)
    strangers: list[str] = field(default_factory=list)
    quarantined: Amount = field(default_factory=Amount)
    put_back: int = 0


@dataclass(slots=True)
class Collected:
    """What a collection did, or would do.

    ``moved`` went into the quarantine, ``deleted`` was there for long enough, ``put_back`` was
    there and is named by now, ``leftovers`` are of interrupted uploads. ``kept_for_old`` is
    unnamed, but by old databases, and ``kept_as_newer`` is newer than all that the database knows.
    """

    moved: Amount = field(default_factory=Amount)
    deleted: Amount = field(default_factory=Amount)
    put_back: Amount = field(default_factory=Amount)
    leftovers: Amount = field(default_factory=Amount)
    kept_for_old: Amount = field(default_factory=Amount)
    kept_as_newer: Amount = field(default_factory=Amount)


def check(database: Database, store: ManagedBlobStore, step: Step) -> Report:
    """Read every blob, and compare it with its name and with the rows that name it.

    Uploads and collections may go on meanwhile.
    """
    report = Report()
    with ThreadPoolExecutor(4) as threads:
        for shard in range(SHARDS):
            # Rows first: the bytes of what they name were there before them.
            wanted = database.read(named_in, shard)
            present = list(store.list(bytes([shard])))
            blobs = {entry.digest: entry for entry in present if entry.digest is not None}
            report.strangers += [entry.name for entry in present if entry.digest is None]
            digests = sorted(wanted.keys() | blobs.keys())
            read = threads.map(lambda digest: _read(store, digest), digests)
            found = dict(zip(digests, read, strict=True))
            for digest, what in _compare(wanted, found):
                uses, times = database.read(uses_of, digest)
                report.damage.append(Damage(what, digest, store.describe(digest), uses, times))
            for digest, content in found.items():
                if content is None:
                    continue
                report.files += 1
                report.bytes += content.size
                if digest not in wanted:
                    report.unnamed.add(content.size)
                if digest not in blobs:
                    report.put_back += 1
            step()
    report.quarantined = gc.in_quarantine(store)
    report.lost, report.lost_count = database.read(uses_of, None)
    return report


def names_none(database: Database, store: ManagedBlobStore) -> bool:
    """Return whether there are blobs, young or old, and the database names none of them."""
    number = 0
    for shard in range(SHARDS):
        there = [entry.digest for entry in store.list(bytes([shard])) if entry.digest is not None]
        number += len(there)
        found = database.read(named, there)
        if found:
            return False
    return number > 0


def collect(
    database: Database,
    store: ManagedBlobStore,
    *,
    hours: float,
    days: int,
    step: Step,
    old: Sequence[Path] = (),
    dry: bool = False,
) -> Collected:
    """Move blobs older than ``hours`` that nothing names into the quarantine, see
    :mod:`ngshare.blobs.gc`, and delete what has been there for ``days``.

    What the ``old`` databases name stays too, and what is newer than the newest entry of the
    database's audit log: the database may be an old copy of that of the site. With ``dry`` nothing
    is changed. Raises Unreadable or OSError.
    """
    result = Collected()
    before = (datetime.now(timezone.utc) - timedelta(hours=hours)).timestamp()
    newest = database.read(newest_event)
    known = min(before, newest.timestamp() if newest is not None else 0.0)

    with ExitStack() as opened:
        others = [(path, opened.enter_context(copy_rows.open_file(path))) for path in old]

        def ask(digests: Sequence[bytes]) -> set[bytes]:
            found = database.read(named, digests)
            for path, other in others:
                with _readable(path):
                    found |= named(other, [digest for digest in digests if digest not in found])
            return found

        # What frees room goes first: on a full disk nothing can be moved.
        expired = gc.delete_expired(store, days, ask, dry=dry)
        result.deleted, result.put_back = expired.deleted, expired.put_back
        result.leftovers = gc.remove_leftovers(store, dry=dry)
        for shard in range(SHARDS):
            entries = [entry for entry in store.list(bytes([shard])) if entry.modified < before]
            if dry:
                _count_kept(result, entries, database, ask, known)
            moved = gc.quarantine(store, shard, known, ask, dry=dry)
            result.moved.files += moved.files
            result.moved.bytes += moved.bytes
            step()
    return result


def _count_kept(
    result: Collected,
    entries: Sequence[BlobEntry],
    database: Database,
    ask: gc.Named,
    known: float,
) -> None:
    """Count what is old, unnamed, and kept all the same."""
    sizes = {entry.digest: entry.size for entry in entries if entry.digest is not None}
    unnamed = set(sizes) - database.read(named, list(sizes))
    for_old = set(ask(list(unnamed)))
    for digest in for_old:
        result.kept_for_old.add(sizes[digest])
    for entry in entries:
        if entry.digest in unnamed - for_old and entry.modified >= known:
            result.kept_as_newer.add(entry.size)


def newest_event(connection: Connection) -> datetime | None:
    """Return the moment of the newest entry of the audit log."""
    return connection.scalar(select(func.max(AuditEntry.at)))


def put_aside(folder: Path) -> list[Path]:
    """The databases that restores put aside: what they name is needed to go back to them.

    ``folder`` is the site's storage.
    """
    return sorted((folder / ASIDE).glob("*/*.db"))


def backups_beside(database: Database) -> list[Path]:
    """The backups beside a SQLite database that name blobs: a way back to them needs those.

    Those of an ngshare 0.6 name none. Raises Unreadable.
    """
    if database.url.get_backend_name() != "sqlite":
        return []
    found = []
    for backup in snapshots.list_backups(Path(database.url.database or "")):
        with _readable(backup.path), copy_rows.open_file(backup.path) as connection:
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


def _read(store: ManagedBlobStore, digest: bytes) -> _Content | None:
    """Return what a blob holds; None when there is none."""
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    error = None
    try:
        for piece in store.open(digest):
            sha256.update(piece)
            md5.update(piece)
            size += len(piece)
    except BlobMissing:
        return None
    except Unavailable as failure:
        error = getattr(failure.__cause__, "strerror", None) or str(failure)
    return _Content(sha256.digest(), md5.digest(), size, error)


def _compare(
    wanted: dict[bytes, set[tuple[bytes, int]]],
    found: dict[bytes, _Content | None],
) -> Iterator[tuple[bytes, str]]:
    for digest, content in found.items():
        if content is None:
            # What nothing names may have gone between the list and the look.
            if digest in wanted:
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
