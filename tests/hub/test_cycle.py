"""A class, from the course's creation to the feedback, with today's nbgrader and plugin.

Every person has the environment that the Hub gave to their server, and nothing else:
the token in it must be enough.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.hub.running import RunningHub

COURSE = "physics"

CONFIG = """\
import ngshare_exchange
c = get_config()
ngshare_exchange.configureExchange(c, {url!r})
c.CourseDirectory.course_id = {course!r}
"""
"""nbgrader_config.py, as the documentation of ngshare shows it."""

Cell = dict[str, Any]


class Transcript:
    """What people typed and what came back, for people to read."""

    def __init__(self) -> None:
        self.text = ""

    def add(self, line: str) -> None:
        print(line)
        self.text += line + "\n"


@pytest.fixture(scope="module")
def transcript() -> Iterator[Transcript]:
    """Shown by ``pytest -s``, and kept in the file that NGSHARE_TRANSCRIPT names."""
    transcript = Transcript()
    yield transcript
    if path := os.environ.get("NGSHARE_TRANSCRIPT"):
        Path(path).write_text(transcript.text, "utf8")


class Nbgrader:
    """The program nbgrader, imported once for all commands; see ``nbgrader_forks.py``."""

    def __init__(self, programs: Path, output: Path) -> None:
        self.program = programs / "nbgrader"
        self.output = output
        self.process = subprocess.Popen(
            [programs / "python", Path(__file__).with_name("nbgrader_forks.py")],
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, command: Sequence[str], folder: Path, environment: dict[str, str]) -> int:
        """Run a command, which leaves what it printed in ``output``; return its exit code."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        request = {
            "arguments": [str(self.program), *command],
            "folder": str(folder),
            "environment": environment,
            "output": str(self.output),
        }
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        self.process.communicate(timeout=30)


@pytest.fixture(scope="module")
def nbgrader(
    nbgrader_programs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Nbgrader]:
    """The program nbgrader of today's students and instructors."""
    nbgrader = Nbgrader(nbgrader_programs, tmp_path_factory.mktemp("nbgrader") / "output")
    yield nbgrader
    nbgrader.close()


class Person:
    """Somebody with a server on the Hub, who types commands there."""

    def __init__(
        self,
        name: str,
        hub: RunningHub,
        programs: Path,
        nbgrader: Nbgrader,
        transcript: Transcript,
    ) -> None:
        self.name = name
        self.hub = hub
        self.programs = programs
        self._nbgrader = nbgrader
        self.transcript = transcript
        environment = hub.start_server(name)
        self.token = environment["JUPYTERHUB_API_TOKEN"]
        self.home = Path(environment["HOME"])
        self.environment = {
            **environment,
            "JUPYTER_CONFIG_DIR": str(self.home / ".jupyter"),
            "PYTHONWARNINGS": "ignore",  # nbgrader's own, which only hide what matters here
            # The programs call each other.
            "PATH": f"{programs}{os.pathsep}{environment['PATH']}",
        }
        config = self.home / ".jupyter" / "nbgrader_config.py"
        config.parent.mkdir()
        config.write_text(CONFIG.format(url=hub.ngshare.rstrip("/"), course=COURSE))

    def nbgrader(self, *command: str, code: int = 0) -> str:
        """Run nbgrader, which must end with this code; return what it printed."""
        ended = self._nbgrader.run(command, self.home, self.environment)
        said = self._nbgrader.output.read_bytes()
        return self._checked(("nbgrader", *command), said, ended, code)

    def manage(self, *command: str, code: int = 0) -> str:
        """Run the plugin's program, which must end with this code; return what it printed."""
        program = "ngshare-course-management"
        done = subprocess.run(
            [self.programs / program, *command],
            cwd=self.home,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
            check=False,
        )
        return self._checked((program, *command), done.stdout, done.returncode, code)

    def _checked(self, command: Sequence[str], output: bytes, ended: int, code: int) -> str:
        said = re.sub(r"\x1b\[[0-9;]*m", "", output.decode()).replace(str(self.home), "~")
        shown = "".join(f"    {line.strip()}\n" for line in said.splitlines() if line.strip())
        failed = f"    [exit code {ended}]\n" if ended else ""
        self.transcript.add(f"{self.name}$ {' '.join(command)}\n{shown}{failed}".rstrip())
        assert ended == code, said
        return said

    def get(self, path: str) -> tuple[int, Any]:
        """What the service's API answers to a GET with the token of this person's server."""
        reply = self.hub.ask("GET", path, self.token)
        self.transcript.add(f"{self.name}: GET {path}\n    {reply.status_code} {reply.text[:200]}")
        return reply.status_code, reply.json()

    def write(self, path: str, text: str) -> Path:
        file = self.home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf8")
        return file

    def read(self, path: str) -> bytes:
        return (self.home / path).read_bytes()


