"""``nbgrader fetch_assignment``: what it writes, keeps and refuses, as with nbgrader's exchange."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.exchange.conftest import Compare
from tests.exchange.plugin.computers import COURSE, NOTEBOOK, STUDENT, Files, Site

FILES = {
    "p1.ipynb": NOTEBOOK,
    "data/x.csv": b"1,2\r\n\x00\xff",
    "data/deep/y z.txt": "Grüße".encode(),
    "empty": b"",
}


def test_fetches_the_tree_and_does_not_fetch_it_twice(same: Compare) -> None:
    def scenario(site: Site) -> object:
        sam = site.student("ps1", files=FILES)
        fetched = sam.succeed("fetch_assignment", "ps1", "--course", COURSE).messages
        first = sam.files()
        again = sam.fail("fetch_assignment", "ps1", "--course", COURSE).partition(": ps1")[0]
        (sam.work / "ps1" / "p1.ipynb").unlink()
        incomplete = sam.fail("fetch_assignment", "ps1", "--course", COURSE).partition(": ps1")[0]
        return fetched, first, again, incomplete, sam.files()

    fetched, first, *_ = same(scenario)
    assert fetched == ["Fetched as: abc101 ps1"]
    assert first == {f"ps1/{path}": data for path, data in FILES.items()}


@pytest.mark.parametrize(
    "arguments",
    [
        ["ps1", "ps2", "--course", COURSE],
        ["--assignment=ps1", "--course", COURSE],
        ["ps1/", "--course", COURSE],
        ["ps1", "--course", COURSE, "--Exchange.path_includes_course=True"],
        ["ps1", "--course", COURSE, "--Exchange.assignment_dir=a/b"],
        ["ps1", "--course", COURSE, "--CourseDirectory.ignore=['data','*.ipynb']"],
    ],
)
def test_options(same: Compare, arguments: list[str]) -> None:
    def scenario(site: Site) -> Files:
        sam = site.student("ps1", "ps2", files=FILES)
        sam.succeed("fetch_assignment", *arguments)
        return sam.files()

    assert same(scenario)


def test_an_ignored_folder_leaves_no_empty_folder(site: Site) -> None:
    sam = site.student("ps1", files={"p1.ipynb": NOTEBOOK, ".ipynb_checkpoints/a/p1": b""})
    sam.succeed("fetch_assignment", "ps1")
    assert [path.name for path in (sam.work / "ps1").iterdir()] == ["p1.ipynb"]


def test_one_that_fails_does_not_stop_the_next(same: Compare) -> None:
    def scenario(site: Site) -> object:
        sam = site.student("ps1", files=FILES)
        outcome = sam.run("fetch_assignment", "missing", "ps1", "--course", COURSE)
        return outcome.code, sam.files()

    code, files = same(scenario)
    assert code == 1
    assert "ps1/p1.ipynb" in files


def test_replace_restores_missing_files_and_changes_no_other(same: Compare) -> None:
    def scenario(site: Site) -> object:
        sam = site.student("ps1", files=FILES)
        sam.succeed("fetch_assignment", "ps1", "--course", COURSE)
        sam.write("ps1", {"p1.ipynb": b"my work", "notes.txt": b"mine"})
        shutil.rmtree(sam.work / "ps1" / "data")
        (sam.work / "ps1" / "empty").unlink()
        messages = sam.succeed("fetch_assignment", "ps1", "--course", COURSE, "--replace").messages
        return sorted(messages), sam.files()

    messages, files = same(scenario)
    assert "Creating missing directory 'ps1/data'" in messages
    assert "Replacing missing file 'ps1/data/deep/y z.txt'" in messages
    assert files == {
        **{f"ps1/{path}": data for path, data in FILES.items()},
        "ps1/p1.ipynb": b"my work",
        "ps1/notes.txt": b"mine",
    }


def test_replace_with_nothing_missing_downloads_nothing(site: Site) -> None:
    sam = site.student("ps1", files=FILES)
    sam.succeed("fetch_assignment", "ps1", "--replace")
    before = len(site.service.requests)
    sam.succeed("fetch_assignment", "ps1", "--course", COURSE, "--replace")
    assert len(site.service.requests) == before + 1


def test_replace_does_not_follow_links_of_the_student(site: Site) -> None:
    sam = site.student("ps1", files=FILES)
    sam.succeed("fetch_assignment", "ps1")
    target = sam.home / "elsewhere"
    file = sam.work / "ps1" / "p1.ipynb"
    file.unlink()
    file.symlink_to(target)
    sam.succeed("fetch_assignment", "ps1", "--replace")
    assert file.is_symlink()
    assert not target.exists()


def test_replace_refuses_a_file_where_the_assignment_has_a_folder(site: Site) -> None:
    sam = site.student("ps1", files=FILES)
    sam.succeed("fetch_assignment", "ps1")
    shutil.rmtree(sam.work / "ps1" / "data")
    (sam.work / "ps1" / "data").write_bytes(b"mine")
    (sam.work / "ps1" / "empty").unlink()
    assert sam.fail("fetch_assignment", "ps1", "--replace").startswith("'data' is a file in your")
    assert sam.files("ps1") == {"p1.ipynb": NOTEBOOK, "data": b"mine"}


def test_a_folder_named_like_the_assignment_inside_it_stays_there(same: Compare) -> None:
    def scenario(site: Site) -> Files:
        sam = site.student("a", files={"a/x": b"inner", "x": b"outer", "a/a/x": b"innermost"})
        sam.succeed("fetch_assignment", "a", "--course", COURSE)
        return sam.files()

    assert same(scenario) == {"a/a/x": b"inner", "a/x": b"outer", "a/a/a/x": b"innermost"}


def test_a_file_in_the_way_is_kept(site: Site) -> None:
    sam = site.student("ps1")
    sam.write("", {"ps1": b"mine"})
    assert sam.fail("fetch_assignment", "ps1").startswith("A file is in the way")
    assert sam.files() == {"ps1": b"mine"}


def test_a_failure_leaves_nothing_behind(site: Site) -> None:
    sam = site.student("ps1")
    outcome = sam.run("fetch_assignment", "pss1")
    assert outcome.code == 1
    assert "ERROR Did you mean: ps1" in outcome.log
    assert sam.fail("fetch_assignment", "ps1", "--course", "nowhere")
    assert [path.name for path in sam.work.iterdir()] == ["nbgrader_config.py"]
    sam.succeed("fetch_assignment", "ps1")


def test_without_a_course_it_is_the_only_one(site: Site) -> None:
    sam = site.student("ps1")
    sam.succeed("fetch_assignment", "ps1", "--course", "*")
    site.student("ps2", course="xyz200")
    reason = sam.fail("fetch_assignment", "ps2")
    assert "abc101, xyz200" in reason
    assert "--course" in reason
    sam.succeed("fetch_assignment", "ps2", "--course", "xyz200")


def test_another_course_s_folder_is_refused(site: Site) -> None:
    sam = site.student("ps1")
    site.student("ps1", course="xyz200", files={"other.ipynb": NOTEBOOK})
    sam.succeed("fetch_assignment", "ps1", "--course", COURSE)
    for options in ([], ["--replace"]):
        reason = sam.fail("fetch_assignment", "ps1", "--course", "xyz200", *options)
        assert "'abc101', not of 'xyz200'" in reason
        assert "path_includes_course" in reason
    assert sam.files() == {"ps1/p1.ipynb": NOTEBOOK}
    (sam.work / "ps1").rename(sam.work / "ps1 of abc101")
    sam.succeed("fetch_assignment", "ps1", "--course", "xyz200")
    assert sam.files("ps1") == {"other.ipynb": NOTEBOOK}


def test_feedback_that_came_first_does_not_prevent_it(site: Site) -> None:
    sam = site.student("ps1")
    sam.succeed("fetch_assignment", "ps1")
    sam.succeed("submit", "ps1")
    site.backend.give_feedback(COURSE, "ps1", STUDENT, {"p1.html": b"good"})
    sam.lose()
    sam.succeed("fetch_feedback", "ps1")
    assert sam.succeed("list").messages[1:] == ["abc101 ps1"]
    sam.succeed("fetch_assignment", "ps1")
    assert sam.files() == {"ps1/p1.ipynb": NOTEBOOK, "ps1/feedback/TIME/p1.html": b"good"}


@pytest.mark.parametrize("name", ["..", "."])
def test_a_name_that_no_folder_has_is_refused(site: Site, name: str) -> None:
    sam = site.student("ps1")
    sam.write("", {"mine": b"1"})
    site.backend.create_course(name, "tom")
    assert "cannot be the name of a folder" in sam.fail("fetch_assignment", "ps1", "--course", name)
    assert "cannot be the name of a folder" in sam.fail("fetch_assignment", name)
    assert sam.files() == {"mine": b"1"}


def test_a_folder_that_cannot_be_written_is_named(site: Site) -> None:
    sam = site.student("ps1")
    sam.write("", {"file": b""})
    reason = sam.fail("fetch_assignment", "ps1", "--Exchange.assignment_dir=file/x")
    assert reason.startswith("WORK/file")
    assert "Errno" not in reason


def test_an_unreachable_service_is_one_sentence(site: Site) -> None:
    sam = site.student("ps1")
    sam.configure("c.Exchange.url = 'http://127.0.0.1:9/api'")
    reason = sam.fail("fetch_assignment", "ps1", "--course", COURSE)
    assert "127.0.0.1:9" in reason
    assert Path(sam.work, "ps1").exists() is False
