"""What is measured: the peer, ngshare in several shapes, and the bare handler.

Each site serves the same class: one course, its students, an assignment that all of
them have handed in once and had feedback on, and another that nobody has.
"""

from __future__ import annotations

import functools
import json
import shutil
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

from benchmarks import content, load
from benchmarks.content import ADMIN, COURSE, TEACHER
from benchmarks.load import Load, Outcome, Request
from benchmarks.processes import Process, client_core, free_port
from ngshare.hub import MALLOC
from tests.postgres import Cluster

ROOT = Path(__file__).parents[1]
PEER_PYTHON = ROOT / ".venv" / "peer" / "bin" / "python"

DONE = "ps1"
"""The assignment that every student has handed in once."""
OPEN = "ps2"
"""The assignment that they hand in while it is measured."""

LIBRARY = "library"
"""A second course, of many assignments."""
COLD = 200
"""How many: encoded, 86 MB. ngshare keeps 64 MiB of encoded trees, the latest asked for."""


class Site:
    """A server with a class in it."""

    prefix = "/api/"
    health = "/healthz"

    def __init__(self, name: str, folder: Path, students: Sequence[str]) -> None:
        """Start it and fill it. ``folder`` is made; everything that it keeps is there."""
        self.name = name
        self.folder = folder
        self.students = students
        self.port = free_port()
        self.serial = 1
        self.times: dict[str, str] = {}
        """When each student handed in ``DONE``."""
        folder.mkdir(parents=True)
        self.process = self.start()
        try:
            self.process.wait_for(f"http://127.0.0.1:{self.port}{self.health}")
            self.idle_memory = self.process.memory()
            self.fill()
        except BaseException:
            self.process.stop()
            raise

    def start(self) -> Process:
        """Start the program."""
        raise NotImplementedError

    def fill(self) -> None:
        """Make the class, over HTTP like anybody."""
        everyone = [content.person(name) for name in self.students]
        self.ask(self.post(f"course/{COURSE}", ADMIN, instructors=json.dumps([TEACHER])))
        self.ask(self.post(f"students/{COURSE}", TEACHER, students=json.dumps(everyone)))
        for name in (DONE, OPEN):
            files = content.encode_tree(content.assignment("released"))
            self.ask(self.post(f"assignment/{COURSE}/{name}", TEACHER, files=files))
        self.run(self.submits(DONE), connections=8)
        reply = self.ask(self.get(f"submissions/{COURSE}/{DONE}", TEACHER))
        self.times = {one["student_id"]: one["timestamp"] for one in reply["submissions"]}
        assert len(self.times) == len(self.students), f"{self.name} lost submissions"
        self.run(self.feedbacks(), connections=8)

    def run(
        self, requests: Sequence[Request], *, connections: int = 50, seconds: float | None = None
    ) -> Outcome:
        """Send each once, or all again and again for so many seconds. Raises RuntimeError."""
        whole = Load(self.port, requests, connections, seconds, self.serial)
        outcome = load.run(whole, client_core(), self.health_request())
        self.serial += outcome.completed
        if set(outcome.statuses) != {200}:
            raise RuntimeError(f"{self.name}: {dict(outcome.statuses)}, first {outcome.failure}")
        return outcome

    def ask(self, request: Request) -> Any:
        """What it answers to one request. Raises OSError unless that is a success."""
        head, _, body = request.data.partition(b"\r\n\r\n")
        method, path = head.split(b" ", 2)[:2]
        lines = head.decode().split("\r\n")[1:]
        headers = dict(line.split(": ", 1) for line in lines if not line.startswith("Host"))
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        question = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path.decode()}",
            data=body or None,
            headers=headers,
            method=method.decode(),
        )
        with opener.open(question, timeout=300) as reply:
            return json.loads(reply.read())

    def restart(self) -> None:
        """End it and start it again, with what it has stored and nothing else."""
        self.process.stop()
        self.process = self.start()
        self.process.wait_for(f"http://127.0.0.1:{self.port}{self.health}")

    def stop(self) -> None:
        """End it and remove what it kept."""
        self.process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def health_request(self) -> Request:
        """Asks whether it is healthy."""
        return load.get(self.health)

    def get(self, path: str, user: str, **query: str) -> Request:
        """A GET as somebody."""
        return load.get(self.prefix + path, user=user, **query)

    def post(self, path: str, user: str, **fields: str) -> Request:
        """A POST as somebody."""
        return load.post(self.prefix + path, user=user, **fields)

    def post_body(self, path: str, user: str, body: bytes, marks: Sequence[bytes]) -> Request:
        """A POST of an encoded form, which says who sends it."""
        return load.post_body(self.prefix + path, body, marks=marks)

    # What the scenarios send. The bare handler has its own addresses for each.

    def fetches(self) -> list[Request]:
        """Every student fetches the assignment."""
        return [self.get(f"assignment/{COURSE}/{DONE}", name) for name in self.students]

    def cold_fetches(self) -> list[Request]:
        """Many assignments, which are released first; each is fetched when all others were."""
        everyone = [content.person(name) for name in self.students]
        self.ask(self.post(f"course/{LIBRARY}", ADMIN, instructors=json.dumps([TEACHER])))
        self.ask(self.post(f"students/{LIBRARY}", TEACHER, students=json.dumps(everyone)))
        names = [f"ps{number}" for number in range(COLD)]
        form = submission_form(TEACHER)
        self.run(
            [self.post_body(f"assignment/{LIBRARY}/{name}", TEACHER, *form) for name in names],
            connections=8,
        )
        return [
            self.get(f"assignment/{LIBRARY}/{name}", self.students[at % len(self.students)])
            for at, name in enumerate(names)
        ]

    def submits(self, assignment: str = OPEN) -> list[Request]:
        """Every student hands in a tree of their own, another in each request."""
        return [
            self.post_body(f"submission/{COURSE}/{assignment}", name, *submission_form(name))
            for name in self.students
        ]

    def resubmits(self) -> list[Request]:
        """Every student changes one notebook, and hands the whole tree in again."""
        return [
            self.post_body(f"submission/{COURSE}/{OPEN}", name, *resubmission_form(name))
            for name in self.students
        ]

    def small_gets(self) -> list[Request]:
        """The five small GETs that ``nbgrader list`` and its page come to, of every student."""
        return [
            request
            for name in self.students
            for request in (
                self.get("courses", name),
                self.get(f"assignments/{COURSE}", name),
                self.get(f"assignment/{COURSE}/{DONE}", name, list_only="true"),
                self.get(f"submissions/{COURSE}/{DONE}/{name}", name),
                self.get(
                    f"feedback/{COURSE}/{DONE}/{name}",
                    name,
                    timestamp=self.times[name],
                    list_only="true",
                ),
            )
        ]

    def lists(self) -> list[Request]:
        """The instructor lists everybody's submissions."""
        return [self.get(f"submissions/{COURSE}/{DONE}", TEACHER)]

    def collects(self) -> list[Request]:
        """The instructor downloads the newest submission of each."""
        return [self.get(f"submission/{COURSE}/{DONE}/{name}", TEACHER) for name in self.students]

    def feedbacks(self) -> list[Request]:
        """The instructor gives each their feedback, other pages in each request."""
        return [
            self.post_body(
                f"feedback/{COURSE}/{DONE}/{name}", TEACHER, *feedback_form(name, self.times[name])
            )
            for name in self.students
        ]

    def roster(self, course: str, size: int) -> list[Request]:
        """The instructor imports a roster of new students into a new course."""
        everyone = [content.person(f"{course}-{name}") for name in content.students(size)]
        self.ask(self.post(f"course/{course}", ADMIN, instructors=json.dumps([TEACHER])))
        return [self.post(f"students/{course}", TEACHER, students=json.dumps(everyone))]


