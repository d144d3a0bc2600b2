"""What was measured, where and when."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.sites import ROOT


def facts(folder: Path) -> dict[str, Any]:
    """The date, the machine, the programs and the commit. ``folder`` is where servers write."""
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "tornado": version("tornado"),
        "sqlalchemy": version("sqlalchemy"),
        "filesystem": _filesystem(folder),
        "load": os.getloadavg()[0],
    }


def _commit() -> str:
    commit = _run("git", "-C", str(ROOT), "rev-parse", "--short=10", "HEAD")
    # What the results themselves are written to does not count as a change.
    changed = _run("git", "-C", str(ROOT), "status", "--porcelain", "--", "ngshare", "benchmarks")
    return f"{commit} with changes" if changed else commit


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _filesystem(folder: Path) -> str:
    return _run("findmnt", "--noheadings", "--output", "FSTYPE", "--target", str(folder))


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()
