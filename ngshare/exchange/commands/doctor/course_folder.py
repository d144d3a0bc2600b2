"""Checks of the folders in which an instructor works on courses."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ngshare.exchange.commands.doctor.findings import Finding, note, ok, wrong
from ngshare.exchange.commands.nbgrader_config import NbgraderConfig

SETTING = "c.CourseDirectory.root = '...' in nbgrader_config.py"


def check_course_folders(settings: NbgraderConfig, taught: Sequence[str]) -> Iterator[Finding]:
    """Yield the findings about the folders of the courses that the user teaches.

    They are those of formgrader: the configured one for all courses, else a folder for each, below
    the folder in which the user's server starts.
    """
    start = Path(os.environ.get("JUPYTER_SERVER_ROOT") or Path.home()).expanduser().absolute()
    configured = settings.get("CourseDirectory", "root") is not None
    folders = {course: _course_folder(settings, start, course, taught) for course in taught}
    for course, folder in folders.items():
        yield _check_folder(settings, start, course, folder, configured=configured)
    here = Path.cwd()
    if not configured and here not in folders.values():
        yield note(
            "course folder",
            f"nbgrader's commands work on the folder in which you run them, which is now {here}: "
            f"first cd {next(iter(folders.values()))}",
        )


def _course_folder(
    settings: NbgraderConfig, start: Path, course: str, taught: Sequence[str]
) -> Path:
    if settings.get("CourseDirectory", "root") is not None:
        return settings.course_root
    # It imports nbgrader, which takes seconds.
    from ngshare.exchange.server_extension.formgrader_course import course_folder

    return course_folder(start, course, taught)


def _check_folder(
    settings: NbgraderConfig, start: Path, course: str, folder: Path, *, configured: bool
) -> Finding:
    """Return the finding about the folder of a course.

    start: the folder in which the user's server starts.
    """
    source = settings.get("CourseDirectory", "source_directory") or "source"
    if not folder.is_dir() and configured:
        return wrong("course folder", f"there is no {folder}: create it, or correct {SETTING}")
    if not folder.resolve().is_relative_to(start.resolve()):
        return wrong(
            "course folder",
            f"{folder} is not below {start}, which JupyterLab shows, and formgrader works only "
            f"there: move it, and correct {SETTING}",
        )
    if not folder.is_dir():
        return ok("course folder", f"of {course}: {folder}, which formgrader will create")
    if not os.access(folder, os.W_OK | os.X_OK):
        return wrong("course folder", f"you may not write in {folder}: name another with {SETTING}")
    if not (folder / source).is_dir():
        other = next((found.parent for found in sorted(folder.glob(f"*/{source}/"))), None)
        if other is not None:
            return wrong(
                "course folder",
                f"of {course}: {folder} has no folder {source}/, and {other} has: move that to "
                f"{folder / source}, or name the course folder with {SETTING}",
            )
        return ok("course folder", f"of {course}: {folder}, without an assignment yet")
    return ok("course folder", f"of {course}: {folder}, with {source}/")
