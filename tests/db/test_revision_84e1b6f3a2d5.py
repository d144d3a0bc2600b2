"""Revision 84e1b6f3a2d5 computes the digest of each tree."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, select

from ngshare.actions import tree_rows
from ngshare.db import migrate
from ngshare.db.models import Tree
from ngshare.db.transactions import Database
from ngshare.db.urls import parse_url
from ngshare.protocol.manifests import tree_digest
from tests.databases import Databases
from tests.migrations import contents, fill_at_revision, losses

BEFORE = "5d2f8c41b7a9"
PATHS = {1: ["b", "a/ä", "a b"], 2: [], 3: ["lost", "there"]}


def rows() -> Iterator[tuple[str, dict[str, Any]]]:
    created = datetime(2026, 1, 1, tzinfo=timezone.utc)
    yield "courses", {"id": 1, "name": "Physics 101", "created_at": created}
    for tree, paths in PATHS.items():
        yield "trees", {"id": tree, "course_id": 1, "size": len(paths)}
        for path in paths:
            sha256 = None if path == "lost" else hashlib.sha256(path.encode()).digest()
            file = {"tree_id": tree, "path": path, "sha256": sha256, "md5": bytes(16), "size": 1}
            yield "files", file


@pytest.fixture
def url(databases: Databases, tmp_path: Path) -> Iterator[URL]:
    """A database of the revision before, with these rows."""
    with databases.copy(None, tmp_path) as text:
        url = parse_url(text)
        fill_at_revision(url, BEFORE, rows())
        yield url


def test_trees_get_the_digests_that_new_ones_have(url: URL) -> None:
    before = contents(url)
    assert migrate.upgrade(url) == (BEFORE, migrate.head())
    database = Database(url)
    found = database.read(
        lambda connection: connection.execute(select(Tree.id, Tree.digest, Tree.file_count)).all()
    )
    expected = [
        (
            tree,
            tree_digest(tree_rows.make_manifest(database.read(tree_rows.list_files, tree))),
            len(paths),
        )
        for tree, paths in PATHS.items()
    ]
    database.close()
    assert sorted(map(tuple, found)) == expected
    assert losses(before, contents(url)) == []
