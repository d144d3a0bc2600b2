"""Read a stored tree by its name: a release, a submission or the feedback on one.

Members of the course may read releases, instructors every submission and its feedback, students
their own. Instructors may also read the work of students who have left the course.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, select

from ngshare.actions import submissions, tree_rows
from ngshare.actions.access import Caller, Capability, require_capability_or_self, require_member
from ngshare.db.models import File, Tree
from ngshare.errors import BadRequest, NotFound
from ngshare.protocol.times import parse_time
from ngshare.protocol.trees import StoredFile, check_path

_SUMMARY = select(Tree.digest, Tree.file_count).where(Tree.id == bindparam("tree_id"))
_FILE = select(File.path, File.sha256, File.md5, File.size).where(
    File.tree_id == bindparam("tree_id"), File.path == bindparam("path")
)


class TreeKind(enum.Enum):
    """The kinds of trees, as they are named in paths of requests."""

    RELEASE = "assignment"
    SUBMISSION = "submission"
    FEEDBACK = "feedback"


@dataclass(frozen=True, slots=True)
class TreeName:
    """The name of a tree in a request.

    ``student`` is None for a release. ``timestamp`` is the time of the submission as the client
    sent it; None or empty for the student's latest one.
    """

    kind: TreeKind
    course: str
    assignment: str
    student: str | None = None
    timestamp: str | None = None


@dataclass(frozen=True, slots=True)
class TreeRef:
    """A tree: the id of its row, and the time (UTC) of its submission; None for a release."""

    id: int
    submitted_at: datetime | None


@dataclass(frozen=True, slots=True)
class TreeSummary:
    """A tree whose files are read later: its id, digest, and number of files.

    ``student`` and ``submitted_at`` (UTC) are those of its submission; None for a release.
    """

    id: int
    digest: bytes
    file_count: int
    student: str | None
    submitted_at: datetime | None


def require_tree(connection: Connection, caller: Caller, name: TreeName) -> TreeRef:
    """Return the tree of this name. Raise an error unless it exists and the caller may read it."""
    if name.student is None:
        access = require_member(connection, caller, name.course, name.assignment)
        return TreeRef(access.require_assignment().tree_id, None)
    access = require_capability_or_self(
        connection, caller, name.course, Capability.GRADE, name.student, name.assignment
    )
    assignment = access.require_assignment()
    submissions.require_participant(connection, caller, access, name.student, removed=True)
    submitted_at = parse_time(name.timestamp) if name.timestamp else None
    submission = submissions.require_submission(connection, assignment, name.student, submitted_at)
    if name.kind is TreeKind.SUBMISSION:
        return TreeRef(submission.tree_id, submission.submitted_at)
    if submission.feedback_tree_id is None:
        raise NotFound("Feedback not found")
    return TreeRef(submission.feedback_tree_id, submission.submitted_at)


@dataclass(frozen=True, slots=True)
class StoredTree:
    """A tree with its files, sorted by path.

    ``submitted_at`` is the time (UTC) of its submission; None for a release. ``digest`` is that of
    :func:`ngshare.protocol.manifests.tree_digest`.
    """

    submitted_at: datetime | None
    digest: bytes
    files: list[StoredFile]


def read_tree(connection: Connection, caller: Caller, name: TreeName) -> StoredTree:
    """Return the tree of this name. Raises what :func:`require_tree` raises."""
    tree = require_tree(connection, caller, name)
    digest, _ = connection.execute(_SUMMARY, {"tree_id": tree.id}).one()
    return StoredTree(tree.submitted_at, digest, tree_rows.list_files(connection, tree.id))


def read_file(
    connection: Connection, caller: Caller, name: TreeName, path: object
) -> tuple[TreeRef, StoredFile]:
    """Return the file at ``path`` in the tree of this name; ``path`` is as the client sent it.

    Raises what :func:`require_tree` raises, and then BadRequest for an illegal path, and NotFound.
    """
    tree = require_tree(connection, caller, name)
    if not isinstance(path, str) or not path:
        raise BadRequest("Please supply path")
    values = {"tree_id": tree.id, "path": check_path(path)}
    row = connection.execute(_FILE, values).one_or_none()
    if row is None:
        raise NotFound("File not found")
    return tree, StoredFile(*row)


def find_tree(connection: Connection, caller: Caller, name: TreeName) -> TreeSummary:
    """Return the tree of this name, to be read later. Raises what :func:`require_tree` raises."""
    tree = require_tree(connection, caller, name)
    digest, count = connection.execute(_SUMMARY, {"tree_id": tree.id}).one()
    return TreeSummary(tree.id, digest, count, name.student, tree.submitted_at)
