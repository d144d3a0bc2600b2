"""Directory trees as rows: the files of assignments, submissions and feedback."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import Connection, bindparam, insert, select

from ngshare.actions.access import Caller
from ngshare.actions.chunks import chunks
from ngshare.db.models import File, ReplacedTree, Tree
from ngshare.protocol.manifests import LOST_DIGEST, ManifestFile, tree_digest
from ngshare.protocol.trees import StoredFile

_INSERT_TREE = insert(Tree).returning(Tree.id)
_INSERT_FILE = insert(File)
_INSERT_REPLACED = insert(ReplacedTree)
_SELECT_FILES = select(File.tree_id, File.path, File.sha256, File.md5, File.size)
_FILES = (
    select(File.path, File.sha256, File.md5, File.size)
    .where(File.tree_id == bindparam("tree_id"))
    .order_by(File.path)
)


def insert_tree(connection: Connection, course_id: int, files: Sequence[StoredFile]) -> int:
    """Insert the rows of a tree, and return its id. The blobs of its files must be durable."""
    tree_id: int = connection.execute(
        _INSERT_TREE,
        {
            "course_id": course_id,
            "size": sum(file.size for file in files),
            "digest": tree_digest(make_manifest(files)),
            "file_count": len(files),
        },
    ).scalar_one()
    if files:
        connection.execute(
            _INSERT_FILE,
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


def make_manifest(files: Iterable[StoredFile]) -> list[ManifestFile]:
    """Return the manifest of a stored tree."""
    return [ManifestFile(file.path, file.sha256 or LOST_DIGEST, file.size) for file in files]


def list_files(connection: Connection, tree_id: int | None) -> list[StoredFile]:
    """Return the files of a tree, sorted by path; none if ``tree_id`` is None."""
    if tree_id is None:
        return []
    return [StoredFile(*row) for row in connection.execute(_FILES, {"tree_id": tree_id}).all()]


def list_files_of_trees(
    connection: Connection, tree_ids: Sequence[int]
) -> dict[int, list[StoredFile]]:
    """Return the files of trees, sorted by path, by the id of the tree."""
    files: dict[int, list[StoredFile]] = {tree_id: [] for tree_id in tree_ids}
    for chunk in chunks(tree_ids):
        query = _SELECT_FILES.where(File.tree_id.in_(chunk)).order_by(File.tree_id, File.path)
        for tree_id, path, sha256, md5, size in connection.execute(query).all():
            files[tree_id].append(StoredFile(path, sha256, md5, size))
    return files


def mark_replaced(
    connection: Connection,
    caller: Caller,
    tree_id: int | None,
    at: datetime,
    *,
    assignment_id: int,
    submission_id: int | None = None,
) -> None:
    """Record that a newer tree replaced this one, at a time in UTC. It stays until it is purged.

    The tree was the release of the assignment, or, with a ``submission_id``, the feedback on that
    submission. If ``tree_id`` is None (no feedback was given before), nothing is recorded.
    """
    if tree_id is not None:
        connection.execute(
            _INSERT_REPLACED,
            {
                "tree_id": tree_id,
                "assignment_id": assignment_id,
                "submission_id": submission_id,
                "replaced_at": at,
                "replaced_by": caller.name,
            },
        )
