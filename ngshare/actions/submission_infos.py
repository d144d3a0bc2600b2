"""Describe many submissions at once, in three statements: their trees, notebooks and feedback."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Select, select, type_coerce
from sqlalchemy.orm import aliased

from ngshare.db.models import Assignment, File, Membership, Submission, Tree, User, UtcText
from ngshare.protocol.manifests import LOST_DIGEST
from ngshare.protocol.overview import FeedbackInfo, SubmissionInfo

NOTEBOOK = ".ipynb"

_Feedback = aliased(Tree)
_DESCRIBED = (
    select(
        Submission.assignment_id,
        User.name.label("student"),
        type_coerce(Submission.submitted_at, UtcText).label("timestamp"),
        Submission.tree_id,
        Tree.digest,
        Tree.file_count,
        Tree.size,
        Submission.feedback_tree_id,
        _Feedback.digest.label("feedback_digest"),
        Membership.id.label("membership_id"),
    )
    .join(User, User.id == Submission.student_id)
    .join(Assignment, Assignment.id == Submission.assignment_id)
    .join(Tree, Tree.id == Submission.tree_id)
    .outerjoin(_Feedback, _Feedback.id == Submission.feedback_tree_id)
    .outerjoin(
        Membership,
        (Membership.course_id == Assignment.course_id)
        & (Membership.user_id == Submission.student_id)
        & Membership.removed_at.is_(None),
    )
    .order_by(User.name, Submission.submitted_at, Submission.id)
)


def describe_submissions(
    connection: Connection, submissions: Select[int], before: str | None = None
) -> list[tuple[int, SubmissionInfo]]:
    """Return submissions, by student and time, each after the id of its assignment.

    submissions: a query for the ids of the submissions, and nothing else.
    before: a time, formatted; submissions after it are late.
    """
    chosen = Submission.id.in_(submissions)
    notebooks = list_notebooks(connection, select(Submission.tree_id).where(chosen))
    feedback = _list_digests(
        connection,
        select(Submission.feedback_tree_id).where(chosen, Submission.feedback_tree_id.is_not(None)),
    )
    return [
        (
            row.assignment_id,
            SubmissionInfo(
                student=row.student,
                timestamp=row.timestamp,
                digest=row.digest.hex(),
                files=row.file_count,
                bytes=row.size,
                notebooks=notebooks.get(row.tree_id, []),
                feedback=None
                if row.feedback_tree_id is None
                else FeedbackInfo(
                    row.feedback_digest.hex(), feedback.get(row.feedback_tree_id, {})
                ),
                removed=row.membership_id is None,
                late=before is not None and row.timestamp > before,
            ),
        )
        for row in connection.execute(_DESCRIBED.where(chosen))
    ]


def list_notebooks(connection: Connection, tree_ids: Select[int]) -> dict[int, list[str]]:
    """Return the paths of the notebooks in trees, sorted, by the id of the tree.

    tree_ids: a query for the ids of the trees. Trees without notebooks are left out.
    """
    rows = connection.execute(
        select(File.tree_id, File.path)
        .where(File.tree_id.in_(tree_ids), File.path.like(f"%{NOTEBOOK}"))
        .order_by(File.tree_id, File.path)
    )
    notebooks: dict[int, list[str]] = {}
    for tree_id, path in rows:
        if path.endswith(NOTEBOOK):  # SQLite's LIKE ignores case
            notebooks.setdefault(tree_id, []).append(path)
    return notebooks


def _list_digests(connection: Connection, tree_ids: Select[Any]) -> dict[int, dict[str, str]]:
    """Return the SHA-256 of each file of trees, in hexadecimal digits, by tree and path."""
    rows = connection.execute(
        select(File.tree_id, File.path, File.sha256)
        .where(File.tree_id.in_(tree_ids))
        .order_by(File.tree_id, File.path)
    )
    digests: dict[int, dict[str, str]] = {}
    for tree_id, path, sha256 in rows:
        digests.setdefault(tree_id, {})[path] = (sha256 or LOST_DIGEST).hex()
    return digests
