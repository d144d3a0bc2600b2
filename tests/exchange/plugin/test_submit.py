"""``nbgrader submit``: what arrives, what is kept, what is refused, as with nbgrader's exchange."""

from __future__ import annotations

import json
import os
import pty
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.exchange.conftest import Compare
from tests.exchange.plugin.computers import COURSE, NOTEBOOK, STUDENT, Computer, Files, Site

FILES = {"p1.ipynb": NOTEBOOK, "data/x.csv": b"1,2\r\n\x00\xff", "empty": b""}


def fetched(site: Site, *options: str, files: Files | None = None) -> Computer:
    """Return a computer of a student who has fetched ps1."""
    sam = site.student("ps1", files=files or FILES)
    sam.succeed("fetch_assignment", "ps1", "--course", COURSE, *options)
    return sam


def handed_in(site: Site) -> list[Files]:
    return site.backend.submissions(COURSE, "ps1", STUDENT)


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--strict"],
        ["--CourseDirectory.include=['*.ipynb']"],
        ["--CourseDirectory.ignore=['data', '*.pyc']"],
        ["--CourseDirectory.max_file_size=2"],
        ["--CourseDirectory.ignore=[]"],
        ["--Exchange.path_includes_course=True"],
    ],
)
def test_hands_in_the_files_that_nbgrader_s_filters_let_through(
    same: Compare, options: list[str]
) -> None:
    def scenario(site: Site) -> object:
        where = [option for option in options if "path_includes" in option]
        sam = fetched(site, *where)
        folder = "abc101/ps1" if where else "ps1"
        sam.write(
            folder,
            {
                "p1.ipynb": NOTEBOOK + b"\n",
                "notes é.txt": b"mine",
                "small": b"x" * 2000,
                "large": b"x" * 2001,
                "y.pyc": b"",
                "data/y.pyc": b"",
                ".ipynb_checkpoints/old.txt": b"old",
                "data/feedback/x": b"ignored by default",
                ".hidden": b"1",
            },
        )
        messages = sam.succeed("submit", "ps1", "--course", COURSE, *options).messages
        copies = [
            {path: data for path, data in files.items() if path != "submission_secret.txt"}
            for files in sam.cached().values()
        ]
        for copy in copies:
            assert len(copy.pop("timestamp.txt")) == len("2020-01-01 00:00:00.000000 UTC")
        return (
            handed_in(site),
            copies,
            list(sam.cached()),
            messages[-1:] and "Submitted as: abc101 ps1 TIME" in messages,
        )

    [tree], [copy], names, said = same(scenario)
    assert tree == copy
    assert names == ["sam+ps1+TIME"]
    assert said


def test_each_submission_is_kept(same: Compare) -> None:
    def scenario(site: Site) -> object:
        sam = fetched(site)
        for text in (b"1", b"2"):
            sam.write("ps1", {"answer": text})
            sam.succeed("submit", "ps1", "--course", COURSE)
        folders = sorted(sam.cache.glob("abc101/*"))
        for folder in folders:
            assert (folder / "timestamp.txt").read_text() == folder.name.rpartition("+")[2]
        return handed_in(site), len(folders)

    trees, copies = same(scenario)
    assert [tree["answer"] for tree in trees] == [b"1", b"2"]
    assert copies == 2


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("change", ["extra", "missing", "renamed", "deep"])
def test_compares_the_notebooks_with_the_release(same: Compare, change: str, strict: bool) -> None:
    def scenario(site: Site) -> object:
        sam = fetched(site, files={"p1.ipynb": NOTEBOOK, "deep/p2.ipynb": NOTEBOOK, "x": b""})
        folder = sam.work / "ps1"
        if change == "extra":
            sam.write("ps1", {"extra.ipynb": NOTEBOOK})
        elif change == "missing":
            (folder / "p1.ipynb").unlink()
        elif change == "renamed":
            (folder / "p1.ipynb").rename(folder / "p3.ipynb")
        else:
            (folder / "deep" / "p2.ipynb").unlink()
        outcome = sam.run("submit", "ps1", "--course", COURSE, *(["--strict"] if strict else []))
        differences = [message for message in outcome.messages if "Expected:" in message]
        return outcome.code, differences, handed_in(site)

    code, [difference], trees = same(scenario)
    assert code == (1 if strict and change != "extra" else 0)
    assert len(trees) == 1 - code
    assert ("MISSING" in difference) == (change != "extra")


def test_a_folder_that_is_too_large_is_not_handed_in(site: Site) -> None:
    sam = fetched(site)
    sam.write("ps1", {"large": b"x" * 4000})
    reason = sam.fail("submit", "ps1", "--CourseDirectory.max_dir_size=3")
    assert "max_dir_size" in reason or "too big" in reason
    assert handed_in(site) == []
    assert sam.cached() == {}


