"""``nbgrader list``: what it prints, returns and removes, as with nbgrader's own exchange."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.exchange.conftest import Compare
from tests.exchange.plugin.computers import COURSE, NOTEBOOK, STUDENT, Computer, Site

HTML = {"p1.html": b"<p>well done</p>"}


def listed(computer: Computer, *options: str) -> list[str]:
    return computer.succeed("list", *options).messages


def test_lists_what_is_released_in_each_course(same: Compare) -> None:
    def scenario(site: Site) -> list[list[str]]:
        sam = site.student("ps1", "ps2")
        site.student("ps1", course="xyz200")
        return [
            listed(sam),
            listed(sam, "ps1"),
            listed(sam, "--assignment=ps2"),
            listed(sam, "ps1", "--course", "xyz200"),
            listed(sam, "--course", "*"),
            listed(sam, "--course", "abc*"),
            listed(sam, "ps*", "--course=abc101"),
            listed(sam, "nothing"),
        ]

    assert same(scenario)[0] == ["Released assignments:", "abc101 ps1", "abc101 ps2", "xyz200 ps1"]


@pytest.mark.parametrize("with_course", [False, True])
def test_says_what_is_already_downloaded(same: Compare, with_course: bool) -> None:
    def scenario(site: Site) -> list[str]:
        sam = site.student("ps1", "ps2")
        sam.configure(f"c.Exchange.path_includes_course = {with_course}")
        sam.succeed("fetch_assignment", "ps1", "--course", COURSE)
        return listed(sam) if not with_course else []

    same(scenario)


def test_knows_what_is_downloaded_wherever_the_assignments_are(site: Site) -> None:
    """nbgrader's own exchange looks into the current directory only."""
    sam = site.student("ps1", "ps2")
    sam.configure(
        "c.Exchange.path_includes_course = True", "c.Exchange.assignment_dir = 'homework'"
    )
    sam.succeed("fetch_assignment", "ps1")
    assert sam.files() == {"homework/abc101/ps1/p1.ipynb": NOTEBOOK}
    sam.write("ps2", {"p1.ipynb": NOTEBOOK})  # not where assignments are
    assert listed(sam)[1:] == ["abc101 ps1 (already downloaded)", "abc101 ps2"]


def test_one_course_s_folder_is_not_another_s(site: Site) -> None:
    sam = site.student("ps1")
    site.student("ps1", course="xyz200")
    sam.succeed("fetch_assignment", "ps1", "--course", COURSE)
    assert listed(sam)[1:] == ["abc101 ps1 (already downloaded)", "xyz200 ps1"]


def test_returns_what_the_assignment_list_shows(same: Compare) -> None:
    def scenario(site: Site) -> list[dict[str, object]]:
        files = {"p1.ipynb": NOTEBOOK, "p 2.ipynb": NOTEBOOK, "data/x.ipynb": NOTEBOOK, "a": b""}
        sam = site.student("ps1", "ps2", files=files)
        sam.succeed("fetch_assignment", "ps1", "--course", COURSE)
        entries = sam.list_in_server()
        for entry in entries:  # what is only in the exchange has no path on the computer
            if entry["status"] == "released":
                del entry["path"]
                for notebook in entry["notebooks"]:
                    del notebook["path"]
        return sam.relative(entries)

    fetched, released = same(scenario)
    assert fetched["notebooks"] == [
        {"notebook_id": "p 2", "path": "WORK/ps1/p 2.ipynb"},
        {"notebook_id": "p1", "path": "WORK/ps1/p1.ipynb"},
    ]
    assert released["notebooks"] == [{"notebook_id": "p 2"}, {"notebook_id": "p1"}]


def test_returns_submissions_with_the_state_of_feedback(same: Compare) -> None:
    def scenario(site: Site) -> object:
        sam = site.student("ps1", files={"p1.ipynb": NOTEBOOK, "p2.ipynb": NOTEBOOK})
        sam.succeed("fetch_assignment", "ps1", "--course", COURSE)
        sam.succeed("submit", "ps1", "--course", COURSE)
        states = [sam.relative(sam.list_in_server(cached=True))]
        site.backend.give_feedback(COURSE, "ps1", STUDENT, {**HTML, "p2.html": b"1"})
        states.append(sam.relative(sam.list_in_server(cached=True)))
        sam.succeed("fetch_feedback", "ps1", "--course", COURSE)
        states.append(sam.relative(sam.list_in_server(cached=True)))
        site.backend.give_feedback(COURSE, "ps1", STUDENT, {**HTML, "p2.html": b"2"})
        states.append(sam.relative(sam.list_in_server(cached=True)))
        return states

    states = same(scenario)
    assert [state[0]["submissions"][0]["feedback_updated"] for state in states] == [
        False,
        False,
        False,
        True,
    ]


