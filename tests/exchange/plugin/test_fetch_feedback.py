"""``nbgrader fetch_feedback``: what it writes, as with nbgrader's own exchange."""

from __future__ import annotations

import pytest

from tests.exchange.conftest import Compare
from tests.exchange.plugin.computers import COURSE, NOTEBOOK, STUDENT, Computer, Files, Site

HTML = {"p1.html": b"<p>good</p>"}


def submitter(site: Site, times: int = 1, *options: str) -> Computer:
    sam = site.student("ps1")
    sam.succeed("fetch_assignment", "ps1", "--course", COURSE, *options)
    for _ in range(times):
        sam.succeed("submit", "ps1", "--course", COURSE, *options)
    return sam


@pytest.mark.parametrize("options", [[], ["--Exchange.path_includes_course=True"]])
def test_fetches_feedback_into_a_folder_for_each_submission(
    same: Compare, options: list[str]
) -> None:
    def scenario(site: Site) -> object:
        sam = submitter(site, 1, *options)
        none = sam.succeed("fetch_feedback", "ps1", "--course", COURSE, *options).messages
        site.backend.give_feedback(COURSE, "ps1", STUDENT, HTML)
        sam.succeed("submit", "ps1", "--course", COURSE, *options)
        some = sam.succeed("fetch_feedback", "ps1", "--course", COURSE, *options).messages
        return [line for line in none if "Could not" in line], sorted(some), sam.files()

    none, some, files = same(scenario)
    assert none == ["Could not find feedback for 'abc101/ps1/p1' submitted at TIME"]
    assert "Found feedback for 'abc101/ps1/p1' submitted at TIME" in some
    assert b"<p>good</p>" in files.values()


def test_newer_feedback_replaces_the_older(same: Compare) -> None:
    def scenario(site: Site) -> Files:
        sam = submitter(site)
        for data in (b"1", b"2"):
            site.backend.give_feedback(COURSE, "ps1", STUDENT, {"p1.html": data})
            sam.succeed("fetch_feedback", "ps1", "--course", COURSE)
        return sam.files()

    assert same(scenario)["ps1/feedback/TIME/p1.html"] == b"2"


def test_fetched_feedback_is_not_fetched_again(site: Site) -> None:
    sam = submitter(site)
    site.backend.give_feedback(COURSE, "ps1", STUDENT, HTML)
    sam.succeed("fetch_feedback", "ps1", "--course", COURSE)
    before = len(site.service.requests)
    sam.succeed("fetch_feedback", "ps1", "--course", COURSE)
    assert site.service.requests[before:] == ["GET /api/overview"]
    (sam.work / next(iter(sam.work.glob("ps1/feedback/*/p1.html")))).write_bytes(b"damaged")
    sam.succeed("fetch_feedback", "ps1", "--course", COURSE)
    assert sam.files("ps1/feedback") == {"TIME/p1.html": HTML["p1.html"]}


def test_all_feedback_arrives_on_a_computer_that_submitted_nothing(site: Site) -> None:
    sam = submitter(site)
    site.backend.give_feedback(COURSE, "ps1", STUDENT, {"p1.html": b"1"})
    sam.succeed("submit", "ps1")
    site.backend.give_feedback(COURSE, "ps1", STUDENT, {"p1.html": b"2", "data/plot.png": b"3"})
    sam.lose()
    sam.succeed("fetch_feedback", "ps1")
    folders = sorted((sam.work / "ps1" / "feedback").iterdir())
    assert [(folder / "p1.html").read_bytes() for folder in folders] == [b"1", b"2"]
    assert (folders[1] / "data" / "plot.png").read_bytes() == b"3"


def test_one_that_fails_does_not_stop_the_others(site: Site) -> None:
    sam = submitter(site, 2)
    for _ in range(2):
        site.backend.give_feedback(COURSE, "ps1", STUDENT, HTML)
    sam.succeed("submit", "ps1")
    site.backend.give_feedback(COURSE, "ps1", STUDENT, HTML)
    middle, last = sorted(folder.name.rpartition("+")[2] for folder in sam.cache.glob("abc101/*"))[
        1:
    ]
    (sam.work / "ps1" / "feedback").mkdir()
    (sam.work / "ps1" / "feedback" / middle).write_bytes(b"in the way")
    assert sam.fail("fetch_feedback", "ps1").startswith("Feedback was not fetched for the submissi")
    assert (sam.work / "ps1" / "feedback" / last / "p1.html").read_bytes() == HTML["p1.html"]


def test_an_instructor_fetches_the_feedback_of_a_student(site: Site) -> None:
    submitter(site)
    site.backend.give_feedback(COURSE, "ps1", STUDENT, HTML)
    ada = site.computer("ada")
    ada.succeed("fetch_feedback", "ps1", "--student", STUDENT)
    assert ada.files() == {"ps1/feedback/TIME/p1.html": HTML["p1.html"]}
    assert "*" in ada.fail("fetch_feedback", "ps1", "--student", "s*")


def test_a_student_does_not_get_another_s_feedback(site: Site) -> None:
    submitter(site)
    site.backend.give_feedback(COURSE, "ps1", STUDENT, HTML)
    site.service.call("POST", "student", COURSE, "tom", first_name="", last_name="", email="")
    tom = site.computer("tom")
    assert tom.fail("fetch_feedback", "ps1", "--student", STUDENT)
    assert tom.files() == {}


def test_feedback_does_not_go_into_another_course_s_folder(site: Site) -> None:
    sam = submitter(site)
    site.student("ps1", course="xyz200")
    assert "'abc101', not of 'xyz200'" in sam.fail("fetch_feedback", "ps1", "--course", "xyz200")


def test_reasons_for_nothing(site: Site) -> None:
    sam = site.student("ps1")
    assert "There are no submissions of 'ps1'" in sam.succeed("fetch_feedback", "ps1").messages[0]
    assert "Assignment not found" in sam.fail("fetch_feedback", "ps2")


@pytest.mark.parametrize("name", ["ps[1]", "50% a#b", "it's", "a\\b", "\u00dcb", "U\u0308b"])
def test_odd_names(site: Site, name: str) -> None:
    notebook = name.replace("\\", "")  # which no path of a tree may have
    sam = site.student(name, course=name, files={f"{notebook}.ipynb": NOTEBOOK})
    sam.succeed("fetch_assignment", name)
    sam.succeed("submit", name)
    site.backend.give_feedback(name, name, STUDENT, {f"{notebook}.html": b"1"})
    sam.succeed("fetch_feedback", name)
    assert sam.files(f"{name}/feedback") == {f"TIME/{notebook}.html": b"1"}
    assert "already fetched" in sam.succeed("list", "--inbound").messages[1]
