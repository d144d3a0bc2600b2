"""``nbgrader collect``: what it prints and copies, as with nbgrader's own exchange."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any

import pytest

from ngshare.exchange.connection import Connection
from ngshare.exchange.plugin import base
from ngshare.exchange.service_error import ServiceError
from tests.exchange.conftest import Compare
from tests.exchange.plugin.computers import COURSE, NOTEBOOK, Computer, Files, Site
from tests.exchange.plugin.teaching import (
    ASSIGNMENT,
    between,
    collected,
    collected_time,
    course_directory,
    hidden_files,
    set_duedate,
    submit,
)

FIRST = {"p1.ipynb": NOTEBOOK, "data/x.txt": b"first", "data/empty": b""}
SECOND = {"p1.ipynb": NOTEBOOK, "data/y.txt": b"second"}


def teaching(site: Site, *students: str, settings: tuple[str, ...] = ()) -> Computer:
    """Create a course with a released assignment, and return its instructor's computer."""
    site.backend.create_course(COURSE, *students)
    site.backend.release(COURSE, ASSIGNMENT, {"p1.ipynb": NOTEBOOK})
    return course_directory(site, *settings)


def collect(ada: Computer, *options: str) -> list[str]:
    return ada.succeed("collect", ASSIGNMENT, *options).messages


def state(ada: Computer) -> Files:
    files = collected(ada)
    assert hidden_files(ada.work) == []
    return files


def test_collects_the_newest_submission_and_keeps_it_until_told_otherwise(same: Compare) -> None:
    def scenario(site: Site) -> object:
        ada = teaching(site, "sam", "tom")
        results: list[object] = [collect(ada), (ada.work / "submitted").exists()]
        submit(site, "tom", SECOND)
        submit(site, "tom", FIRST)
        time = submit(site, "sam", FIRST)
        results += [sorted(collect(ada)), state(ada), sorted(collect(ada)), state(ada)]
        newer = submit(site, "sam", SECOND)
        results += [sorted(collect(ada)), state(ada)]
        assert collected_time(ada, "sam") == time
        results += [sorted(collect(ada, "--update")), state(ada), sorted(collect(ada, "--update"))]
        assert collected_time(ada, "sam") == newer
        return results

    results = same(scenario)
    assert results[:2] == [["No submissions of 'ps1' for course 'abc101' to collect"], False]
    assert "Updating submission: sam ps1" in results[-3]


def test_takes_the_assignment_as_an_option(same: Compare) -> None:
    def scenario(site: Site) -> object:
        ada = teaching(site, "sam")
        submit(site, "sam", FIRST)
        return ada.succeed("collect", f"--assignment={ASSIGNMENT}").messages, state(ada)

    assert same(scenario)[1]


@pytest.mark.parametrize("option", ["--student=sam", "--student=s*", "--student=nobody"])
def test_collects_from_selected_students(same: Compare, option: str) -> None:
    def scenario(site: Site) -> object:
        ada = teaching(site, "sam", "tom")
        submit(site, "sam", FIRST)
        submit(site, "tom", FIRST)
        return collect(ada, option), state(ada)

    same(scenario)


@pytest.mark.parametrize("student", ["a[b]c", "x*", "+plus+", "a b", "50%", "o'hara", "é", "a\\"])
def test_collects_from_students_with_unusual_names(site: Site, student: str) -> None:
    ada = teaching(site, student, "xyz")
    submit(site, student, FIRST)
    assert len(collect(ada, f"--student={student}")) == 2
    assert set(state(ada)) == {f"{student}/{ASSIGNMENT}/{path}" for path in FIRST}