def peer_command(port: int, folder: Path) -> list[str]:
    """How the peer is started, with nothing of this checkout on its path."""
    program = Path(__file__).with_name("peer.py")
    return [str(PEER_PYTHON), "-I", str(program), str(port), str(folder)]


class Peer(Site):
    """ngshare 0.6.0 from PyPI."""

    def start(self) -> Process:
        return Process(
            peer_command(self.port, self.folder),
            self.folder,
            name="peer",
            environment={
                "JUPYTERHUB_API_TOKEN": "unused",
                "JUPYTERHUB_API_URL": "http://127.0.0.1:1/hub/api",
                "JUPYTERHUB_CLIENT_ID": "service-ngshare",
                "JUPYTERHUB_SERVICE_PREFIX": self.prefix,
            },
        )


class Ours(Site):
    """This ngshare, stand-alone."""

    arguments: Sequence[str] = ()

    @property
    def database(self) -> str:
        """The URL of its database."""
        return f"sqlite:///{self.folder}/ngshare.db"

    def start(self) -> Process:
        return Process(self.command(), self.folder, name="ngshare", environment=MALLOC)

    def command(self) -> list[str]:
        """How it is started."""
        return [
            *(sys.executable, "-m", "ngshare", "--vngshare", "--admins", ADMIN, "--config", ""),
            *("--host", "127.0.0.1", "--port", str(self.port)),
            *("--database", self.database, "--storage", f"{self.folder}/files", *self.arguments),
        ]

    def resubmits(self) -> list[Request]:
        """Every student changes one notebook, and sends that notebook.

        The rest is in the submission that each of them makes here first.
        """
        path = f"submission/{COURSE}/{OPEN}"
        trees = {name: content.assignment(name) for name in self.students}
        self.run(
            [
                self.post(path, name, files=content.encode_tree(files))
                for name, files in trees.items()
            ],
            connections=8,
        )
        return [
            load.post_tree(f"{self.prefix}tree/{path}", files, user=name)
            for name, files in trees.items()
        ]


