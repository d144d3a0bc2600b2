"""Replaced and removed trees are kept: no single request destroys submitted work."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection, func, select

from ngshare.actions import assignments, courses, feedback, submissions
from ngshare.blobs import sha256
from ngshare.db.models import Assignment, Course, File, ReplacedTree, Submission, Tree
from ngshare.errors import Conflict, NotFound
from ngshare.protocol.times import format_time
from ngshare.protocol.trees import StoredFile, md5
from tests.actions.conftest import ADMIN, COURSE, INSTRUCTOR, STUDENT, Act


def file(path: str, content: bytes = b"1") -> StoredFile:
    return StoredFile(path, sha256(content), md5(content), len(content))


@pytest.fixture
def act(act: Act) -> Act:
    act(assignments.release_assignment, INSTRUCTOR, COURSE, "ps1", [file("release")])
    return act


def replaced(connection: Connection) -> list[str]:
    """Return the paths of files in trees without references."""
    query = select(File.path).join(ReplacedTree, ReplacedTree.tree_id == File.tree_id)
    return sorted(connection.scalars(query))


def count(connection: Connection, model: Any) -> int:
    return connection.scalar(select(func.count()).select_from(model)) or 0


def test_files_are_sorted_by_path(act: Act) -> None:
    tree = [file("b", b"22"), file("a/c"), file("a", b""), file("Z")]
    act(assignments.release_assignment, INSTRUCTOR, COURSE, "ps2", tree)
    fetched = act(assignments.fetch_assignment, STUDENT, COURSE, "ps2")
    assert fetched == sorted(tree, key=lambda one: one.path)


def test_several_files_may_have_the_same_content(act: Act) -> None:
    tree = [file("a"), file("b"), file("c")]
    act(submissions.submit, STUDENT, COURSE, "ps1", tree)
    act(submissions.submit, STUDENT, COURSE, "ps1", tree)
    assert act(count, Submission) == 2


def test_releasing_again_keeps_the_old_files(act: Act) -> None:
    act(assignments.remove_assignment, INSTRUCTOR, COURSE, "ps1")
    assert act(replaced) == []
    act(assignments.release_assignment, INSTRUCTOR, COURSE, "ps1", [file("better")])
    assert act(replaced) == ["release"]
    assert act(count, Assignment) == 1
    assert act(assignments.fetch_assignment, STUDENT, COURSE, "ps1") == [file("better")]


def test_a_refused_release_leaves_no_tree(act: Act) -> None:
    before = act(count, Tree)
    with pytest.raises(Conflict):
        act(assignments.release_assignment, INSTRUCTOR, COURSE, "ps1", [file("other")])
    assert act(count, Tree) == before
    assert act(replaced) == []


def test_giving_feedback_again_keeps_the_old_files(act: Act) -> None:
    moment = format_time(act(submissions.submit, STUDENT, COURSE, "ps1", [file("work")]))
    place = (COURSE, "ps1", STUDENT.name, moment)
    act(feedback.give_feedback, INSTRUCTOR, *place, [file("first")])
    assert act(replaced) == []
    act(feedback.give_feedback, INSTRUCTOR, *place, [file("second")])
    assert act(replaced) == ["first"]
    assert act(feedback.fetch_feedback, STUDENT, *place)[1] == [file("second")]


def test_a_new_course_with_the_name_of_a_removed_one_is_empty(act: Act) -> None:
    act(submissions.submit, STUDENT, COURSE, "ps1", [file("work")])
    act(courses.remove_course, ADMIN, COURSE)
    act(courses.create_course, ADMIN, COURSE, [INSTRUCTOR.name])
    act(assignments.release_assignment, INSTRUCTOR, COURSE, "ps1", [file("release")])
    assert act(submissions.list_submissions, INSTRUCTOR, COURSE, "ps1") == []
    with pytest.raises(NotFound, match="Student not found"):
        act(submissions.collect, INSTRUCTOR, COURSE, "ps1", STUDENT.name, None)
    assert act(count, Course) == 2
    assert act(count, Submission) == 1


def test_a_course_may_be_removed_and_created_repeatedly(act: Act) -> None:
    for _ in range(3):
        act(courses.remove_course, ADMIN, COURSE)
        act(courses.create_course, ADMIN, COURSE, [])
    assert act(courses.list_courses, ADMIN) == [COURSE]
    with pytest.raises(Conflict, match="Course already exists"):
        act(courses.create_course, ADMIN, COURSE, [])