def notebook(answer: str) -> str:
    """An assignment of one question, with the answer between the marks of nbgrader."""

    def cell(number: int, source: str, **nbgrader: Any) -> Cell:
        marks = {"schema_version": 3, "task": False, "locked": False, "grade": False}
        return {
            "cell_type": "code",
            "id": f"cell{number}",
            "execution_count": None,
            "metadata": {"nbgrader": {**marks, **nbgrader}},
            "outputs": [],
            "source": source,
        }

    solution = f"def square(x):\n    ### BEGIN SOLUTION\n    return {answer}\n    ### END SOLUTION"
    content = {
        "cells": [
            cell(1, solution, grade_id="square", solution=True),
            cell(
                2,
                "assert square(3) == 9\nassert square(-2) == 4",
                grade_id="test_square",
                solution=False,
                grade=True,
                locked=True,
                points=5,
            ),
        ],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(content, indent=1)


def answered(fetched: bytes, answer: str) -> str:
    """The notebook as the student fetched it, with an answer where there was none."""
    content = json.loads(fetched)
    cell = content["cells"][0]
    blank = "# YOUR CODE HERE\n    raise NotImplementedError()"
    source = "".join(cell["source"])
    assert blank in source
    cell["source"] = source.replace(blank, f"return {answer}")
    return json.dumps(content, indent=1)


def test_a_class_from_its_course_to_its_feedback(
    hub: RunningHub, nbgrader_programs: Path, nbgrader: Nbgrader, transcript: Transcript
) -> None:
    ada, kevin, bob, anna, mallory = (
        Person(name, hub, nbgrader_programs, nbgrader, transcript)
        for name in ("ada", "kevin", "bob", "anna@b.edu", "mallory")
    )

    transcript.add("\n== The administrator creates a course, and nobody else can")
    said = mallory.manage("create_course", "chemistry", "mallory", code=255)
    assert "Permission denied" in said
    ada.manage("create_course", COURSE, "kevin")
    assert ada.get("courses") == (200, {"success": True, "courses": [COURSE]})

    transcript.add("\n== The instructor adds students from a CSV file")
    rows = "student_id,first_name,last_name,email\nbob,Bob,Stone,bob@b.edu\n"
    kevin.write("class.csv", rows + "anna@b.edu,Anna,Berg,anna@b.edu\n")
    kevin.manage("add_students", COURSE, "class.csv")
    _, roster = kevin.get(f"students/{COURSE}")
    assert {(each["username"], each["last_name"]) for each in roster["students"]} == {
        ("bob", "Stone"),
        ("anna@b.edu", "Berg"),
    }

    transcript.add("\n== The instructor releases an assignment")
    kevin.write("source/ps1/problem1.ipynb", notebook("x * x"))
    data = kevin.write("source/ps1/data/räume.csv", "a,b\r\n1,2\r\n")
    (kevin.home / "source/ps1/data/pixel.bin").write_bytes(bytes(range(256)))
    kevin.nbgrader("generate_assignment", "ps1")
    kevin.nbgrader("release_assignment", "ps1")
    assert "already exists" in kevin.nbgrader("release_assignment", "ps1", code=1)

    transcript.add("\n== Students find it, and fetch exactly what was released")
    assert f"{COURSE} ps1" in bob.nbgrader("list")
    released = kevin.read("release/ps1/problem1.ipynb")
    for student in (bob, anna):
        student.nbgrader("fetch_assignment", "ps1")
        assert student.read("ps1/problem1.ipynb") == released
        assert student.read("ps1/data/räume.csv") == data.read_bytes()
        assert student.read("ps1/data/pixel.bin") == bytes(range(256))

    transcript.add("\n== A stranger gets nothing and hands nothing in")
    assert "Permission denied" in mallory.nbgrader("fetch_assignment", "ps1")
    assert not (mallory.home / "ps1" / "problem1.ipynb").exists()
    mallory.write("ps1/problem1.ipynb", released.decode())
    assert "Permission denied" in mallory.nbgrader("submit", "ps1")
    assert mallory.get(f"assignment/{COURSE}/ps1")[0] == 403

    transcript.add("\n== Students hand in, one of them twice")
    bob.write("ps1/problem1.ipynb", answered(released, "x + x"))
    bob.nbgrader("submit", "ps1")
    bob.write("ps1/problem1.ipynb", answered(released, "x ** 2"))
    bob.nbgrader("submit", "ps1")
    anna.write("ps1/problem1.ipynb", answered(released, "3 * x"))
    anna.nbgrader("submit", "ps1")
    submissions = kevin.get(f"submissions/{COURSE}/ps1")
    handed_in = [each["student_id"] for each in submissions[1]["submissions"]]
    assert handed_in == ["bob", "bob", "anna@b.edu"]
    assert anna.get(f"submissions/{COURSE}/ps1/bob")[0] == 403

    transcript.add("\n== The instructor mends the assignment; what was handed in stays")
    kevin.write("release/ps1/data/räume.csv", "a,b\r\n1,3\r\n")
    kevin.nbgrader("release_assignment", "ps1", "--force")
    assert kevin.get(f"submissions/{COURSE}/ps1") == submissions
    _, again = anna.get(f"assignment/{COURSE}/ps1")
    contents = {each["path"]: base64.b64decode(each["content"]) for each in again["files"]}
    assert contents["data/räume.csv"] == kevin.read("release/ps1/data/räume.csv")
    assert contents["problem1.ipynb"] == released
    assert COURSE in anna.nbgrader("list")

    transcript.add("\n== The instructor collects the latest of each student, and grades")
    kevin.nbgrader("collect", "ps1")
    for student in (bob, anna):
        collected = f"submitted/{student.name}/ps1/"
        assert kevin.read(collected + "problem1.ipynb") == student.read("ps1/problem1.ipynb")
        assert kevin.read(collected + "data/pixel.bin") == bytes(range(256))
    times = [each["timestamp"] for each in submissions[1]["submissions"]]
    assert kevin.read("submitted/bob/ps1/timestamp.txt").decode().strip() == times[1]
    kevin.nbgrader("autograde", "ps1")
    kevin.nbgrader("generate_feedback", "ps1")
    kevin.nbgrader("release_feedback", "ps1")

    transcript.add("\n== Students fetch their feedback, each their own")
    points = {}
    for student in (bob, anna):
        student.nbgrader("fetch_feedback", "ps1")
        (page,) = (student.home / "ps1" / "feedback").rglob("problem1.html")
        assert page.read_bytes() == kevin.read(f"feedback/{student.name}/ps1/problem1.html")
        score = re.search(r"Score: ([\d.]+) / ([\d.]+)", page.read_text("utf8"))
        assert score
        points[student.name] = score.groups()
    assert points == {"bob": ("5.0", "5.0"), "anna@b.edu": ("0.0", "5.0")}
    _, own = bob.get(f"submissions/{COURSE}/ps1/bob")
    path = f"feedback/{COURSE}/ps1/bob?list_only=true&timestamp="
    assert bob.get(path + own["submissions"][-1]["timestamp"])[1]["files"]
    assert anna.get(path + own["submissions"][-1]["timestamp"])[0] == 403
