"""Checks of the programs: versions, and whether a terminal finds those of this environment."""

from __future__ import annotations

import re
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ngshare import __version__
from ngshare.exchange.commands.doctor.findings import Finding, ok, wrong

NBGRADER_RANGE = ((0, 9, 5), (0, 10))
"""The oldest nbgrader that is supported, and the first that is not any more; as in setup.py."""

PROGRAMS = ("nbgrader", "ngshare", "ngshare-course-management")


def check_installation() -> Iterator[Finding]:
    """Yield the findings about versions and programs."""
    yield _check_nbgrader()
    yield _check_terminal()


def _check_nbgrader() -> Finding:
    try:
        installed = version("nbgrader")
    except PackageNotFoundError:
        return wrong(
            "nbgrader", f"it is not installed for {sys.executable}: pip install 'ngshare[exchange]'"
        )
    oldest, too_new = NBGRADER_RANGE
    numbers = tuple(int(number) for number in re.findall(r"\d+", installed)[:3])
    if not oldest <= numbers < too_new:
        return wrong(
            "nbgrader",
            f"version {installed} is not supported by ngshare {__version__}: "
            "pip install 'ngshare[exchange]' installs one that is",
        )
    return ok("nbgrader", f"{installed}, with ngshare {__version__}")


def program_folders() -> list[Path]:
    """Return the folders into which pip puts the programs of this Python."""
    schemes = (sysconfig.get_default_scheme(), sysconfig.get_preferred_scheme("user"))
    return [Path(sysconfig.get_path("scripts", scheme)) for scheme in schemes]


def _check_terminal() -> Finding:
    """Check that a terminal finds the programs, and those of this Python."""
    folders = program_folders()
    for name in PROGRAMS:
        folder = next((folder for folder in folders if (folder / name).exists()), None)
        if folder is None:
            return wrong(
                "terminal",
                f"there is no {folders[0] / name}, which goes with the older plugin when that is "
                f"uninstalled: {sys.executable} -m pip install --force-reinstall --no-deps ngshare",
            )
        found = shutil.which(name)
        if found is None:
            return wrong(
                "terminal",
                f"{name} is not found, since a login shell resets PATH: now, export "
                f"PATH={folder}:$PATH; for everybody, put that line into "
                "/etc/profile.d/ngshare.sh of the image",
            )
        if Path(found).resolve() != (folder / name).resolve():
            return wrong(
                "terminal",
                f"{name} is {found}, not that of {folder}: export PATH={folder}:$PATH, or run "
                "this with the Python of the other",
            )
    return ok("terminal", f"finds the programs of {sys.executable}")
