"""Find the files that a caller need not send, because the caller could read them anyway.

Knowing the digest of a file opens nothing: a file counts as present only if it is in a release of
the course, in a submission of the caller's to the course or the feedback on it, in the trees that a
grader works on, or if the caller has uploaded it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from sqlalchemy import Connection, Executable, Row, bindparam, select

from ngshare.actions import assignments, feedback, submissions
from ngshare.actions.access import Access, Caller, require_member
from ngshare.actions.chunks import chunks
from ngshare.db.models import Assignment, File, Submission, Tree, Upload

MAX_TREES = 1000
"""The most trees that are searched, the newest first, beside the ones that a request is about."""

MAX_FILES = 100_000
"""The most files of these trees together. Reading their rows takes a fraction of a second."""


class PresentContent(NamedTuple):
    """The content of a present file: its MD5 (16 bytes) and its size in bytes.

    ``uploaded`` is set if the caller has uploaded it, and no tree of the caller's has it.
    """

    md5: bytes
    size: int
    uploaded: bool = False


Present = dict[bytes, PresentContent]
"""Present contents, by SHA-256 (32 bytes)."""

_IN_TREES = select(File.sha256, File.md5, File.size).where(
    File.tree_id.in_(bindparam("tree_ids", expanding=True)), File.sha256.is_not(None)
)
_LATEST_TREE = (
    select(Submission.tree_id)
    .where(
        Submission.assignment_id == bindparam("assignment_id"),
        Submission.student_id == bindparam("student_id"),
    )
    .order_by(Submission.submitted_at.desc())
    .limit(1)
)
# The trees that most submissions share files with: few rows, found by primary key.
_RELEASE_AND_LATEST = select(File.sha256, File.md5, File.size).where(
    (File.tree_id == bindparam("release_id")) | (File.tree_id == _LATEST_TREE.scalar_subquery()),
    File.sha256.is_not(None),
)
_OWN = (
    select(Submission.tree_id.label("tree_id"), Submission.feedback_tree_id)
    .join(Assignment, Assignment.id == Submission.assignment_id)
    .where(
        Assignment.course_id == bindparam("course_id"),
        Assignment.removed_at.is_(None),
        Submission.student_id == bindparam("student_id"),
    )
).cte("own")
_RELEASED = select(Assignment.tree_id).where(
    Assignment.course_id == bindparam("course_id"), Assignment.removed_at.is_(None)
)
_READABLE = (
    select(Tree.id, Tree.file_count)
    .where(
        Tree.id.in_(select(_OWN.c.tree_id).union_all(select(_OWN.c.feedback_tree_id), _RELEASED))
    )
    .order_by(Tree.id.desc())
    .limit(MAX_TREES)
)
_UPLOADED = select(Upload.sha256, Upload.md5, Upload.size).where(
    Upload.user_id == bindparam("student_id"),
    Upload.course_id == bindparam("course_id"),
    Upload.md5.is_not(None),
)


def find_for_submission(
    connection: Connection,
    caller: Caller,
    course: str,
    assignment: str,
    digests: Collection[bytes],
) -> Present:
    """Return the contents that a submission of the caller's need not contain.

    Raises what :func:`ngshare.actions.submissions.authorize_submission` raises.
    """
    access = submissions.authorize_submission(connection, caller, course, assignment)
    return _find(connection, access, digests)


def find_for_release(
    connection: Connection,
    caller: Caller,
    course: str,
    assignment: str,
    replace: bool,
    digests: Collection[bytes],
) -> Present:
    """Return the contents that a release need not contain.

    Raises what :func:`ngshare.actions.assignments.authorize_release` raises.
    """
    access = assignments.authorize_release(connection, caller, course, assignment, replace)
    return _find(connection, access, digests)


def find_for_feedback(
    connection: Connection,
    caller: Caller,
    course: str,
    assignment: str,
    student: str,
    timestamp: str | None,
    digests: Collection[bytes],
) -> Present:
    """Return the contents that feedback on a submission need not contain.

    Raises what :func:`ngshare.actions.feedback.authorize_feedback` raises.
    """
    access, submission = feedback.authorize_feedback(
        connection, caller, course, assignment, student, timestamp
    )
    graded = [submission.tree_id]
    if submission.feedback_tree_id is not None:
        graded.append(submission.feedback_tree_id)
    return _find(connection, access, digests, graded)


def find_in_course(
    connection: Connection,
    caller: Caller,
    course: str,
    assignment: str,
    digests: Collection[bytes],
) -> Present:
    """Return the contents that any tree of the caller's for an assignment need not contain.

    The assignment need not exist, as it may be released with these files. Raises NotFound, and
    Forbidden for callers who are not in the course; without digests it checks just that.
    """
    access = require_member(connection, caller, course, assignment)
    return _find(connection, access, digests)


def _find(
    connection: Connection,
    access: Access,
    digests: Collection[bytes],
    tree_ids: Iterable[int] = (),
) -> Present:
    """Return which contents are present for the caller of ``access``.

    tree_ids: further trees that the caller works on.
    """
    missing = set(digests)
    present: Present = {}

    def look_into(query: Executable, uploaded: bool = False, **values: object) -> None:
        for sha256, md5, size in connection.execute(query, values):
            if sha256 in missing:
                missing.discard(sha256)
                present[sha256] = PresentContent(md5, size, uploaded)

    if not missing:
        return present
    caller_id = access.caller_id or 0  # no user has the id 0
    if access.assignment is not None:
        look_into(
            _RELEASE_AND_LATEST,
            release_id=access.assignment.tree_id,
            assignment_id=access.assignment.id,
            student_id=caller_id,
        )
    if missing:
        look_into(_UPLOADED, True, student_id=caller_id, course_id=access.course_id)
    if missing:
        values = {"course_id": access.course_id, "student_id": caller_id}
        readable = _take_files(connection.execute(_READABLE, values).all(), MAX_FILES)
        for chunk in chunks([*tree_ids, *readable]):
            if not missing:
                break
            look_into(_IN_TREES, tree_ids=chunk)
    return present


def _take_files(trees: Iterable[Row[int, int]], limit: int) -> Iterator[int]:
    """Yield the ids of the first trees that have at most ``limit`` files together."""
    total = 0
    for tree_id, file_count in trees:
        total += file_count
        if total > limit:
            break
        yield tree_id
