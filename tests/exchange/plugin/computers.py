"""Users' computers: nbgrader's commands run in this process, with a home and an exchange.

The same commands run against nbgrader's own exchange, a folder, and against ngshare, so that a test
can compare what the user sees and gets.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import shutil
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from jupyter_core.application import NoStart
from nbgrader.apps import NbGrader
from nbgrader.apps.nbgraderapp import NbGraderApp
from nbgrader.auth import Authenticator
from nbgrader.coursedir import CourseDirectory
from nbgrader.exchange import ExchangeFactory
from nbgrader.exchange.default import submit as folder_submit
from nbgrader.utils import notebook_hash

from ngshare.exchange.plugin import base
from tests.exchange.running_service import RunningService

Files = dict[str, bytes]

STUDENT = "sam"
COURSE = "abc101"
NOTEBOOK = b'{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'

OWN_FILES = ("timestamp.txt", "submission_secret.txt")
"""Files that nbgrader adds to a submission."""

_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6} UTC")


@dataclass
class Outcome:
    """What a command did: its exit code, the lines of its log, its standard output."""

    code: int
    log: list[str]
    output: str = ""

    @property
    def messages(self) -> list[str]:
        """The messages, without those about where something comes from and goes to."""
        messages = [line.partition(" ")[2] for line in self.log]
        return [m for m in messages if not m.startswith(("Source: ", "Destination: "))]


class Backend(Protocol):
    """An exchange, as the instructors and administrators of a test see it."""

    def config(self) -> str: ...
    def create_course(self, course: str, *students: str) -> None: ...
    def release(self, course: str, assignment: str, files: Files) -> None: ...
    def submissions(self, course: str, assignment: str, student: str) -> list[Files]: ...
    def give_feedback(self, course: str, assignment: str, student: str, files: Files) -> None: ...
    def environment(self, user: str) -> dict[str, str]: ...
    def normalize(self, text: str) -> str: ...


class FolderBackend:
    """nbgrader's own exchange: a folder that all users write to."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()

    def config(self) -> str:
        return f"c.Exchange.root = {str(self.root)!r}\n"

    def environment(self, user: str) -> dict[str, str]:
        return {}

    def create_course(self, course: str, *students: str) -> None:
        for name in ("outbound", "inbound", "feedback"):
            (self.root / course / name).mkdir(parents=True)

    def release(self, course: str, assignment: str, files: Files) -> None:
        write_files(self.root / course / "outbound" / assignment, files)

    def submissions(self, course: str, assignment: str, student: str) -> list[Files]:
        return [
            {path: data for path, data in read_files(folder).items() if path not in OWN_FILES}
            for folder in self._folders(course, assignment, student)
        ]

    def give_feedback(self, course: str, assignment: str, student: str, files: Files) -> None:
        latest = self._folders(course, assignment, student)[-1]
        secret = (latest / "submission_secret.txt").read_text()
        for path, data in files.items():
            digest = notebook_hash(secret=secret, notebook_id=path.removesuffix(".html"))
            (self.root / course / "feedback" / f"{digest}.html").write_bytes(data)

    def normalize(self, text: str) -> str:
        return text.replace(str(self.root), "EXCHANGE")

    def _folders(self, course: str, assignment: str, student: str) -> list[Path]:
        folders = sorted((self.root / course / "inbound").iterdir())
        return [folder for folder in folders if folder.name.startswith(f"{student}+{assignment}+")]


class ServiceBackend:
    """ngshare, through its plugin."""

    def __init__(self, service: RunningService) -> None:
        self.service = service

    def config(self) -> str:
        return (
            "from ngshare.exchange import configure_exchange\n"
            f"configure_exchange(c, {self.service.url!r})\n"
        )

    def environment(self, user: str) -> dict[str, str]:
        return {"JUPYTERHUB_USER": user}

    def create_course(self, course: str, *students: str) -> None:
        self.service.create_course(course, *students)

    def release(self, course: str, assignment: str, files: Files) -> None:
        self.service.release(course, assignment, files)

    def submissions(self, course: str, assignment: str, student: str) -> list[Files]:
        return self.service.submissions(course, assignment, student)

    def give_feedback(self, course: str, assignment: str, student: str, files: Files) -> None:
        self.service.give_feedback(course, assignment, student, files)

    def normalize(self, text: str) -> str:
        return text.replace(self.service.url, "EXCHANGE")


