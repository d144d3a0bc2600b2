"""Commands that are killed (kill -9) at any moment, and run again: nothing is lost or doubled."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import ANY

import pytest

from tests.exchange.plugin.computers import COURSE, NOTEBOOK, STUDENT, Computer, Files, Site
from tests.exchange.plugin.teaching import (
    ASSIGNMENT,
    collected,
    course_directory,
    feedback,
    hidden_files,
    submit,
)

MOMENTS = int(os.environ.get("NGSHARE_TEST_KILLS", "5"))
"""How often each command is killed."""

FILES = {"p1.ipynb": NOTEBOOK, "data/x.csv": b"1,2", "data/deep/y": b"", "z": os.urandom(100_000)}


class Killer:
    """Runs commands of nbgrader in processes that it can kill."""

    def __init__(self, process: subprocess.Popen[str], output: Path) -> None:
        self.process = process
        self.output = output

    def run(self, computer: Computer, *arguments: str, last: int = 0) -> tuple[int, int]:
        """Run a command up to its call number ``last``, or to its end; return code and calls."""
        command = {
            "arguments": arguments,
            "folder": str(computer.work),
            "environment": computer.environment,
            "output": str(self.output),
            "last": last,
        }
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps(command), file=self.process.stdin, flush=True)
        code, calls = json.loads(self.process.stdout.readline())
        return code, calls

    def moments(self, computer: Computer, *arguments: str) -> list[int]:
        """Run a command to its end, and return moments of it at which to kill the next ones."""
        code, calls = self.run(computer, *arguments)
        assert code == 0, self.output.read_text()
        assert calls > MOMENTS
        return sorted(random.Random(calls).sample(range(1, calls + 1), MOMENTS))


@pytest.fixture(scope="module")
def killer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killer]:
    """One process with nbgrader for all commands of these tests."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.exchange.plugin.killed_commands"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield Killer(process, tmp_path_factory.mktemp("killed") / "output")
        assert process.stdin
        process.stdin.close()


def assert_killed(code: int) -> None:
    assert code in (-signal.SIGKILL, 0)  # 0: it made fewer calls than the one before


def names(count: int = MOMENTS + 1) -> list[str]:
    return [f"ps{number}" for number in range(count)]


def below(computer: Computer, folder: str) -> Files:
    """Return the files of an assignment; nothing else may be in ``work``."""
    return {path.removeprefix(f"{folder}/"): data for path, data in computer.files().items()}


def test_fetch_assignment(site: Site, killer: Killer) -> None:
    first, *others = names()
    sam = site.student(first, *others, files=FILES)
    for name, last in zip(others, killer.moments(sam, "fetch_assignment", first), strict=True):
        computer = site.computer(STUDENT)
        assert_killed(killer.run(computer, "fetch_assignment", name, last=last)[0])
        if not (computer.work / name).exists():
            computer.succeed("fetch_assignment", name)
        assert below(computer, name) == FILES


def test_replace(site: Site, killer: Killer) -> None:
    sam = site.student("ps1", files=FILES)
    sam.succeed("fetch_assignment", "ps1")
    restored = ("data/x.csv", "data/deep/y", "z")

    def damage() -> None:
        sam.write("ps1", {"p1.ipynb": b"my work"})
        for path in restored:
            (sam.work / "ps1" / path).unlink()

    damage()
    for last in killer.moments(sam, "fetch_assignment", "ps1", "--replace"):
        damage()
        assert_killed(killer.run(sam, "fetch_assignment", "ps1", "--replace", last=last)[0])
        sam.succeed("fetch_assignment", "ps1", "--replace")
        assert below(sam, "ps1") == {**FILES, "p1.ipynb": b"my work"}


def test_submit(site: Site, killer: Killer) -> None:
    first, *others = names()
    sam = site.student(first, *others, files=FILES)
    for name in (first, *others):
        sam.write(name, FILES)
    for name, last in zip(others, killer.moments(sam, "submit", first), strict=True):
        assert_killed(killer.run(sam, "submit", name, last=last)[0])
        complete = not list((sam.cache / ".ngshare" / "pending").glob("*")) and (
            site.backend.submissions(COURSE, name, STUDENT)
        )
        if not complete:
            sam.succeed("submit", name)
        assert site.backend.submissions(COURSE, name, STUDENT) == [FILES]
    sam.succeed("submit", first)  # removes what killed commands left
    own = sorted(path.name for path in (sam.cache / ".ngshare").iterdir())
    assert own == ["known", "pending", "receipts"]
    assert len(list((sam.cache / ".ngshare" / "receipts" / COURSE).iterdir())) == MOMENTS + 2
    assert len(list((sam.cache / COURSE).iterdir())) == MOMENTS + 2


def test_fetch_feedback(site: Site, killer: Killer) -> None:
    sam = site.student("ps1", files=FILES)
    sam.write("ps1", FILES)
    html = {"p1.html": b"<p>good</p>", "data/plot.png": os.urandom(100_000)}
    for _ in range(2):
        sam.succeed("submit", "ps1")
        site.backend.give_feedback(COURSE, "ps1", STUDENT, html)
    for last in killer.moments(site.computer(STUDENT), "fetch_feedback", "ps1"):
        computer = site.computer(STUDENT)
        assert_killed(killer.run(computer, "fetch_feedback", "ps1", last=last)[0])
        computer.succeed("fetch_feedback", "ps1")
        folders = list((computer.work / "ps1" / "feedback").iterdir())
        assert len(folders) == 2
        assert below(computer, "ps1/feedback") == {f"TIME/{p}": data for p, data in html.items()}