def test_what_is_not_there_is_not_handed_in(same: Compare) -> None:
    def scenario(site: Site) -> object:
        sam = fetched(site)
        outcome = sam.run("submit", "pss1", "--course", COURSE)
        missing = sam.run("submit", "--course", COURSE)
        sam.write("ps2", {"p1.ipynb": NOTEBOOK})
        unreleased = sam.run("submit", "ps2", "--course", COURSE)
        reasons = sorted(line.partition(": ")[0] for line in outcome.log + unreleased.log)
        return outcome.code, reasons, missing.code, unreleased.code

    code, reasons, *codes = same(scenario)
    assert [code, *codes] == [1, 1, 1]
    assert "CRITICAL Assignment not found at" in reasons


def test_the_assignment_may_be_given_as_a_path(same: Compare) -> None:
    def scenario(site: Site) -> object:
        sam = fetched(site)
        sam.succeed("submit", "--assignment=./ps1/", "--course", COURSE)
        return list(sam.cached()), len(handed_in(site))

    assert same(scenario) == (["sam+ps1+TIME"], 1)


def test_another_course_s_files_are_not_handed_in(site: Site) -> None:
    sam = fetched(site)
    site.student("ps1", course="xyz200")
    assert "'abc101', not of 'xyz200'" in sam.fail("submit", "ps1", "--course", "xyz200")
    assert site.backend.submissions("xyz200", "ps1", STUDENT) == []
    record = next((sam.cache / ".ngshare" / "fetched").iterdir())
    assert str(record) in sam.raw("submit", "ps1", "--course", "xyz200")
    record.unlink()
    sam.succeed("submit", "ps1", "--course", "xyz200")


def test_nobody_submits_for_another(site: Site) -> None:
    sam = fetched(site)
    assert "under your own name, 'sam'" in sam.fail("submit", "ps1", "--student=tom")
    assert "under your own name, 'sam'" in sam.fail("submit", "ps1", "--student=s*")
    sam.succeed("submit", "ps1", "--student=sam")
    assert len(handed_in(site)) == 1


def test_nbgrader_s_own_files_are_not_handed_in(site: Site) -> None:
    sam = fetched(site)
    sam.write("ps1", {"timestamp.txt": b"1999", "data/timestamp.txt": b"mine"})
    sam.succeed("submit", "ps1")
    [tree] = handed_in(site)
    assert "timestamp.txt" not in tree
    assert tree["data/timestamp.txt"] == b"mine"
    (sam.work / "ps1" / "timestamp.txt").unlink()
    sam.write("ps1", {"timestamp.txt/x": b""})
    assert "Rename the folder 'timestamp.txt'" in sam.fail("submit", "ps1")


def make_loop(folder: Path) -> None:
    (folder / "data" / "again").symlink_to(folder)


def make_dangling(folder: Path) -> None:
    (folder / "gone").symlink_to(folder / "nowhere")


def make_outside(folder: Path) -> None:
    (folder / "passwords").symlink_to("/etc/passwd")


def make_refused(folder: Path) -> None:
    (folder / "a\\b").write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        (make_loop, "data/again"),
        (make_dangling, "gone"),
        (make_outside, "passwords"),
        (make_refused, r'"a\\b"'),
    ],
)
def test_what_cannot_be_handed_in_is_named_before_anything_is_sent(
    site: Site, damage: Callable[[Path], None], name: str
) -> None:
    sam = fetched(site)
    damage(sam.work / "ps1")
    assert name in sam.fail("submit", "ps1")
    assert handed_in(site) == []
    assert sam.cached() == {}


def test_the_receipt_is_printed_and_kept(site: Site) -> None:
    sam = fetched(site)
    messages = sam.succeed("submit", "ps1").messages
    [folder] = sam.cache.glob("abc101/*")
    path = sam.cache / ".ngshare" / "receipts" / "abc101" / f"{folder.name}.json"
    receipt = json.loads(path.read_bytes())
    [line] = [message for message in messages if message.startswith("Receipt: ")]
    assert line == f"Receipt: 3 files, digest {receipt['digest']}, at TIME"
    assert receipt["student"] == STUDENT
    assert receipt["signature"]


def test_a_resubmission_is_one_request_with_what_changed(site: Site) -> None:
    big = os.urandom(300_000)
    sam = fetched(site, files={**FILES, "big": big})
    for text in (b"1", b"2"):
        sam.write("ps1", {"p1.ipynb": text})
        before = len(site.service.requests)
        sam.succeed("submit", "ps1", "--course", COURSE)
        assert site.service.requests[before:] == [
            "GET /api/overview",
            "POST /api/tree/submission/abc101/ps1",
        ]
    assert [tree["big"] == big for tree in handed_in(site)] == [True, True]


