"""Directory trees as rows: what assignments, submissions and feedback are made of."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.orm import Session

from ngshare.models import File, Tree
from ngshare.wire import StoredFile

_FILES = (
    select(File.path, File.sha256, File.md5, File.size)
    .where(File.tree_id == bindparam("tree_id"))
    .order_by(File.path)
)


def add(session: Session, course_id: int, files: Sequence[StoredFile]) -> int:
    """Write the rows of a tree whose blobs are durable already; return its id."""
    tree_id: int = session.execute(
        insert(Tree).returning(Tree.id),
        {"course_id": course_id, "size": sum(file.size for file in files)},
    ).scalar_one()
    if files:
        session.execute(
            insert(File),
            [
                {
                    "tree_id": tree_id,
                    "path": file.path,
                    "sha256": file.sha256,
                    "md5": file.md5,
                    "size": file.size,
                }
                for file in files
            ],
        )
    return tree_id


def files(session: Session, tree_id: int | None) -> list[StoredFile]:
    """The files of a tree, by path; of no tree, none."""
    if tree_id is None:
        return []
    return [StoredFile(*row) for row in session.execute(_FILES, {"tree_id": tree_id})]


def mark_replaced(session: Session, tree_id: int | None, at: datetime) -> None:
    """Say that nothing points to this tree any more. It is kept until it is purged."""
    if tree_id is not None:
        session.execute(update(Tree).where(Tree.id == tree_id).values(replaced_at=at))