def test_list(site: Site, killer: Killer) -> None:
    sam = site.student("ps1", "ps2", files=FILES)
    sam.succeed("fetch_assignment", "ps1")
    sam.succeed("submit", "ps1")
    before = (sam.files(), sam.cached())
    for options in ([], ["--inbound"], ["--cached"]):
        expected = sam.succeed("list", *options).messages
        for last in killer.moments(sam, "list", *options)[:: len(options) + 3]:
            assert_killed(killer.run(sam, "list", *options, last=last)[0])
            assert sam.succeed("list", *options).messages == expected
    assert (sam.files(), sam.cached()) == before


def test_collect(site: Site, killer: Killer) -> None:
    students = [f"student{number}" for number in range(5)]
    site.backend.create_course(COURSE, *students)
    site.backend.release(COURSE, ASSIGNMENT, FILES)
    ada = course_directory(site)
    command = ("collect", ASSIGNMENT, "--update")

    def submit_all(files: Files) -> None:
        for student in students:
            submit(site, student, files)

    def copies(state: Files) -> list[Files]:
        """Return the copy of each student, without nbgrader's timestamp.txt."""
        return [
            {
                path.removeprefix(f"{student}/{ASSIGNMENT}/"): data
                for path, data in state.items()
                if path.startswith(f"{student}/")
            }
            for student in students
        ]

    submit_all(FILES)
    moments = killer.moments(ada, *command)
    old = FILES
    for number, last in enumerate(moments):
        new = {**FILES, "p1.ipynb": str(number).encode(), f"only-{number}": b"1"}
        submit_all(new)
        assert_killed(killer.run(ada, *command, last=last)[0])
        # The instructor may go on at another computer, without --update: nothing is lost.
        ada.succeed("collect", ASSIGNMENT)
        assert all(copy in (old, new) for copy in copies(collected(ada)))
        ada.succeed(*command)
        assert copies(collected(ada)) == [new] * len(students)
        old = new
    assert killer.run(ada, *command) == (0, ANY)
    submit(site, students[0], FILES)
    ada.succeed(*command)
    assert hidden_files(ada.work) == []


def test_release_assignment(site: Site, killer: Killer) -> None:
    first, *others = names()
    site.backend.create_course(COURSE, STUDENT)
    ada = course_directory(site)
    for name in (first, *others):
        ada.write(f"release/{name}", FILES)
    moments = killer.moments(ada, "release_assignment", first)
    for name, last in zip(others, moments, strict=True):
        assert_killed(killer.run(ada, "release_assignment", name, last=last)[0])
        again = ada.run("release_assignment", name)
        assert again.code == 0 or "CRITICAL Destination already exists" in str(again.log)
        sam = site.computer(STUDENT)
        sam.succeed("fetch_assignment", name, "--course", COURSE)
        assert below(sam, name) == FILES


def test_replace_a_released_assignment(site: Site, killer: Killer) -> None:
    """A student can fetch one version or the other at any time."""
    site.backend.create_course(COURSE, STUDENT)
    ada = course_directory(site)
    ada.write("release/ps1", FILES)
    command = ("release_assignment", "ps1", "--force")
    old = FILES
    for number, last in enumerate(killer.moments(ada, *command)):
        new = {**FILES, "p1.ipynb": str(number).encode()}
        ada.write("release/ps1", new)
        assert_killed(killer.run(ada, *command, last=last)[0])
        sam = site.computer(STUDENT)
        sam.succeed("fetch_assignment", "ps1", "--course", COURSE)
        assert below(sam, "ps1") in (old, new)
        ada.succeed(*command)
        sam = site.computer(STUDENT)
        sam.succeed("fetch_assignment", "ps1", "--course", COURSE)
        assert below(sam, "ps1") == new
        old = new


def test_release_feedback(site: Site, killer: Killer) -> None:
    students = ["sam", "tom", "uma"]
    site.backend.create_course(COURSE, *students)
    site.backend.release(COURSE, ASSIGNMENT, FILES)
    ada = course_directory(site)
    for student in students:
        submit(site, student, FILES)
    ada.succeed("collect", ASSIGNMENT)
    command = ("release_feedback", ASSIGNMENT)

    def give(verdict: str) -> Files:
        pages = {page: f"{page} {verdict}".encode() for page in ("p1.html", "p2.html")}
        for student in students:
            ada.write(f"feedback/{student}/{ASSIGNMENT}", pages)
            time = Path(student, ASSIGNMENT, "timestamp.txt")
            shutil.copy(ada.work / "submitted" / time, ada.work / "feedback" / time)
        return pages

    old = give("first")
    for number, last in enumerate(killer.moments(ada, *command)):
        new = give(str(number))
        assert_killed(killer.run(ada, *command, last=last)[0])
        assert all(feedback(site, student) in (old, new) for student in students)
        ada.succeed(*command)
        assert [feedback(site, student) for student in students] == [new] * 3
        old = new


def test_exit_codes_of_whole_processes(site: Site, killer: Killer) -> None:
    sam = site.student("ps1", files=FILES)
    commands = {
        ("list",): 0,
        ("list", "--remove"): 1,
        ("fetch_assignment", "ps1", "nothing"): 1,
        ("submit", "nothing"): 1,
        ("submit", "ps1"): 0,
        ("fetch_feedback", "nothing"): 1,
        ("fetch_feedback", "ps1"): 0,
    }
    assert {command: killer.run(sam, *command)[0] for command in commands} == commands
    sam.configure("c.Exchange.url = 'http://127.0.0.1:9/api'")
    assert killer.run(sam, "submit", "ps1", "--course", COURSE)[0] == 1
    assert "Traceback" not in killer.output.read_text()
