"""A purge deletes old items of the trash with their contents, and nothing else."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, func, insert, literal, select

from ngshare.actions import (
    assignments,
    audit,
    courses,
    feedback,
    purge,
    roster,
    submissions,
    trash,
    trash_restore,
    uploads,
)
from ngshare.actions.access import Caller
from ngshare.actions.purge import PurgeCounts
from ngshare.blobs import sha256
from ngshare.db.models import (
    Assignment,
    AuditEntry,
    Base,
    Course,
    File,
    Membership,
    ReplacedTree,
    Submission,
    Tree,
    UtcDateTime,
)
from ngshare.errors import Forbidden, NotFound
from ngshare.protocol.times import format_time
from ngshare.protocol.trees import StoredFile, md5
from tests.actions.conftest import ADMIN, COURSE, INSTRUCTOR, STUDENT, Act

SHELL = Caller("shell:root", admin=True)
KEPT = "Kept"
"""A course like the first, from which nothing is removed."""


def tree(content: bytes) -> list[StoredFile]:
    return [StoredFile("a", sha256(content), md5(content), len(content))]


@pytest.fixture
def filled(act: Act) -> None:
    """Two courses, with two assignments that have submissions and feedback."""
    act(courses.create_course, ADMIN, KEPT, [INSTRUCTOR.name])
    act(roster.put_student, INSTRUCTOR, KEPT, STUDENT.name, "", "", "")
    for course in (COURSE, KEPT):
        for name in ("ps1", "ps2"):
            act(assignments.release_assignment, INSTRUCTOR, course, name, tree(b"release"))
            for _ in range(2):
                moment = act(submissions.submit, STUDENT, course, name, tree(b"work"))
                give = (INSTRUCTOR, course, name, "sam", format_time(moment))
                act(feedback.give_feedback, *give, tree(b"feedback"))


def counts(connection: Connection) -> dict[str, int]:
    """Return the number of rows of each table, except users, audit log and signing key."""
    return {
        name: connection.scalar(select(func.count()).select_from(table)) or 0
        for name, table in Base.metadata.tables.items()
        if name not in ("users", "audit_log", "signing_keys")
    }


def of_course(connection: Connection, course: str) -> dict[str, int]:
    """Return the number of rows of one course by table."""
    [course_id] = connection.scalars(select(Course.id).where(Course.name == course))
    of = {
        "assignments": (Assignment, Assignment.course_id == course_id),
        "trees": (Tree, Tree.course_id == course_id),
        "memberships": (Membership, Membership.course_id == course_id),
    }
    return {
        name: connection.scalar(select(func.count()).select_from(table).where(fits)) or 0
        for name, (table, fits) in of.items()
    }


def unnamed_trees(connection: Connection) -> int:
    named = select(Assignment.tree_id).union(
        select(Submission.tree_id), select(Submission.feedback_tree_id)
    )
    shown = named.subquery().c[0]
    query = select(func.count()).where(Tree.id.not_in(select(shown).where(shown.is_not(None))))
    return connection.scalar(query) or 0


def purge_all(act: Act, before: datetime | None = None) -> PurgeCounts:
    before = before or audit.now() + timedelta(seconds=1)
    keys = [item.key for item in act(trash.list_trash, SHELL, before=before)]
    purged: PurgeCounts = act(purge.purge_items, SHELL, keys, before)
    return purged


def last_events(connection: Connection, count: int) -> list[Any]:
    rows = connection.execute(
        select(AuditEntry.event, AuditEntry.course, AuditEntry.assignment, AuditEntry.detail)
        .where(AuditEntry.actor == SHELL.name)
        .order_by(AuditEntry.id.desc())
        .limit(count)
    )
    return [tuple(row) for row in rows]


def test_only_for_admins(act: Act) -> None:
    with pytest.raises(Forbidden):
        act(purge.purge_items, INSTRUCTOR, [], audit.now())


def test_rows_that_are_not_removed_are_not_purged(act: Act, filled: None) -> None:
    before = act(counts)
    assert purge_all(act) == PurgeCounts()
    everything = [f"{kind}{number}" for kind in "camt" for number in range(1, 40)]
    assert (
        act(purge.purge_items, SHELL, everything, audit.now() + timedelta(days=1)) == PurgeCounts()
    )
    assert act(counts) == before


def test_a_course_with_its_contents(act: Act, filled: None) -> None:
    kept = act(of_course, KEPT)
    part, limits = uploads.Part(0, bytes(32), 1), uploads.UploadLimits(100, None)
    act(uploads.add_part, STUDENT, COURSE, bytes(32), 2, part, limits)
    act(assignments.remove_assignment, INSTRUCTOR, COURSE, "ps2")
    act(courses.remove_course, ADMIN, COURSE)
    [course] = act(trash.list_trash, SHELL, kind="course")
    purged = act(purge.purge_items, SHELL, [course.key], audit.now())
    assert purged == PurgeCounts(courses=1, assignments=2, members=2, trees=10, submissions=4)
    assert act(of_course, KEPT) == kept
    assert act(counts) == {
        "courses": 1,
        "assignments": 2,
        "memberships": 2,
        "submissions": 4,
        "trees": 10,
        "files": 10,
        "uploads": 0,
        "upload_parts": 0,
        "replaced_trees": 0,
    }
    with pytest.raises(NotFound):
        act(trash_restore.restore_item, SHELL, course.key)
    [event] = act(last_events, 1)
    assert event == (
        "course purged",
        COURSE,
        None,
        {"removed": format_time(course.at), "assignments": 2, "submissions": 4},
    )
    # What was ever done in it is told still.
    told = act(lambda connection: set(connection.scalars(select(AuditEntry.course))))
    assert told >= {COURSE, KEPT}


def test_an_assignment_with_its_submissions(act: Act, filled: None) -> None:
    act(assignments.remove_assignment, INSTRUCTOR, COURSE, "ps1")
    assert purge_all(act) == PurgeCounts(assignments=1, trees=5, submissions=2)
    assert act(of_course, COURSE) == {"assignments": 1, "trees": 5, "memberships": 2}
    assert act(of_course, KEPT) == {"assignments": 2, "trees": 10, "memberships": 2}
    assert act(unnamed_trees) == 0
    [(event, course, assignment, detail)] = act(last_events, 1)
    assert (event, course, assignment) == ("assignment purged", COURSE, "ps1")
    assert detail["submissions"] == 2
    # Its name is free for an assignment that has nothing to do with it.
    act(assignments.release_assignment, INSTRUCTOR, COURSE, "ps1", tree(b"anew"))
    assert act(submissions.list_submissions, INSTRUCTOR, COURSE, "ps1") == []


@pytest.mark.parametrize("role", ["student", "instructor"])
def test_a_member_but_not_their_submissions(act: Act, filled: None, role: str) -> None:
    name = STUDENT.name if role == "student" else INSTRUCTOR.name
    remove = roster.remove_student if role == "student" else roster.remove_instructor
    act(remove, ADMIN, COURSE, name)
    before = act(counts)
    assert purge_all(act) == PurgeCounts(members=1)
    assert act(counts) == {**before, "memberships": before["memberships"] - 1}
    assert len(act(submissions.list_submissions, ADMIN, COURSE, "ps1")) == 2
    assert act(last_events, 1)[0][0] == f"{role} purged"


def test_replaced_trees(act: Act, filled: None) -> None:
    act(assignments.remove_assignment, INSTRUCTOR, COURSE, "ps1")
    act(assignments.release_assignment, INSTRUCTOR, COURSE, "ps1", tree(b"newer release"))
    moment = act(submissions.list_submissions, INSTRUCTOR, COURSE, "ps1")[0].timestamp
    act(feedback.give_feedback, INSTRUCTOR, COURSE, "ps1", "sam", moment, tree(b"newer feedback"))
    assert act(unnamed_trees) == 2
    assert purge_all(act) == PurgeCounts(trees=2)
    assert act(unnamed_trees) == 0
    assert act(last_events, 1)[0] == ("replaced trees purged", COURSE, None, {"trees": 2})
    assert act(assignments.fetch_assignment, STUDENT, COURSE, "ps1") == tree(b"newer release")
    found = act(feedback.fetch_feedback, STUDENT, COURSE, "ps1", "sam", moment)
    assert found[1] == tree(b"newer feedback")


def test_an_assignment_with_its_replaced_trees(act: Act, filled: None) -> None:
    before = act(counts)
    for _ in range(2):
        act(assignments.remove_assignment, INSTRUCTOR, COURSE, "ps1")
        act(assignments.release_assignment, INSTRUCTOR, COURSE, "ps1", tree(b"newer release"))
    moment = act(submissions.list_submissions, INSTRUCTOR, COURSE, "ps1")[0].timestamp
    act(feedback.give_feedback, INSTRUCTOR, COURSE, "ps1", "sam", moment, tree(b"newer feedback"))
    act(assignments.remove_assignment, INSTRUCTOR, COURSE, "ps1")
    [key] = [item.key for item in act(trash.list_trash, SHELL, kind="assignment")]
    purged = act(purge.purge_items, SHELL, [key], audit.now())
    assert purged == PurgeCounts(assignments=1, trees=5 + 3, submissions=2)
    assert act(trash.list_trash, SHELL) == []
    after = act(counts)
    assert {name: before[name] - after[name] for name in ("trees", "files")} == {
        "trees": 5,
        "files": 5,
    }


def test_a_replaced_tree_that_is_still_referenced_is_not_purged(act: Act, filled: None) -> None:
    def mark_all(connection: Connection) -> None:
        ids = select(Tree.id, literal(audit.now(), UtcDateTime()))
        columns = ["tree_id", "replaced_at"]
        connection.execute(insert(ReplacedTree).from_select(columns, ids))

    act(mark_all)
    before = act(counts)
    assert purge_all(act) == PurgeCounts()
    assert act(counts) == before


def test_items_removed_later_are_not_purged(act: Act, filled: None) -> None:
    act(assignments.remove_assignment, INSTRUCTOR, COURSE, "ps1")
    act(roster.remove_student, INSTRUCTOR, COURSE, STUDENT.name)
    between = audit.now()
    act(assignments.remove_assignment, INSTRUCTOR, COURSE, "ps2")
    act(courses.remove_course, ADMIN, KEPT)
    later = {item.key for item in act(trash.list_trash, SHELL) if item.at >= between}
    # Also when it is asked for by name.
    keys = [item.key for item in act(trash.list_trash, SHELL)]
    assert act(purge.purge_items, SHELL, keys, between) == PurgeCounts(
        assignments=1, members=1, trees=5, submissions=2
    )
    assert {item.key for item in act(trash.list_trash, SHELL)} == later


def test_restored_items_are_not_purged(act: Act, filled: None) -> None:
    act(assignments.remove_assignment, INSTRUCTOR, COURSE, "ps1")
    act(courses.remove_course, ADMIN, KEPT)
    before = act(counts)
    keys = [item.key for item in act(trash.list_trash, SHELL)]
    for key in keys:
        act(trash_restore.restore_item, SHELL, key)
    assert act(purge.purge_items, SHELL, keys, audit.now()) == PurgeCounts()
    assert act(counts) == before


def test_files_with_the_same_content_in_live_trees_are_not_purged(act: Act, filled: None) -> None:
    act(courses.remove_course, ADMIN, COURSE)
    purge_all(act)
    digests = act(lambda connection: set(connection.scalars(select(File.sha256))))
    assert digests == {sha256(b"release"), sha256(b"work"), sha256(b"feedback")}
