"""Choose the course that an nbgrader command, or formgrader, works on.

nbgrader takes it from ``CourseDirectory.course_id``, that is from the option ``--course`` or from
``nbgrader_config.py``. Without it, or with ``*``, the service is asked for the caller's courses.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_core.paths import jupyter_data_dir

from ngshare.exchange.service_error import ServiceError

if TYPE_CHECKING:
    from ngshare.exchange.client import ExchangeClient
    from ngshare.protocol.overview import Overview

ANY_COURSE = ("", "*")
"""Values of ``CourseDirectory.course_id`` that name no course."""


def choose_course(
    client: ExchangeClient, course_id: str, *, role: str, chosen: str | None = None
) -> str:
    """Return the course to work on; only without a ``course_id`` is the service asked.

    role: "instructor" for operations on a course that the caller teaches, "student" for the
        others; somebody who takes no course works on those that they teach.
    chosen: the course that the user selected in formgrader; it counts if it is one of several.

    Raises ServiceError, with the courses to choose from, unless there is exactly one.
    """
    if course_id not in ANY_COURSE:
        return course_id
    overview = client.overview()
    courses = courses_in_role(overview, role)
    if len(courses) == 1:
        return courses[0]
    if chosen in courses:
        return chosen
    if not courses:
        raise ServiceError(describe_no_course(overview.user, role))
    verb = "teach" if role == "instructor" else "are in"
    raise ServiceError(
        f"You {verb} several courses: {', '.join(courses)}. Select one with --course NAME, or with "
        "c.CourseDirectory.course_id = 'NAME' in nbgrader_config.py."
    )


def courses_in_role(overview: Overview, role: str) -> list[str]:
    """Return the sorted names of the caller's courses in a role, as ``choose_course`` does."""
    taught = sorted(course.name for course in overview.courses if course.role == "instructor")
    if role == "instructor":
        return taught
    return sorted(course.name for course in overview.courses if course.role == "student") or taught


def explain_error(client: ExchangeClient, course: str, role: str, error: ServiceError) -> str:
    """Return the sentence about a failed request; of an unknown course, with those there are."""
    if error.status != 404 or not error.message.startswith("Course not found"):
        return error.message
    with contextlib.suppress(ServiceError):
        courses = ", ".join(courses_in_role(client.overview(), role)) or "none"
        verb = "teach" if role == "instructor" else "are in"
        return f"Course not found: {course}. The courses that you {verb}: {courses}."
    return f"Course not found: {course}"


def describe_no_course(user: str, role: str) -> str:
    """Return the sentence for a user without a course in a role, with what to do.

    user: the user's name as the service knows it.
    """
    if role == "instructor":
        return (
            f"You are not an instructor of any course. The exchange knows you as '{user}': ask an "
            "administrator of ngshare to create your course, or to add this name to it."
        )
    return (
        f"You are in no course yet. The exchange knows you as '{user}': ask your instructor to add "
        "this name to the course."
    )


def chosen_course() -> str | None:
    """Return the course that the user selected in formgrader, or None."""
    try:
        value = json.loads(_choice_file().read_bytes())
    except (OSError, ValueError):
        return None
    course = value.get("course") if isinstance(value, dict) else None
    return course if isinstance(course, str) and course else None


def remember_course(name: str | None) -> None:
    """Store the course that the user selected in formgrader; None removes the selection."""
    path = _choice_file()
    if name is None:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".ngshare-", dir=path.parent) as folder:
        new = Path(folder, path.name)
        new.write_text(json.dumps({"course": name}))
        new.replace(path)  # a reader sees the former selection or this one


def _choice_file() -> Path:
    return Path(jupyter_data_dir()) / "ngshare_course.json"
