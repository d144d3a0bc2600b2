"""Items of the trash can be listed and restored as they were; errors say what prevents it."""

from __future__ import annotations

import threading
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Connection, select

from ngshare.actions import (
    assignments,
    audit,
    courses,
    feedback,
    roster,
    submissions,
    trash,
    trash_restore,
)
from ngshare.actions.trash import TrashItem
from ngshare.blobs import sha256
from ngshare.db.models import Assignment, AuditEntry, Course, Membership
from ngshare.db.transactions import Database
from ngshare.errors import BadRequest, Conflict, Forbidden, NotFound
from ngshare.protocol.times import format_time
from ngshare.protocol.trees import StoredFile, md5
from tests.actions.conftest import ADMIN, COURSE, INSTRUCTOR, STUDENT, Act

SHELL = trash.Caller("shell:root", admin=True)


def tree(content: bytes) -> list[StoredFile]:
    return [StoredFile("a", sha256(content), md5(content), len(content))]


OLD, NEW = tree(b"old"), tree(b"new")


@pytest.fixture
def handed_in(act: Act) -> datetime:
    """An assignment with a submission that has feedback. Return the time of the submission."""
    act(assignments.release_assignment, INSTRUCTOR, COURSE, "ps1", OLD)
    moment: datetime = act(submissions.submit, STUDENT, COURSE, "ps1", OLD)
    act(feedback.give_feedback, INSTRUCTOR, COURSE, "ps1", "sam", format_time(moment), OLD)
    return moment


def listed(act: Act, **only: Any) -> list[TrashItem]:
    found: list[TrashItem] = act(trash.list_trash, SHELL, **only)
    return found


def fetched(act: Act) -> Any:
    return act(assignments.fetch_assignment, STUDENT, COURSE, "ps1")


def last_event(connection: Connection) -> Any:
    return connection.execute(
        select(
            AuditEntry.actor,
            AuditEntry.event,
            AuditEntry.course,
            AuditEntry.assignment,
            AuditEntry.student,
            AuditEntry.detail,
        ).order_by(AuditEntry.id.desc())
    ).first()


def test_nothing_was_removed(act: Act, handed_in: datetime) -> None:
    assert listed(act) == []


def test_only_for_admins(act: Act) -> None:
    for action, arguments in ((trash.list_trash, ()), (trash_restore.restore_item, ("c1",))):
        with pytest.raises(Forbidden):
            act(action, INSTRUCTOR, *arguments)


def test_a_course(act: Act, handed_in: datetime) -> None:
    act(courses.remove_course, ADMIN, COURSE)
    [item] = listed(act)
    assert (item.kind, item.course, item.by) == ("course", COURSE, ADMIN.name)
    assert (item.submissions, item.course_removed) == (1, True)
    assert item.key == f"c{item.course_id}"
    assert abs((audit.now() - item.at).total_seconds()) < 3600

    assert act(trash_restore.restore_item, SHELL, item.key) == item
    assert listed(act) == []
    assert fetched(act) == OLD
    assert act(last_event) == (
        SHELL.name,
        "course restored",
        COURSE,
        None,
        None,
        {"removed_as": COURSE},
    )


def test_a_course_whose_name_is_taken(act: Act, handed_in: datetime) -> None:
    act(courses.remove_course, ADMIN, COURSE)
    act(courses.create_course, ADMIN, COURSE, [])
    [item] = listed(act)
    with pytest.raises(Conflict, match=f"A course {COURSE} exists: .* with --as NAME"):
        act(trash_restore.restore_item, SHELL, item.key)
    with pytest.raises(Conflict, match="A course"):
        act(trash_restore.restore_item, SHELL, item.key, COURSE)
    with pytest.raises(BadRequest, match="Illegal name"):
        act(trash_restore.restore_item, SHELL, item.key, "a/b")
    act(trash_restore.restore_item, SHELL, item.key, "The old one")
    assert act(assignments.list_assignments, ADMIN, "The old one") == ["ps1"]
    assert act(assignments.list_assignments, ADMIN, COURSE) == []


