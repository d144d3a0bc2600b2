"""Checks of the folder in which an instructor works on a course."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ngshare.exchange.commands.doctor.findings import Finding, ok, wrong
from ngshare.exchange.commands.nbgrader_config import NbgraderConfig


def check_course_folder(settings: NbgraderConfig) -> Iterator[Finding]:
    """Yield the findings about the course folder; nbgrader's default is the current folder."""
    root = settings.course_root
    source = root / (settings.get("CourseDirectory", "source_directory") or "source")
    mend = "c.CourseDirectory.root = '...' in nbgrader_config.py"
    if not root.is_dir():
        yield wrong("course folder", f"there is no {root}: create it, or correct {mend}")
        return
    if not os.access(root, os.W_OK | os.X_OK):
        yield wrong("course folder", f"you may not write in {root}: name another with {mend}")
        return
    if not source.is_dir():
        yield wrong(
            "course folder",
            f"{root} has no folder {source.name}/, so nbgrader finds no assignment: put each into "
            f"{source}/NAME/, or name the course folder with {mend}",
        )
        return
    opened = os.environ.get("JUPYTER_SERVER_ROOT")
    if opened and not root.resolve().is_relative_to(Path(opened).expanduser().resolve()):
        yield wrong(
            "course folder",
            f"{root} is not below {opened}, which JupyterLab shows, and formgrader works only "
            f"there: move it, or name another with {mend}",
        )
        return
    yield ok("course folder", f"{root}, with {source.name}/")
