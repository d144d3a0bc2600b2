"""The course that formgrader works on, and its folder.

nbgrader's formgrader has one course, which its configuration names. Without one there, it is the
course that the user teaches, or the one that they chose out of several.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Collection
from pathlib import Path
from typing import Any

from nbgrader.api import Gradebook
from traitlets.config import Config

from ngshare.exchange.plugin.base import is_folder_name
from ngshare.exchange.plugin.course_choice import (
    ANY_COURSE,
    chosen_course,
    courses_in_role,
    remember_course,
)
from ngshare.exchange.server_extension.caller import Caller
from ngshare.exchange.service_error import ServiceError
from ngshare.protocol.overview import Overview


class FormgraderCourse:
    """The course of the formgrader of a Jupyter server.

    settings: the settings of the server's web application, after formgrader was loaded.
    """

    def __init__(self, settings: dict[str, Any], caller: Caller) -> None:
        self.name: str | None = None
        """The selected course; None before one was selected."""
        self.taught: list[str] = []
        """The courses that the user taught when the service was last asked."""
        self.overview: Overview | None = None
        self.is_left = False
        """True while formgrader works on a folder that the user opened, not on a course."""
        self._settings = settings
        self._caller = caller
        self._lock = asyncio.Lock()
        formgrader = formgrader_of(settings)
        configured = formgrader.config.CourseDirectory
        self.is_configured = configured.get("course_id", "") not in ANY_COURSE
        """True if nbgrader's configuration names the course, so that nothing is selected."""
        self._has_root = "root" in configured
        self._root = Path(formgrader.coursedir.root)

    async def select(self, wanted: str | None = None, *, ask: bool = False) -> bool:
        """Let formgrader work on a course; return False if the user must choose one first.

        wanted: the course that the user chooses now, and which is remembered.
        ask: ask the service for the user's courses even if a course was selected before.

        Raises ServiceError if the service does not tell the courses.
        """
        async with self._lock:
            if self.name and not ask and not wanted:
                self._open(self.name)
                return True
            overview = await asyncio.to_thread(self._caller.ask)
            self.overview = overview
            self.taught = courses_in_role(overview, "instructor")
            if wanted in self.taught:
                remember_course(wanted)
            course = self.taught[0] if len(self.taught) == 1 else chosen_course()
            if course not in self.taught:
                return False
            self._open(str(course))
            await asyncio.to_thread(create_gradebook, formgrader_of(self._settings).coursedir)
            return True

    def leave(self) -> None:
        """Forget the course: nbgrader's "Formgrader (local)" opens a folder of its own."""
        self.name = None
        self.is_left = True
        self._close_gradebook()

    def _open(self, course: str) -> None:
        """Let formgrader work in the folder of a course, as nbgrader does for a folder's path."""
        formgrader = formgrader_of(self._settings)
        if not is_folder_name(course):
            raise ServiceError(f"'{course}' cannot be the name of a folder; formgrader needs one")
        folder = self._root
        if not self._has_root:
            folder = course_folder(self._root, course, self.taught)
        if self.name == course and formgrader.coursedir.root == str(folder):
            return
        folder.mkdir(parents=True, exist_ok=True)
        formgrader.load_cwd_config = False
        formgrader.config = Config()
        formgrader.config_dir = str(folder)
        formgrader.initialize([], root=str(folder))
        _name_course(formgrader.coursedir, course)
        self._close_gradebook()
        self.name = course
        self.is_left = False

    def _close_gradebook(self) -> None:
        """Close the gradebook that formgrader keeps open; it opens the one that it needs."""
        gradebook = self._settings.get("nbgrader_gradebook")
        self._settings["nbgrader_gradebook"] = None
        if gradebook is not None:
            gradebook.close()


def formgrader_of(settings: dict[str, Any]) -> Any:
    """Return nbgrader's FormgradeExtension from the settings of a server's web application."""
    return settings["nbgrader_formgrader"]


def create_gradebook(coursedir: Any) -> None:
    """Create the gradebook of a course unless its file exists.

    nbgrader runs a program for it, which takes seconds: the server answers nothing meanwhile, if
    formgrader's first page does it.
    """
    path = coursedir.db_url.removeprefix("sqlite:///")
    if path != coursedir.db_url and not Path(path).exists():
        Gradebook(coursedir.db_url, coursedir.course_id).close()


def _name_course(coursedir: Any, course: str) -> None:
    """Set the course of nbgrader's CourseDirectory, where no configuration of its folder names one.

    nbgrader reads the files again for each request, which may set ``*``.
    """

    def keep(change: Any) -> None:
        if change["new"] in ANY_COURSE:
            coursedir.course_id = course

    coursedir.observe(keep, "course_id")
    if coursedir.course_id in ANY_COURSE:
        coursedir.course_id = course


def course_folder(root: Path, course: str, taught: Collection[str]) -> Path:
    """Return the folder of a course: the one of its name in ``root``, or ``root`` itself.

    It is ``root`` where an instructor has worked there before: its gradebook has the course, or it
    has assignments and the user teaches no other course.

    taught: the names of the courses that the user teaches.
    """
    folder = root / course
    if folder.is_dir():
        return folder
    has_assignments = (root / "source").is_dir() and len(taught) <= 1
    if has_assignments or course in _courses_in_gradebook(root / "gradebook.db"):
        return root
    return folder


def _courses_in_gradebook(path: Path) -> list[str]:
    """Return the names of the courses in a gradebook of nbgrader, which is left as it is."""
    if not path.is_file():
        return []
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db,
    ):
        return [str(name) for (name,) in db.execute("SELECT id FROM course")]
    return []
