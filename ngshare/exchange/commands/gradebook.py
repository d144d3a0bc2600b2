"""Add students to nbgrader's gradebook of a course folder, and remove them.

It goes through nbgrader's API, without its ``auth`` plugin: the commands that use this have
changed the roster of the service themselves.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ngshare.exchange.commands.base import CommandError
from ngshare.exchange.commands.nbgrader_config import NbgraderConfig
from ngshare.exchange.commands.roster_csv import RosterEntry

if TYPE_CHECKING:
    from nbgrader.api import Gradebook


@contextmanager
def open_gradebook(course: str, settings: NbgraderConfig) -> Iterator[Gradebook]:
    """Open the gradebook that nbgrader uses in this folder; it is created if there is none.

    Raises CommandError, also in place of errors inside the ``with`` statement.
    """
    try:
        from nbgrader.api import Gradebook
        from nbgrader.coursedir import CourseDirectory
    except ModuleNotFoundError as error:
        raise CommandError(
            f"the gradebook was not changed: there is no {error.name} here; "
            "pip install 'ngshare[exchange]', or say --no-gb"
        ) from error
    url = CourseDirectory(config=settings.config).db_url
    try:
        with warnings.catch_warnings(), _programs_of_this_python():
            warnings.simplefilter("ignore")  # SQLAlchemy's, of nbgrader's own code
            with Gradebook(url, course) as gradebook:
                yield gradebook
    except CommandError:
        raise
    except Exception as error:  # nbgrader's, SQLAlchemy's, those of database drivers
        shown = re.sub(r"//[^/@]*@", "//***@", url)
        reason = str(error).strip().partition("\n")[0]
        raise CommandError(
            f"the gradebook {shown} cannot be changed: {reason or type(error).__name__}; run this "
            "in the course folder, or say --no-gb"
        ) from error


@contextmanager
def _programs_of_this_python() -> Iterator[None]:
    """Let nbgrader find the program ``alembic``, which it runs to create a gradebook.

    It is beside this Python, where PATH may not lead: a login shell resets it.
    """
    before = os.environ.get("PATH")
    programs = str(Path(sys.executable).parent)
    os.environ["PATH"] = programs if before is None else f"{programs}{os.pathsep}{before}"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PATH"]
        else:
            os.environ["PATH"] = before


def add_to_gradebook(
    course: str, settings: NbgraderConfig, students: Iterable[RosterEntry]
) -> None:
    """Add students to the gradebook, or change their names there. Raises CommandError.

    An empty name or address leaves the gradebook's as it is.
    """
    with open_gradebook(course, settings) as gradebook:
        for student in students:
            values = {
                "first_name": student.first_name,
                "last_name": student.last_name,
                "email": student.email,
            }
            given = {name: value for name, value in values.items() if value}
            gradebook.update_or_create_student(student.username, **given)


def remove_from_gradebook(
    course: str, settings: NbgraderConfig, usernames: Iterable[str], *, force: bool
) -> list[str]:
    """Remove students from the gradebook; return those who have grades there, and stay.

    force: remove those too, with their grades. Raises CommandError.
    """
    kept = []
    with open_gradebook(course, settings) as gradebook:
        students = {student.id: student for student in gradebook.students}
        for username in usernames:
            if username not in students:
                continue
            if students[username].submissions and not force:
                kept.append(username)
            else:
                gradebook.remove_student(username)
    return kept