def test_lists_submissions_and_their_feedback(same: Compare) -> None:
    def scenario(site: Site) -> list[list[str]]:
        sam = site.student("ps1")
        lists = [listed(sam, "ps1", "--inbound"), listed(sam, "ps1", "--cached")]
        sam.succeed("fetch_assignment", "ps1", "--course", COURSE)
        sam.succeed("submit", "ps1", "--course", COURSE)
        lists += [listed(sam, "ps1", "--inbound"), listed(sam, "ps1", "--cached")]
        site.backend.give_feedback(COURSE, "ps1", STUDENT, HTML)
        sam.succeed("submit", "ps1", "--course", COURSE)
        lists += [listed(sam, "ps1", "--inbound"), listed(sam, "ps1", "--cached")]
        sam.succeed("fetch_feedback", "ps1", "--course", COURSE)
        lists += [listed(sam, "ps1", "--inbound"), listed(sam, "ps1", "--cached")]
        site.backend.give_feedback(COURSE, "ps1", STUDENT, HTML)
        lists += [listed(sam, "--inbound"), listed(sam, "--cached")]
        lists += [listed(sam, "--inbound", "--student=nobody"), listed(sam, "other", "--cached")]
        return lists

    lists = same(scenario)
    assert lists[6] == [
        "Submitted assignments:",
        "abc101 sam ps1 TIME (feedback already fetched)",
        "abc101 sam ps1 TIME (no feedback available)",
    ]


def test_inbound_and_cached_exclude_each_other(same: Compare) -> None:
    assert same(lambda site: site.student().fail("list", "--inbound", "--cached")) == (
        "Options --inbound and --cached are incompatible."
    )


def test_removes_the_copies_in_the_cache_only(same: Compare) -> None:
    def scenario(site: Site) -> object:
        sam = site.student("ps1", "ps2")
        for assignment in ("ps1", "ps2"):
            sam.succeed("fetch_assignment", assignment, "--course", COURSE)
            sam.succeed("submit", assignment, "--course", COURSE)
        removed = listed(sam, "ps1", "--cached", "--remove")
        return removed, listed(sam, "--cached"), listed(sam, "--inbound"), list(sam.cached())

    removed, cached, inbound, _ = same(scenario)
    assert removed == ["Removing submitted assignments:", "abc101 sam ps1 TIME"]
    assert len(cached) == 2
    assert len(inbound) == 3


def test_removes_released_assignments_for_their_instructor(same: Compare) -> None:
    def scenario(site: Site) -> object:
        site.student("ps1", "ps2")
        ada = site.computer("ada")
        return listed(ada, "ps1", "--remove"), listed(ada), listed(ada, "ps2", "--remove")

    removed, rest, _ = same(scenario)
    assert removed == ["Removing released assignments:", "abc101 ps1"]
    assert rest == ["Released assignments:", "abc101 ps2"]


def test_a_student_removes_nothing(site: Site) -> None:
    sam = site.student("ps1", "ps2")
    assert sam.fail("list", "--remove") == "Not removed: abc101 ps1, abc101 ps2"
    assert len(listed(sam)) == 3


def test_submissions_are_not_removed_from_the_service(site: Site) -> None:
    sam = site.student("ps1")
    sam.succeed("fetch_assignment", "ps1")
    sam.succeed("submit", "ps1")
    ada = site.computer("ada")
    assert "ngshare keeps what students handed in" in ada.fail("list", "--inbound", "--remove")
    assert len(listed(ada, "--inbound")) == 2