@pytest.mark.parametrize("options", [["--before-duedate"], [], ["--before-duedate", "--update"]])
@pytest.mark.parametrize("in_time", [True, False])
def test_collects_the_last_submission_before_the_due_date(
    same: Compare, options: list[str], in_time: bool
) -> None:
    def scenario(site: Site) -> object:
        ada = teaching(site, "sam")
        first = submit(site, "sam", FIRST)
        second = submit(site, "sam", SECOND)
        third = submit(site, "sam", FIRST)
        set_duedate(ada, between(second, third) if in_time else first - timedelta(days=1))
        messages = collect(ada, *options)
        return messages, state(ada), [first, second, third].index(collected_time(ada, "sam"))

    index = same(scenario)[2]
    assert index == (1 if options and in_time else 2)


def test_goes_back_to_the_submission_before_the_due_date(same: Compare) -> None:
    def scenario(site: Site) -> object:
        ada = teaching(site, "sam")
        first = submit(site, "sam", FIRST)
        second = submit(site, "sam", SECOND)
        collect(ada)
        set_duedate(ada, between(first, second))
        results = [collect(ada), collect(ada, "--before-duedate"), collect(ada, "--before-duedate")]
        assert collected_time(ada, "sam") == first
        return results, state(ada)

    same(scenario)


def test_without_a_due_date_the_newest_is_collected(same: Compare) -> None:
    def scenario(site: Site) -> object:
        ada = teaching(site, "sam")
        submit(site, "sam", FIRST)
        submit(site, "sam", SECOND)
        return collect(ada, "--before-duedate"), state(ada)

    same(scenario)


def test_excludes_what_the_configuration_excludes(same: Compare) -> None:
    def scenario(site: Site) -> object:
        ada = teaching(
            site,
            "sam",
            settings=(
                "c.CourseDirectory.ignore = ['.ipynb_checkpoints', 'secret*']",
                "c.CourseDirectory.include = ['*.ipynb', '*.txt', 'x*']",
                "c.CourseDirectory.max_file_size = 1",
            ),
        )
        files = {
            "p1.ipynb": NOTEBOOK,
            ".ipynb_checkpoints/p1.ipynb": NOTEBOOK,
            "data/.ipynb_checkpoints/p1.ipynb": NOTEBOOK,
            "data/a.txt": b"1",
            "data/secret.txt": b"2",
            "secrets/a.txt": b"3",
            "a.csv": b"4",
            "large.txt": bytes(1001),
            "fits.txt": bytes(1000),
        }
        submit(site, "sam", files)
        ada.succeed("collect", ASSIGNMENT)
        return state(ada)

    assert set(same(scenario)) == {
        "sam/ps1/p1.ipynb",
        "sam/ps1/data/a.txt",
        "sam/ps1/fits.txt",
    }


@pytest.mark.parametrize("structure", ["{nbgrader_step}/{assignment_id}/of-{student_id}", None])
def test_lays_the_course_directory_out_as_configured(same: Compare, structure: str | None) -> None:
    def scenario(site: Site) -> object:
        settings = (f"c.CourseDirectory.directory_structure = {structure!r}",) if structure else ()
        submitted = ("c.CourseDirectory.submitted_directory = 'handed in'",)
        ada = teaching(site, "sam", settings=settings + submitted)
        submit(site, "sam", FIRST)
        return collect(ada), collect(ada, "--update"), collected(ada, "handed in")

    same(scenario)


def test_two_requests_collect_from_all_students(site: Site) -> None:
    students = [f"student{number}" for number in range(10)]
    ada = teaching(site, *students)
    for student in students:
        submit(site, student, FIRST)
    before = len(site.service.requests)
    collect(ada)
    assert len(site.service.requests) == before + 2
    assert len(state(ada)) == 10 * len(FIRST)
    collect(ada, "--update")
    assert len(site.service.requests) == before + 3


def test_an_odd_submission_is_reported_and_the_others_are_collected(site: Site) -> None:
    ada = teaching(site, "odd", "sam", "tom")
    submit(site, "odd", {**FIRST, "timestamp.txt/x": b"1"})
    submit(site, "sam", FIRST)
    submit(site, "tom", {**FIRST, "timestamp.txt": b"yesterday"})
    outcome = ada.run("collect", ASSIGNMENT)
    assert outcome.code == 1
    errors = [line for line in outcome.log if line.startswith(("ERROR", "CRITICAL"))]
    assert errors == [
        "ERROR odd ps1: the submission has a folder timestamp.txt, and nbgrader needs a file of "
        "this name; ask the student to rename the folder and to submit again",
        "CRITICAL 1 of 3 submissions were not collected, for the reasons above.",
        "ERROR nbgrader collect failed",
    ]
    assert {path.split("/")[0] for path in state(ada)} == {"sam", "tom"}
    collected_time(ada, "tom")