@dataclass
class Computer:
    """A user's home on one computer, and the folder ``work`` in which commands run."""

    backend: Backend
    home: Path
    user: str

    def __post_init__(self) -> None:
        self.work = self.home / "work"
        self.work.mkdir(parents=True)
        self.cache = self.home / "data" / "nbgrader_cache"
        self.configure()

    def configure(self, *lines: str) -> None:
        """Write nbgrader's configuration, with these lines at its end."""
        text = "c = get_config()\n" + self.backend.config() + "\n".join(lines)
        (self.work / "nbgrader_config.py").write_text(text)

    @property
    def environment(self) -> dict[str, str]:
        """The variables of the user's commands."""
        return {
            "HOME": str(self.home),
            "PATH": os.environ["PATH"],
            "JUPYTER_DATA_DIR": str(self.home / "data"),
            "JUPYTER_CONFIG_DIR": str(self.home / "config"),
            "USER": self.user,
            **self.backend.environment(self.user),
        }

    def run(self, *arguments: str) -> Outcome:
        """Run a command of nbgrader in this process."""
        with self.active():
            outcome = _run_nbgrader(list(arguments))
        outcome.log = [self._normalize(line) for line in outcome.log]
        return outcome

    def succeed(self, *arguments: str) -> Outcome:
        """Run a command of nbgrader that must succeed."""
        outcome = self.run(*arguments)
        assert outcome.code == 0, outcome
        return outcome

    def fail(self, *arguments: str) -> str:
        """Run a command of nbgrader that must fail, and return its sentence about the reason."""
        outcome = self.run(*arguments)
        assert outcome.code == 1, outcome
        reasons = [line for line in outcome.log if line.startswith("CRITICAL ")]
        assert len(reasons) == 1, outcome
        return reasons[0].removeprefix("CRITICAL ")

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Make this process look like one of the user's, in the folder ``work``."""
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # those of nbgrader and its libraries
            patch.chdir(self.work)
            patch.setattr(os, "environ", self.environment)
            patch.setattr(sys, "path", sys.path[:])
            patch.setattr(folder_submit, "get_username", lambda: self.user)
            patch.setattr(base, "COMMAND_RETRY_SECONDS", 0.1)
            yield

    def list_in_server(self, *, cached: bool = False, course: str = "") -> list[dict[str, Any]]:
        """Return what the server extension of nbgrader's Assignment List gets."""
        with self.active():
            app = NbGrader()
            app.load_config_file()
            config = app.config
            config.ExchangeList.cached = cached
            config.CourseDirectory.course_id = course
            lister = ExchangeFactory(config=config).List(
                coursedir=CourseDirectory(config=config),
                authenticator=Authenticator(config=config),
                config=config,
            )
            entries: list[dict[str, Any]] = lister.start()
            return entries

    def submit_in_server(self, course: str, assignment: str) -> None:
        """Submit as the server extension of nbgrader's Assignment List does."""
        with self.active():
            app = NbGrader()
            app.load_config_file()
            config = app.config
            config.CourseDirectory.course_id = course
            config.CourseDirectory.assignment_id = assignment
            ExchangeFactory(config=config).Submit(
                coursedir=CourseDirectory(config=config),
                authenticator=Authenticator(config=config),
                config=config,
            ).start()

    def raw(self, *arguments: str) -> str:
        """Run a command of nbgrader, and return its log with times and folders as they are."""
        with self.active():
            return "\n".join(_run_nbgrader(list(arguments)).log)

    def relative(self, value: Any) -> Any:
        """Return a JSON value with times and folders replaced, and paths made absolute."""
        if isinstance(value, dict):
            return {key: self.relative(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.relative(item) for item in value]
        if isinstance(value, str):
            path = re.sub(r"^\./", f"{self.work}/", value)
            return self._normalize(path)
        return value

    def files(self, folder: str = "") -> Files:
        """Return the files below a folder of ``work``, without nbgrader's configuration."""
        files = read_files(self.work / folder)
        files.pop("nbgrader_config.py", None)
        return {_TIME.sub("TIME", path): data for path, data in files.items()}

    def write(self, folder: str, files: Files) -> None:
        """Write files into a folder of ``work``."""
        write_files(self.work / folder, files)

    def cached(self) -> dict[str, Files]:
        """Return the files of each copy in nbgrader's cache, by the folder of the copy."""
        folders = sorted(self.cache.glob("[!.]*/*")) if self.cache.exists() else []
        return {_TIME.sub("TIME", folder.name): read_files(folder) for folder in folders}

    def lose(self) -> None:
        """Lose the home, as on a new computer."""
        config = (self.work / "nbgrader_config.py").read_text()
        shutil.rmtree(self.home)
        self.work.mkdir(parents=True)
        (self.work / "nbgrader_config.py").write_text(config)

    def _normalize(self, line: str) -> str:
        line = self.backend.normalize(line).replace(str(self.work), "WORK")
        return _TIME.sub("TIME", line.replace(str(self.home), "HOME"))


class _Log(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname} {record.getMessage()}")


def _run_nbgrader(arguments: list[str]) -> Outcome:
    app = NbGraderApp.instance()
    log = _Log()
    code: Any = 0
    with contextlib.redirect_stdout(io.StringIO()) as output:
        try:
            app.initialize(arguments)
            app.init_logging(lambda: log, [], color=False, subapps=True)
            app.start()
        except NoStart:  # the command has run
            pass
        except SystemExit as exit_:
            code = exit_.code
        finally:
            app.reset()
            NbGraderApp.clear_instance()
    return Outcome(code, log.lines, output.getvalue())


def write_files(folder: Path, files: Files) -> None:
    """Write files below a folder."""
    for path, data in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def read_files(folder: Path) -> Files:
    """Return the files below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


class Site:
    """Users with computers, and the exchange that they share."""

    def __init__(self, backend: Backend, folder: Path) -> None:
        self.backend = backend
        self.folder = folder

    @property
    def service(self) -> RunningService:
        """The service, if this site has one."""
        assert isinstance(self.backend, ServiceBackend)
        return self.backend.service

    def computer(self, user: str = STUDENT) -> Computer:
        """Return a new computer of a user."""
        self.folder.mkdir(exist_ok=True)
        return Computer(self.backend, self.folder / str(len(list(self.folder.iterdir()))), user)

    def student(
        self, *assignments: str, course: str = COURSE, files: Files | None = None
    ) -> Computer:
        """Create a course with released assignments, and return a computer of its student."""
        self.backend.create_course(course, STUDENT)
        for assignment in assignments:
            self.backend.release(course, assignment, files or {"p1.ipynb": NOTEBOOK})
        return self.computer()