def test_an_instructor_sees_everybody_s_submissions_and_a_student_only_their_own(
    site: Site,
) -> None:
    sam = site.student("ps1")
    site.backend.create_course("other", "tom")
    tom = site.computer("tom")
    site.service.call("POST", "student", COURSE, "tom", first_name="", last_name="", email="")
    for computer in (sam, tom):
        computer.succeed("fetch_assignment", "ps1", "--course", COURSE)
        computer.succeed("submit", "ps1", "--course", COURSE)
    ada = site.computer("ada")
    sams = "abc101 sam ps1 TIME (no feedback available)"
    toms = "abc101 tom ps1 TIME (no feedback available)"
    assert listed(ada, "--inbound")[1:] == [sams, toms]
    assert listed(ada, "--inbound", "--student=tom")[1:] == [toms]
    assert listed(ada, "--inbound", "--student=t*")[1:] == [toms]
    assert listed(sam, "--inbound")[1:] == [sams]


def test_a_new_computer_shows_what_was_submitted_from_another(site: Site) -> None:
    sam = site.student("ps1")
    sam.succeed("fetch_assignment", "ps1")
    sam.succeed("submit", "ps1")
    site.backend.give_feedback(COURSE, "ps1", STUDENT, HTML)
    before = sam.relative(sam.list_in_server(cached=True))
    sam.lose()
    assert sam.relative(sam.list_in_server(cached=True)) == before
    assert listed(sam, "--inbound")[1:] == ["abc101 sam ps1 TIME (feedback ready to be fetched)"]
    assert listed(sam, "--cached")[1:] == []


def test_prints_json_and_nothing_else_on_standard_output(site: Site) -> None:
    sam = site.student("ps1")
    entries = json.loads(sam.succeed("list", "--json").output)
    assert [entry["assignment_id"] for entry in entries] == ["ps1"]
    assert entries[0]["notebooks"][0]["notebook_id"] == "p1"
    sam.succeed("fetch_assignment", "ps1")
    sam.succeed("submit", "ps1")
    entries = json.loads(sam.succeed("list", "--json", "--inbound").output)
    assert [len(entry["submissions"]) for entry in entries] == [1]


def test_one_request_lists_everything(site: Site) -> None:
    sam = site.student("ps1", "ps2")
    site.student("ps1", course="xyz200")
    sam.succeed("fetch_assignment", "ps1", "--course", COURSE)
    sam.succeed("submit", "ps1", "--course", COURSE)
    for options in ([], ["--inbound"], ["--cached"], ["--course", COURSE]):
        before = len(site.service.requests)
        listed(sam, *options)
        assert site.service.requests[before:] == ["GET /api/overview"]


def test_without_a_course_says_why(site: Site) -> None:
    stranger = site.computer("eve")
    [reason] = [line for line in listed(stranger) if "eve" in line]
    assert "no course has this name in its roster" in reason
    site.student("ps1")
    assert stranger.fail("list", "--course", COURSE)
    assert stranger.fail("list", "--course", "nowhere")


@pytest.mark.parametrize(
    "name",
    ["ps[1]", "ps(1)", "p*", "a?b", "50%", "a b", "it's", "a#b", "a\\b", "\u00dcb", "U\u0308b"],
)
def test_names_are_not_patterns(site: Site, name: str) -> None:
    sam = site.student(name, "ps1", "paxb", course=f"c {name}")
    sam.succeed("fetch_assignment", name, "--course", f"c {name}")
    sam.succeed("submit", name, "--course", f"c {name}")
    assert listed(sam, name)[1:] == [f"c {name} {name} (already downloaded)"]
    for where in ("--cached", "--inbound"):
        assert listed(sam, name, where)[1:] == [f"c {name} sam {name} TIME (no feedback available)"]


def test_a_student_s_name_may_have_a_plus_sign(site: Site) -> None:
    site.backend.create_course(COURSE, "sam+x@edu")
    site.backend.release(COURSE, "ps1", {"p1.ipynb": NOTEBOOK})
    sam = site.computer("sam+x@edu")
    sam.succeed("fetch_assignment", "ps1")
    sam.succeed("submit", "ps1")
    line = "abc101 sam+x@edu ps1 TIME (no feedback available)"
    assert listed(sam, "--cached")[1:] == listed(sam, "--inbound")[1:] == [line]


def test_files_in_the_cache_that_are_no_submissions_are_ignored(site: Site) -> None:
    sam = site.student("ps1")
    sam.succeed("fetch_assignment", "ps1")
    sam.succeed("submit", "ps1")
    Path(sam.cache, COURSE, "notes").mkdir()
    Path(sam.cache, "stray.txt").write_text("")
    assert len(listed(sam, "--cached")) == 2