@pytest.mark.parametrize("student", ["..", ".", "ü" * 200])
def test_a_student_whose_name_no_folder_can_have_is_reported(site: Site, student: str) -> None:
    ada = teaching(site, student, "sam")
    submit(site, student, FIRST)
    submit(site, "sam", FIRST)
    assert ada.fail("collect", ASSIGNMENT).startswith("1 of 2 submissions were not collected")
    assert set(state(ada)) == {f"sam/ps1/{path}" for path in FIRST}
    assert sorted(path.name for path in ada.work.iterdir()) == [
        "gradebook.db",
        "nbgrader_config.py",
        "submitted",
    ]


def test_a_submission_that_is_too_large_is_reported(site: Site) -> None:
    ada = teaching(site, "sam", "tom", settings=("c.CourseDirectory.max_dir_size = 1",))
    submit(site, "sam", {"large": bytes(1001)})
    submit(site, "tom", {"fits": bytes(1000)})
    outcome = ada.run("collect", ASSIGNMENT)
    assert outcome.code == 1
    assert "ERROR sam ps1: the submission has 1001 bytes, more than the 1000" in str(outcome.log)
    assert set(state(ada)) == {"tom/ps1/fits"}


def test_a_student_who_left_is_one_line_and_their_copy_stays(site: Site) -> None:
    ada = teaching(site, "sam", "tom")
    submit(site, "sam", FIRST)
    submit(site, "tom", FIRST)
    collect(ada)
    before = state(ada)
    submit(site, "sam", SECOND)
    site.service.call("DELETE", "student", COURSE, "sam")
    outcome = ada.succeed("collect", ASSIGNMENT, "--update")
    lines = [line for line in outcome.log if "sam" in line]
    assert lines == ["WARNING Not collected, the student has left the course: sam ps1"]
    assert state(ada) == before


def test_an_empty_folder_is_no_submission(site: Site) -> None:
    ada = teaching(site, "sam")
    submit(site, "sam", FIRST)
    (ada.work / "submitted" / "sam" / ASSIGNMENT).mkdir(parents=True)
    assert "Collecting submission: sam ps1" in collect(ada)
    assert state(ada)


def test_a_file_in_the_way_is_kept_and_reported(site: Site) -> None:
    ada = teaching(site, "sam", "tom")
    submit(site, "sam", FIRST)
    submit(site, "tom", FIRST)
    ada.write("submitted/sam", {ASSIGNMENT: b"notes"})
    outcome = ada.run("collect", ASSIGNMENT, "--update")
    assert outcome.code == 1
    path = "WORK/submitted/sam/ps1"
    assert f"ERROR sam ps1: {path}: a file is in the way, rename it" in outcome.log
    assert state(ada).pop(f"sam/{ASSIGNMENT}") == b"notes"


@pytest.mark.parametrize("content", [b"", b"yesterday", b"\xff"])
def test_a_copy_without_a_time_is_replaced_when_told_to(site: Site, content: bytes) -> None:
    ada = teaching(site, "sam")
    submit(site, "sam", FIRST)
    ada.write("submitted/sam/ps1", {"old": b"1", "timestamp.txt": content})
    collect(ada)
    assert set(state(ada)) == {"sam/ps1/old"}
    collect(ada, "--update")
    assert set(state(ada)) == {f"sam/ps1/{path}" for path in FIRST}


