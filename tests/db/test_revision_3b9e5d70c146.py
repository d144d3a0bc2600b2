"""Revision 3b9e5d70c146 reads in the audit log what was removed or replaced, and by whom."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from ngshare.actions import assignments, audit, feedback, purge, trash, trash_restore
from ngshare.actions.access import Caller
from ngshare.actions.trash import TrashItem
from ngshare.db import migrate
from ngshare.db.engine import make_engine
from ngshare.db.transactions import Database
from ngshare.db.urls import parse_url
from ngshare.errors import Conflict
from ngshare.protocol.times import format_time
from tests.databases import Databases
from tests.migrations import contents, fill_at_revision, losses

BEFORE = "7c1f0a52d3e8"
SHELL = Caller("shell:root", admin=True)
IVY = Caller("ivy")


def moment(number: int) -> datetime:
    return datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(days=number, microseconds=number)


WITHDREW, LEFT, RELEASED, GAVE, TWICE, PURGED, PRUNED = map(moment, range(10, 17))
FIRST, SECOND = moment(1), moment(2)
"""When sam handed in to ps1."""


def rows() -> Iterator[tuple[str, dict[str, Any]]]:
    """A site before the revision: two courses, ps1 and ps2 in the first, and its log."""
    for number, name in enumerate(("ivy", "sam", "ada", "ben", "root"), 1):
        yield "users", {"id": number, "name": name}
    yield "courses", {"id": 1, "name": "Chemistry", "created_at": moment(0)}
    gone = {"created_at": moment(0), "removed_at": WITHDREW}
    yield "courses", {"id": 2, "name": "Gone", **gone}
    yield "courses", {"id": 3, "name": "Gone, and nobody knows by whom", **gone}
    for number, user, role, removed in (
        (1, 1, "instructor", None),
        (2, 2, "student", None),
        (3, 3, "student", LEFT),
        (4, 4, "instructor", LEFT),
        (5, 5, "student", PRUNED),
    ):
        member = {"id": number, "course_id": 1, "user_id": user, "role": role}
        yield "memberships", {**member, "removed_at": removed}
    trees = {
        **{1: None, 2: RELEASED, 3: None, 4: GAVE, 5: None, 6: TWICE, 7: PURGED, 8: PRUNED},
        **{9: None, 10: None, 11: None},
    }
    for number, replaced_at in trees.items():
        tree = {"id": number, "course_id": 1, "size": 3, "replaced_at": replaced_at}
        yield "trees", tree
        file = {"sha256": bytes([number]) * 32, "md5": bytes(16), "size": 3}
        yield "files", {"tree_id": number, "path": f"tree {number}", **file}
    ps1 = {"id": 1, "course_id": 1, "name": "ps1", "tree_id": 1}
    yield "assignments", {**ps1, "released_at": RELEASED}
    ps2 = {"id": 2, "course_id": 1, "name": "ps2", "tree_id": 9}
    yield "assignments", {**ps2, "released_at": FIRST, "removed_at": WITHDREW}
    of_sam = {"assignment_id": 1, "student_id": 2}
    yield "submissions", {"id": 1, **of_sam, "submitted_at": FIRST, "tree_id": 10}
    second = {"id": 2, **of_sam, "submitted_at": SECOND, "tree_id": 11}
    yield "submissions", {**second, "feedback_tree_id": 3}
    for at, actor, event, more in (
        (WITHDREW, "somebody else", "course removed", {"course_id": 1}),
        (WITHDREW, "shell:root", "course removed", {"course_id": 2}),
        (WITHDREW, "ada", "assignment removed", {"assignment": "another"}),
        (WITHDREW, "ivy", "assignment removed", {"assignment": "ps2"}),
        (LEFT, "ivy", "student removed", {"student": "ada"}),
        (LEFT, "root", "instructor removed", {"detail": {"instructor": "ben"}}),
        (RELEASED, "ivy", "assignment released", {"assignment": "ps1"}),
        (RELEASED, "ivy", "assignment fetched", {"assignment": "ps2"}),
        (GAVE, "ben", "feedback restored", _to_sam(SECOND)),
        (TWICE, "ivy", "feedback given", _to_sam(FIRST)),
        (TWICE, "ivy", "feedback given", _to_sam(SECOND)),
        (PURGED, "ivy", "assignment released", {"assignment": "purged"}),
    ):
        entry = {"at": at, "actor": actor, "event": event, "course_id": 1, "course": "Chemistry"}
        yield "audit_log", {**entry, **more}


def _to_sam(submitted_at: datetime) -> dict[str, Any]:
    detail = {"files": 1, "timestamp": format_time(submitted_at)}
    return {"assignment": "ps1", "student": "sam", "detail": detail}


@pytest.fixture
def url(databases: Databases, tmp_path: Path) -> Iterator[URL]:
    """A database of the revision before, with these rows."""
    with databases.copy(None, tmp_path) as text:
        url = parse_url(text)
        fill_at_revision(url, BEFORE, rows())
        yield url


@pytest.fixture
def upgraded(url: URL) -> Iterator[Database]:
    """That database upgraded, without its audit log, of which nothing may be needed any more."""
    assert migrate.upgrade(url) == (BEFORE, migrate.head())
    engine = make_engine(url, writes=True)
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM audit_log")
    engine.dispose()
    database = Database(url, connections=2)
    yield database
    database.close()


def test_what_the_log_told_stands_in_columns(upgraded: Database) -> None:
    of_ps1: dict[str, Any] = {"assignment": "ps1"}
    of_sam = {**of_ps1, "user": "sam", "submitted_at": SECOND}
    here = (1, "Chemistry", False)
    assert upgraded.read(trash.list_trash, SHELL) == [
        TrashItem("c2", "course", 2, "Gone", True, WITHDREW, "shell:root"),
        TrashItem("c3", "course", 3, "Gone, and nobody knows by whom", True, WITHDREW, None),
        TrashItem("a2", "assignment", *here, WITHDREW, "ivy", assignment="ps2"),
        TrashItem("m3", "student", *here, LEFT, "ivy", user="ada"),
        TrashItem("m4", "instructor", *here, LEFT, "root", user="ben"),
        TrashItem("m5", "student", *here, PRUNED, None, user="root"),
        TrashItem("t2", "release", *here, RELEASED, "ivy", **of_ps1),
        TrashItem("t4", "feedback", *here, GAVE, "ben", **of_sam),
        # Of the log's two entries of one moment, either may be about it.
        TrashItem("t6", "replaced", *here, TWICE, None),
        # The assignment is not there any more.
        TrashItem("t7", "replaced", *here, PURGED, None),
        TrashItem("t8", "replaced", *here, PRUNED, None),
    ]


def test_what_is_known_can_be_restored(upgraded: Database) -> None:
    for key in ("t2", "t4", "m3", "a2", "c2"):
        upgraded.write(trash_restore.restore_item, SHELL, key)
    [file] = upgraded.read(assignments.fetch_assignment, IVY, "Chemistry", "ps1")
    assert file.path == "tree 2"
    given = ("Chemistry", "ps1", "sam", format_time(SECOND))
    _, [file] = upgraded.read(feedback.fetch_feedback, IVY, *given)
    assert file.path == "tree 4"
    for key in ("t6", "t7", "t8"):
        with pytest.raises(Conflict, match="no record of what this replaced tree belonged to"):
            upgraded.write(trash_restore.restore_item, SHELL, key)
    trashed = {item.key: item for item in upgraded.read(trash.list_trash, SHELL)}
    assert {"t1", "t3"} <= trashed.keys()
    assert trashed["t3"].user == "sam"


def test_all_of_it_can_be_purged(upgraded: Database) -> None:
    before = audit.now()
    keys = [item.key for item in upgraded.read(trash.list_trash, SHELL)]
    purged = upgraded.write(purge.purge_items, SHELL, keys, before)
    assert (purged.courses, purged.assignments, purged.members, purged.trees) == (2, 1, 3, 6)
    assert upgraded.read(trash.list_trash, SHELL) == []


def test_nothing_else_changes(url: URL) -> None:
    before = contents(url)
    migrate.upgrade(url)
    assert losses(before, contents(url), {"trees.replaced_at"}) == []