def test_unchanged_files_are_submitted_again_with_a_warning(site: Site) -> None:
    sam = fetched(site)
    sam.succeed("submit", "ps1")
    messages = sam.succeed("submit", "ps1").messages
    assert "These files are byte for byte those of your latest submission, at TIME." in messages
    assert "They are submitted again." in messages
    assert len(handed_in(site)) == 2


@pytest.mark.parametrize(("answer", "submissions"), [("y", 2), ("n", 1), ("", 1), (None, 1)])
def test_on_a_terminal_it_asks_first(
    site: Site, monkeypatch: pytest.MonkeyPatch, answer: str | None, submissions: int
) -> None:
    sam = fetched(site)
    sam.succeed("submit", "ps1")
    main, terminal = pty.openpty()
    questions = []

    def reply(question: str) -> str:
        questions.append(question)
        if answer is None:
            raise EOFError
        return answer

    with os.fdopen(main), os.fdopen(terminal) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr("builtins.input", reply)
        sam.succeed("submit", "ps1")
    assert questions == ["Submit them again? [y/N] "]
    assert len(handed_in(site)) == submissions


def test_a_jupyter_server_started_in_a_terminal_does_not_ask(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    sam = fetched(site)
    sam.succeed("submit", "ps1")
    main, terminal = pty.openpty()

    def no_question(question: str) -> str:
        raise AssertionError(question)

    with os.fdopen(main), os.fdopen(terminal) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr("builtins.input", no_question)
        sam.submit_in_server(COURSE, "ps1")
    assert len(handed_in(site)) == 2


def test_an_interrupted_command_that_is_repeated_makes_one_submission(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    sam = fetched(site)
    _submit_and_die(sam, monkeypatch)
    assert len(handed_in(site)) == 1
    assert sam.cached() == {}
    messages = sam.succeed("submit", "ps1").messages
    assert not any("byte for byte" in message for message in messages)
    assert len(handed_in(site)) == len(sam.cached()) == 1
    sam.succeed("submit", "ps1")
    assert len(handed_in(site)) == 2


def test_after_an_interrupted_command_changed_files_are_a_new_submission(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    sam = fetched(site)
    _submit_and_die(sam, monkeypatch)
    sam.write("ps1", {"p1.ipynb": b"changed"})
    sam.succeed("submit", "ps1")
    assert [tree["p1.ipynb"] for tree in handed_in(site)] == [NOTEBOOK, b"changed"]


def test_a_repeated_command_is_the_latest_submission_whatever_another_computer_did(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    sam = fetched(site)
    _submit_and_die(sam, monkeypatch)
    laptop = site.computer(STUDENT)
    laptop.write("ps1", {"p1.ipynb": b"other"})
    laptop.succeed("submit", "ps1")
    sam.succeed("submit", "ps1")
    assert [tree["p1.ipynb"] for tree in handed_in(site)] == [NOTEBOOK, b"other", NOTEBOOK]


def _submit_and_die(computer: Computer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a submit that ends right after the service has stored the submission."""
    from ngshare.exchange.client import ExchangeClient

    submit = ExchangeClient.submit

    def submit_and_die(*arguments: Any, **options: Any) -> None:
        submit(*arguments, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ExchangeClient, "submit", submit_and_die)
        with pytest.raises(KeyboardInterrupt):
            computer.run("submit", "ps1", "--course", COURSE)


def test_files_that_change_while_they_are_sent_do_not_matter(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jupyter saves notebooks at any moment."""
    from ngshare.exchange.client import ExchangeClient

    sam = fetched(site)
    submit = ExchangeClient.submit

    def save_and_submit(*arguments: Any, **options: Any) -> Any:
        sam.write("ps1", {"p1.ipynb": b"saved meanwhile"})
        return submit(*arguments, **options)

    monkeypatch.setattr(ExchangeClient, "submit", save_and_submit)
    sam.succeed("submit", "ps1")
    [tree], [copy] = handed_in(site), sam.cached().values()
    assert tree["p1.ipynb"] == copy["p1.ipynb"] == NOTEBOOK


def test_a_name_too_long_for_the_cache_is_submitted_all_the_same(site: Site) -> None:
    name = "x" * 240
    sam = site.student(name, files=FILES)
    sam.succeed("fetch_assignment", name)
    messages = sam.succeed("submit", name).messages
    assert any(message.startswith("No copy was kept in the cache: ") for message in messages)
    assert len(site.backend.submissions(COURSE, name, STUDENT)) == 1


def test_a_cache_that_cannot_be_written_is_named_before_anything_is_sent(site: Site) -> None:
    sam = fetched(site)
    sam.write("", {"file": b""})
    assert sam.fail("submit", "ps1", "--Exchange.cache=file/x").startswith("file")
    assert handed_in(site) == []