def test_an_assignment(act: Act, handed_in: datetime) -> None:
    act(assignments.remove_assignment, INSTRUCTOR, COURSE, "ps1")
    [item] = listed(act)
    assert (item.kind, item.assignment, item.by) == ("assignment", "ps1", INSTRUCTOR.name)
    assert (item.submissions, item.course_removed) == (1, False)
    act(trash_restore.restore_item, SHELL, item.key)
    assert fetched(act) == OLD
    [submission] = act(submissions.list_submissions, INSTRUCTOR, COURSE, "ps1")
    assert submission.timestamp == format_time(handed_in)
    assert act(last_event)[1:4] == ("assignment restored", COURSE, "ps1")
    with pytest.raises(NotFound, match=f"There is no {item.key} in the trash"):
        act(trash_restore.restore_item, SHELL, item.key)


@pytest.mark.parametrize("role", ["student", "instructor"])
def test_a_member(act: Act, role: str) -> None:
    name = "sam" if role == "student" else "ivy"
    remove = roster.remove_student if role == "student" else roster.remove_instructor
    act(remove, ADMIN, COURSE, name)
    [item] = listed(act)
    assert (item.kind, item.user, item.by) == (role, name, ADMIN.name)
    act(trash_restore.restore_item, SHELL, item.key)
    assert act(roster.get_role, item.course_id, name) == role
    assert act(last_event)[1] == f"{role} restored"
    assert name in str(act(last_event))


def test_an_old_release(act: Act, handed_in: datetime) -> None:
    act(assignments.remove_assignment, INSTRUCTOR, COURSE, "ps1")
    act(assignments.release_assignment, INSTRUCTOR, COURSE, "ps1", NEW)
    [item] = listed(act)
    assert (item.kind, item.assignment, item.by) == ("release", "ps1", INSTRUCTOR.name)
    act(trash_restore.restore_item, SHELL, item.key)
    assert fetched(act) == OLD
    # And the newer one is what can be brought back now.
    [newer] = listed(act)
    assert (newer.kind, newer.assignment, newer.by) == ("release", "ps1", SHELL.name)
    act(trash_restore.restore_item, SHELL, newer.key)
    assert fetched(act) == NEW
    assert [one.key for one in listed(act)] == [item.key]


def test_an_old_release_of_an_assignment_that_is_removed(act: Act, handed_in: datetime) -> None:
    for _ in range(2):
        act(assignments.remove_assignment, INSTRUCTOR, COURSE, "ps1")
        act(assignments.release_assignment, INSTRUCTOR, COURSE, "ps1", NEW)
    act(assignments.remove_assignment, INSTRUCTOR, COURSE, "ps1")
    [removed] = listed(act, kind="assignment")
    [first, _] = listed(act, kind="release")
    with pytest.raises(Conflict, match=f"ps1 is removed: restore {removed.key} first"):
        act(trash_restore.restore_item, SHELL, first.key)
    act(trash_restore.restore_item, SHELL, removed.key)
    act(trash_restore.restore_item, SHELL, first.key)
    assert fetched(act) == OLD


def test_old_feedback(act: Act, handed_in: datetime) -> None:
    moment = format_time(handed_in)
    act(feedback.give_feedback, INSTRUCTOR, COURSE, "ps1", "sam", moment, NEW)
    [item] = listed(act)
    assert (item.kind, item.assignment, item.user) == ("feedback", "ps1", "sam")
    assert (item.submitted_at, item.by) == (handed_in, INSTRUCTOR.name)
    act(trash_restore.restore_item, SHELL, item.key)
    assert act(feedback.fetch_feedback, STUDENT, COURSE, "ps1", "sam", moment)[1] == OLD
    [newer] = listed(act)
    act(trash_restore.restore_item, SHELL, newer.key)
    assert act(feedback.fetch_feedback, STUDENT, COURSE, "ps1", "sam", moment)[1] == NEW
    assert act(last_event)[1:] == (
        "feedback restored",
        COURSE,
        "ps1",
        "sam",
        {"timestamp": moment},
    )