def test_a_folder_of_the_same_name_in_the_current_directory_does_not_matter(site: Site) -> None:
    ada = teaching(site, "sam")
    submit(site, "sam", FIRST)
    ada.write(ASSIGNMENT, {"x": b"1"})
    ada.write("sam/ps1", {"x": b"1"})
    collect(ada)
    assert set(state(ada)) == {f"sam/ps1/{path}" for path in FIRST}


def test_a_folder_named_like_the_assignment_stays_a_folder(site: Site) -> None:
    ada = teaching(site, "sam")
    files = {f"{ASSIGNMENT}/{ASSIGNMENT}/x": b"1", f"{ASSIGNMENT}/y": b"2", "p1.ipynb": NOTEBOOK}
    submit(site, "sam", files)
    collect(ada)
    assert set(state(ada)) == {f"sam/ps1/{path}" for path in files}


@pytest.mark.parametrize("groupshared", [False, True])
def test_other_instructors_may_change_files_in_a_shared_course(
    site: Site, groupshared: bool
) -> None:
    ada = teaching(site, "sam", settings=(f"c.CourseDirectory.groupshared = {groupshared}",))
    submit(site, "sam", FIRST)
    collect(ada)
    folder = ada.work / "submitted" / "sam" / ASSIGNMENT
    modes = [path.stat().st_mode & 0o7777 for path in (folder, folder / "data/x.txt")]
    assert modes == ([0o2775, 0o664] if groupshared else [0o755, 0o644])


def test_an_interrupted_replacement_is_undone(site: Site) -> None:
    """The old copy was moved away, and the new one not yet in place."""
    ada = teaching(site, "sam")
    submit(site, "sam", FIRST)
    collect(ada)
    before = state(ada)
    folder = ada.work / "submitted" / "sam" / ASSIGNMENT
    (folder.parent / ".ngshare-replaced").mkdir()
    folder.rename(folder.parent / ".ngshare-replaced" / ASSIGNMENT)
    assert "Submission already exists, use --update to update: sam ps1" in collect(ada)
    assert state(ada) == before


def test_an_unknown_assignment_fails(site: Site) -> None:
    ada = teaching(site, "sam")
    assert "Assignment not found" in ada.fail("collect", "other")


def test_a_submission_whose_content_is_lost_is_reported(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service sends a notice in its place, which must not be graded."""
    monkeypatch.setattr(base, "COMMAND_RETRY_SECONDS", 1.0)
    students = ["sam", "tom", "uma"]
    ada = teaching(site, *students)
    for student in students:
        submit(site, student, {**FIRST, "own": student.encode() * 50_000})
    digest = hashlib.sha256(b"tom" * 50_000).hexdigest()
    (blob,) = (path for path in ada.home.parent.parent.joinpath("files").rglob(f"*{digest[8:]}*"))
    blob.unlink()
    outcome = ada.run("collect", ASSIGNMENT)
    assert outcome.code == 1
    assert [line[:14] for line in outcome.log if line.startswith("ERROR")] == [
        "ERROR tom ps1:",
        "ERROR nbgrader",
    ]
    assert {path.split("/")[0] for path in state(ada)} == {"sam", "uma"}


def test_a_service_that_stops_ends_the_command(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "COMMAND_RETRY_SECONDS", 0)
    ada = teaching(site, "sam", "tom")
    submit(site, "sam", FIRST)
    submit(site, "tom", FIRST)
    collect(ada)
    before = state(ada)
    submit(site, "sam", SECOND)
    submit(site, "tom", SECOND)

    def stop(*_: object, **__: object) -> None:
        monkeypatch.setattr(Connection, "_send", fail)

    def fail(*_: object) -> None:
        raise ServiceError("Nothing answers")

    request = Connection.request

    def request_until_downloads(self: Connection, method: str, *path: str, **options: Any) -> Any:
        if path[0] in ("archive", "submission", "content"):
            stop()
        return request(self, method, *path, **options)

    monkeypatch.setattr(Connection, "request", request_until_downloads)
    assert ada.fail("collect", ASSIGNMENT, "--update") == "Nothing answers"
    assert state(ada) == before
