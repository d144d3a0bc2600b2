"""Find the rows that reference blobs: a blob is in use while any row names its digest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, select
from sqlalchemy.orm import InstrumentedAttribute, aliased

from ngshare.blobs.gc import SHARDS
from ngshare.db.models import (
    Assignment,
    Course,
    File,
    ReplacedTree,
    Submission,
    Tree,
    Upload,
    UploadPart,
    User,
)

BATCH_SIZE = 500
"""The number of digests in one IN list; old versions of SQLite take at most 999 parameters."""

MAX_REFERENCES = 5
"""The number of references to one blob that are looked up."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A file in a release, a submission or feedback whose row names a blob.

    ``kind`` is ``release``, ``submission``, ``feedback`` or ``replaced``: a release or feedback
    that was replaced by a newer one. ``assignment`` is None for some replaced trees, for which
    it is not recorded. ``submitted_at`` is in UTC. ``removed`` is set when the course or the
    assignment is in the trash.
    """

    course: str
    assignment: str | None
    student: str | None
    submitted_at: datetime | None
    kind: str
    path: str
    removed: bool


class RecordedContent(NamedTuple):
    """The MD5 (16 bytes) and the size in bytes that a row records of a blob."""

    md5: bytes
    size: int


def find_references(connection: Connection, digest: bytes | None) -> tuple[list[Reference], int]:
    """Return the first :data:`MAX_REFERENCES` references to a blob, and the number of all.

    With None as the digest, find files whose bytes ngshare 0.6 had lost before the adoption.
    """
    matches = File.sha256.is_(None) if digest is None else File.sha256 == digest
    total = connection.scalar(select(func.count()).select_from(File).where(matches)) or 0
    if not total:
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
        .where(matches)
        .order_by(File.tree_id, File.path)
        .limit(MAX_REFERENCES)
    )
    return [_reference(row) for row in rows], total


def _reference(row: Any) -> Reference:
    """Return the reference that a row of :func:`find_references` describes."""
    kind = "replaced"
    for name in ("release", "submission", "feedback"):
        if getattr(row, name) is not None:
            kind = name
    removed = row.course_removed is not None or row.removed is not None
    return Reference(
        row.course, row.assignment, row.student, row.submitted_at, kind, row.path, removed
    )


def select_referenced(connection: Connection, digests: Sequence[bytes]) -> set[bytes]:
    """Return those of ``digests`` that rows reference, rows in the trash and uploads included."""
    columns = (File.sha256, Upload.sha256, UploadPart.sha256)
    return {digest for column in columns for digest in _select(connection, column, digests)}


def select_referenced_by_trees(connection: Connection, digests: Sequence[bytes]) -> set[bytes]:
    """Return those of ``digests`` that trees reference.

    The database may have been made by an older release, which had no uploads.
    """
    return _select(connection, File.sha256, digests)


def _select(
    connection: Connection, column: InstrumentedAttribute[Any], digests: Sequence[bytes]
) -> set[bytes]:
    referenced: set[bytes] = set()
    for start in range(0, len(digests), BATCH_SIZE):
        batch = digests[start : start + BATCH_SIZE]
        found = connection.scalars(select(column).where(column.in_(batch)).distinct())
        referenced.update(digest for digest in found if digest is not None)
    return referenced


def list_referenced(connection: Connection, shard: int) -> dict[bytes, set[RecordedContent]]:
    """Return every referenced digest of a shard, with what the rows record of its content.

    ``shard`` is the first byte of the digests, as in :data:`ngshare.blobs.gc.SHARDS`. Rows
    record different contents for one digest only when the database is damaged.
    """
    rows = select(File.sha256, File.md5, File.size).where(File.sha256 >= bytes([shard])).distinct()
    if shard + 1 < SHARDS:
        rows = rows.where(File.sha256 < bytes([shard + 1]))
    recorded: dict[bytes, set[RecordedContent]] = {}
    for digest, md5, size in connection.execute(rows):
        if digest is not None:
            recorded.setdefault(digest, set()).add(RecordedContent(md5, size))
    return recorded


def list_referenced_sizes(connection: Connection, shard: int) -> dict[bytes, int]:
    """Return every referenced digest of a shard with its size in bytes, the largest recorded."""
    return {
        digest: max(content.size for content in contents)
        for digest, contents in list_referenced(connection, shard).items()
    }