class TwoWorkers(Ours):
    """With two processes, which share both cores with the client."""

    arguments = ("--workers", "2")


class Postgres(Ours):
    """On PostgreSQL. Its own processes run on whatever core is free, and are not counted."""

    cluster: Cluster

    @functools.cached_property
    def database(self) -> str:
        return self.cluster.url(self.cluster.create())


class PostgresTwoWorkers(Postgres, TwoWorkers):
    """On PostgreSQL, with two processes."""


class Bare(Site):
    """The least that such a service must do."""

    def start(self) -> Process:
        command = [sys.executable, "-m", "benchmarks.bare", str(self.port), str(self.folder)]
        return Process(command, self.folder, name="bare")

    def fill(self) -> None:
        self.times = dict.fromkeys(self.students, "2026-01-01 00:00:00.000000 UTC")
        files = content.encode_tree(content.assignment("released"))
        self.ask(load.post(f"/tree/{OPEN}/released", files=files))
        self.run(self.submits(DONE), connections=8)

    def fetches(self) -> list[Request]:
        return [load.get(f"/tree/{OPEN}/released", user=name) for name in self.students]

    def cold_fetches(self) -> list[Request]:
        body, marks = submission_form(TEACHER)
        paths = [f"/tree/cold{number}/released" for number in range(COLD)]
        self.run([load.post_body(path, body, marks=marks) for path in paths], connections=8)
        return [load.get(path, user=self.students[0]) for path in paths]

    def post_body(self, path: str, user: str, body: bytes, marks: Sequence[bytes]) -> Request:
        assignment = path.split("/")[2] if path.startswith("submission/") else "feedback"
        return load.post_body(f"/tree/{assignment}/{user}", body, marks=marks)

    def small_gets(self) -> list[Request]:
        return [load.get("/small", user=name) for name in self.students]

    def lists(self) -> list[Request]:
        return [load.get(f"/list/{DONE}", user=TEACHER)]

    def collects(self) -> list[Request]:
        return [load.get(f"/tree/{DONE}/{name}", user=TEACHER) for name in self.students]

    def roster(self, course: str, size: int) -> list[Request]:
        everyone = [content.person(f"{course}-{name}") for name in content.students(size)]
        return [load.post("/roster", students=json.dumps(everyone))]


@functools.cache
def submission_form(student: str) -> tuple[bytes, list[bytes]]:
    """A student's submission as a form, and the marks in it."""
    files, marks = content.number_files(content.assignment(student))
    fields = {"user": student, "files": content.encode_tree(files)}
    return content.encode_form(fields), marks


@functools.cache
def resubmission_form(student: str) -> tuple[bytes, list[bytes]]:
    """The same with one notebook that differs from request to request, and the mark in it."""
    first, *others = content.assignment(student)
    changed, marks = content.number_files([first])
    fields = {"user": student, "files": content.encode_tree([*changed, *others])}
    return content.encode_form(fields), marks


@functools.cache
def _feedback_files(student: str) -> tuple[str, list[bytes]]:
    files, marks = content.number_files(content.feedback(student))
    return quote_plus(content.encode_tree(files)), marks


def feedback_form(student: str, time: str) -> tuple[bytes, list[bytes]]:
    """A student's feedback as a form, and the marks in it."""
    files, marks = _feedback_files(student)
    fields = content.encode_form({"user": TEACHER, "timestamp": time})
    return fields + b"&files=" + files.encode(), marks