def test_items_in_a_removed_course_cannot_be_restored_before_it(
    act: Act, handed_in: datetime
) -> None:
    act(assignments.remove_assignment, INSTRUCTOR, COURSE, "ps1")
    act(courses.remove_course, ADMIN, COURSE)
    course, assignment = listed(act)
    assert assignment.course_removed
    with pytest.raises(Conflict, match=f"{COURSE} is removed: restore {course.key} first"):
        act(trash_restore.restore_item, SHELL, assignment.key)
    act(trash_restore.restore_item, SHELL, course.key)
    act(trash_restore.restore_item, SHELL, assignment.key)
    assert fetched(act) == OLD


def test_filters(act: Act, handed_in: datetime) -> None:
    act(courses.create_course, ADMIN, "Other", [])
    act(courses.remove_course, ADMIN, "Other")
    between = audit.now()
    act(assignments.remove_assignment, INSTRUCTOR, COURSE, "ps1")
    assert [one.kind for one in listed(act)] == ["course", "assignment"]
    assert [one.kind for one in listed(act, course=COURSE)] == ["assignment"]
    assert [one.course for one in listed(act, kind="course")] == ["Other"]
    assert [one.course for one in listed(act, before=between)] == ["Other"]


@pytest.mark.parametrize("key", ["", "c", "c0", "7", "x7", "c-1", "c1 ", "c1;", "c" + "9" * 30])
def test_an_invalid_key(act: Act, key: str) -> None:
    with pytest.raises(BadRequest, match="no key of the trash"):
        act(trash_restore.restore_item, SHELL, key)


@pytest.mark.parametrize("key", ["c9999", "a9999", "m9999", "t9999", "c" + "9" * 18])
def test_a_key_of_no_item(act: Act, key: str) -> None:
    with pytest.raises(NotFound, match=f"There is no {key} in the trash"):
        act(trash_restore.restore_item, SHELL, key)


def test_only_courses_can_be_renamed(act: Act, handed_in: datetime) -> None:
    act(assignments.remove_assignment, INSTRUCTOR, COURSE, "ps1")
    [item] = listed(act)
    with pytest.raises(BadRequest, match="Only a course"):
        act(trash_restore.restore_item, SHELL, item.key, "ps2")


def test_a_restored_row_is_as_before_its_removal(act: Act, handed_in: datetime) -> None:
    def removed_by(connection: Connection) -> list[str]:
        tables = (Course, Assignment, Membership)
        return [
            name
            for table in tables
            for name in connection.scalars(
                select(table.removed_by).where(table.removed_by.is_not(None))
            )
        ]

    act(roster.remove_student, INSTRUCTOR, COURSE, "sam")
    act(assignments.remove_assignment, INSTRUCTOR, COURSE, "ps1")
    act(courses.remove_course, ADMIN, COURSE)
    assert sorted(act(removed_by)) == [INSTRUCTOR.name, INSTRUCTOR.name, ADMIN.name]
    for item in listed(act):
        act(trash_restore.restore_item, SHELL, item.key)
    assert act(removed_by) == []
    # Nor when it comes back by being released, or enrolled, again.
    act(roster.remove_student, INSTRUCTOR, COURSE, "sam")
    act(roster.put_student, INSTRUCTOR, COURSE, "sam", "", "", "")
    act(assignments.remove_assignment, INSTRUCTOR, COURSE, "ps1")
    act(assignments.release_assignment, INSTRUCTOR, COURSE, "ps1", NEW)
    assert act(removed_by) == []


def test_two_restores_at_the_same_time(act: Act, database: Database, handed_in: datetime) -> None:
    act(courses.remove_course, ADMIN, COURSE)
    [item] = listed(act)
    outcomes: list[str] = []

    def restore() -> None:
        try:
            database.write(trash_restore.restore_item, SHELL, item.key)
            outcomes.append("restored")
        except NotFound:
            outcomes.append("was not there")

    threads = [threading.Thread(target=restore) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(outcomes) == ["restored", "was not there"]
