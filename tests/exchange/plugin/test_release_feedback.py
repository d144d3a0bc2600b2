"""``nbgrader release_feedback``: what students get, as with nbgrader's own exchange."""

from __future__ import annotations

import shutil

import pytest

from tests.exchange.conftest import Compare
from tests.exchange.plugin.computers import COURSE, NOTEBOOK, Computer, Files, Site
from tests.exchange.plugin.teaching import ASSIGNMENT, course_directory, feedback, submit

SUBMITTED = {"p1.ipynb": NOTEBOOK, "p2.ipynb": NOTEBOOK, "data.csv": b"1,2"}


def grade(ada: Computer, student: str, verdict: str = "good") -> None:
    """Write feedback as ``nbgrader generate_feedback`` does, on the submission collected."""
    folder = ada.work / "feedback" / student / ASSIGNMENT
    shutil.rmtree(folder, ignore_errors=True)
    pages = {page: f"{student} {verdict}".encode() for page in ("p1.html", "p2.html")}
    ada.write(f"feedback/{student}/{ASSIGNMENT}", {**pages, "site/index.html": b"the student's"})
    for name in ("timestamp.txt", "submission_secret.txt", "data.csv"):
        source = ada.work / "submitted" / student / ASSIGNMENT / name
        if source.exists():
            shutil.copy(source, folder / name)


def teaching(site: Site, *students: str, settings: tuple[str, ...] = ()) -> Computer:
    """Return the computer of an instructor who has graded a submission of each student."""
    site.backend.create_course(COURSE, *students)
    site.backend.release(COURSE, ASSIGNMENT, {"p1.ipynb": NOTEBOOK})
    ada = course_directory(site, *settings)
    for student in students:
        submit(site, student, SUBMITTED)
    ada.succeed("collect", ASSIGNMENT)
    for student in students:
        grade(ada, student)
    return ada


def release(ada: Computer, *options: str) -> list[str]:
    messages = ada.succeed("release_feedback", ASSIGNMENT, *options).messages
    return sorted(line for line in messages if not line.startswith("Feedback released to"))


def pages(verdict: str = "good", *students: str) -> list[Files]:
    return [
        {page: f"{name} {verdict}".encode() for page in ("p1.html", "p2.html")} for name in students
    ]


def test_releases_feedback_and_replaces_it(same: Compare) -> None:
    def scenario(site: Site) -> object:
        ada = teaching(site, "sam", "tom")
        results: list[object] = [
            release(ada),
            [
                feedback(site, each)
                for each in (
                    "sam",
                    "tom",
                )
            ],
        ]
        grade(ada, "sam", "better")
        results += [
            release(ada),
            [
                feedback(site, each)
                for each in (
                    "sam",
                    "tom",
                )
            ],
        ]
        return results

    results = same(scenario)
    assert results[1] == pages("good", "sam", "tom")
    assert results[3] == pages("better", "sam") + pages("good", "tom")


@pytest.mark.parametrize(
    "option",
    [
        "--student=sam",
        "--student=t*",
        "--CourseDirectory.student_id_exclude=tom,nobody",
        "--assignment=ps1",
    ],
)
def test_releases_to_selected_students(same: Compare, option: str) -> None:
    def scenario(site: Site) -> object:
        ada = teaching(site, "sam", "tom")
        return release(ada, option), [
            feedback(site, each)
            for each in (
                "sam",
                "tom",
            )
        ]

    same(scenario)


def test_feedback_belongs_to_the_submission_that_was_graded(same: Compare) -> None:
    def scenario(site: Site) -> object:
        ada = teaching(site, "sam")
        submit(site, "sam", SUBMITTED)
        return release(ada), [feedback(site, each) for each in ("sam",)]

    assert same(scenario)[1] == [{}]


@pytest.mark.parametrize("arguments", [["ps1", "ps2", "ps3"], []])
def test_wrong_arguments_are_refused(same: Compare, arguments: list[str]) -> None:
    def scenario(site: Site) -> object:
        outcome = teaching(site, "sam").run("release_feedback", *arguments)
        return outcome.code, outcome.log[:1]

    assert same(scenario)[0] == 1


@pytest.mark.parametrize(
    "student", ["a[b]c", "x*", "+plus+", "a b", "50%", "o'hara", "é", "a\\", "(x)", "a.b"]
)
def test_releases_to_students_with_unusual_names(site: Site, student: str) -> None:
    ada = teaching(site, student, "other")
    release(ada, f"--student={student}")
    assert [
        feedback(site, each)
        for each in (
            student,
            "other",
        )
    ] == [*pages("good", student), {}]


@pytest.mark.parametrize("name", ["a [b] (c)*?", "50% #1", "u\u0308"])
def test_releases_for_assignments_with_unusual_names(site: Site, name: str) -> None:
    site.backend.create_course(COURSE, "sam")
    site.backend.release(COURSE, name, {"p1.ipynb": NOTEBOOK})
    ada = course_directory(site)
    submit(site, "sam", SUBMITTED, assignment=name)
    ada.succeed("collect", name)
    ada.write(f"feedback/sam/{name}", {"p1.html": b"good"})
    shutil.copy(
        ada.work / "submitted/sam" / name / "timestamp.txt", ada.work / "feedback/sam" / name
    )
    ada.succeed("release_feedback", name)
    assert feedback(site, "sam", name) == {"p1.html": b"good"}


def test_what_cannot_be_released_is_reported_and_the_rest_is_released(site: Site) -> None:
    students = ["dateless", "folder", "gone", "sam", "wrong"]
    ada = teaching(site, *students)
    folders = {student: ada.work / "feedback" / student / ASSIGNMENT for student in students}
    (folders["dateless"] / "timestamp.txt").unlink()
    (folders["folder"] / "timestamp.txt").unlink()
    (folders["folder"] / "timestamp.txt").mkdir()
    (folders["wrong"] / "timestamp.txt").write_text("2020-01-01 00:00:00.000000 UTC")
    site.service.call("DELETE", "student", COURSE, "gone")
    outcome = ada.run("release_feedback", ASSIGNMENT)
    assert outcome.code == 1
    errors = [line for line in outcome.log if line.startswith("ERROR")]
    assert len(errors) == 5
    for student, error in zip(["dateless", "folder", "gone", "wrong"], errors, strict=False):
        assert error.startswith(f"ERROR {student} ps1: ")
    assert "CRITICAL 4 of 5 students' feedback was not released" in str(outcome.log)
    assert [
        feedback(site, each)
        for each in (
            "dateless",
            "sam",
        )
    ] == [{}, *pages("good", "sam")]


def test_nothing_to_release_is_no_success(site: Site) -> None:
    ada = teaching(site)
    assert "There is no feedback on 'ps1' to release" in ada.fail("release_feedback", ASSIGNMENT)


def test_a_student_may_not_release_feedback(site: Site) -> None:
    ada = teaching(site, "sam")
    sam = course_directory(site, user="sam")
    shutil.copytree(ada.work / "feedback", sam.work / "feedback")
    assert sam.fail("release_feedback", ASSIGNMENT)
    assert [feedback(site, each) for each in ("sam",)] == [{}]
