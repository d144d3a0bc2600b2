"""nbgrader's commands with this distribution's plugin and with the older one, on one service."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import content
from benchmarks.content import ADMIN, COURSE, TEACHER
from benchmarks.hub import OursOnHub
from benchmarks.sites import DONE

OLD = Path(
    os.environ.get("NGSHARE_NBGRADER_VENV") or Path.home() / ".cache/ngshare/nbgrader",
    "bin/nbgrader",
)
"""nbgrader of the environment with the older plugin, which ``.ci/get-nbgrader`` makes."""

CONFIGURATION = {
    "ours": """\
from ngshare.exchange import configure_exchange
c = get_config()
configure_exchange(c, {url!r})
""",
    "older": """\
import ngshare_exchange
c = get_config()
ngshare_exchange.configureExchange(c, {url!r})
c.CourseDirectory.course_id = {course!r}
""",
}
"""nbgrader_config.py with each plugin, as docs/nbgrader.md shows it."""

NOTEBOOK = 3_000
"""The size of the one notebook of each submission in long lists, in bytes."""


@dataclass(frozen=True)
class Command:
    """One run of a command."""

    requests: int
    seconds: float
    """From the start of the process to its end."""


def programs() -> dict[str, Path]:
    """Return nbgrader of each plugin, as far as it is installed."""
    ours = Path(sys.executable).with_name("nbgrader")
    return {name: path for name, path in (("ours", ours), ("older", OLD)) if path.exists()}


def add_courses(site: OursOnHub, courses: int, assignments: int, submissions: int) -> None:
    """Let the first student be in so many more courses, and submit to each of their assignments."""
    student = site.students[0]
    files = content.encode_tree([("ps.ipynb", content.notebook("list", NOTEBOOK))])
    names = [f"list{number}" for number in range(courses)]
    paths = [f"{name}/ps{number}" for name in names for number in range(assignments)]
    for name in names:
        site.ask(site.post(f"course/{name}", ADMIN, instructors=json.dumps([TEACHER])))
        everyone = json.dumps([content.person(student)])
        site.ask(site.post(f"students/{name}", TEACHER, students=everyone))
    site.run([site.post(f"assignment/{path}", TEACHER, files=files) for path in paths])
    for _ in range(submissions):
        site.run([site.post(f"submission/{path}", student, files=files) for path in paths])


def start(site: OursOnHub, program: Path, plugin: str) -> dict[str, Any]:
    """Run ``nbgrader --version``, whose time is part of every other command's."""
    home = _home(site, plugin, "start", COURSE)
    command, said = _run(site, program, home, TEACHER, "--version")
    return {**asdict(command), "shown": len(said.splitlines())}


def list_assignments(site: OursOnHub, program: Path, plugin: str) -> dict[str, Any]:
    """Run ``nbgrader list`` as the first student, for all of their courses."""
    home = _home(site, plugin, "list", "*")
    command, said = _run(site, program, home, site.students[0], "list")
    shown = len(re.findall(r"\bps\d+\b", said))
    return {**asdict(command), "shown": shown}


def collect(site: OursOnHub, program: Path, plugin: str) -> dict[str, Any]:
    """Run ``nbgrader collect`` as the instructor, who has collected nothing yet."""
    home = _home(site, plugin, "collect", COURSE)
    arguments = ("collect", DONE, "--course", COURSE)
    command, _ = _run(site, program, home, TEACHER, *arguments)
    return {**asdict(command), "shown": len(list(home.glob(f"submitted/*/{DONE}")))}


def _home(site: OursOnHub, plugin: str, name: str, course: str) -> Path:
    home = site.folder / f"{plugin}-{name}"
    shutil.rmtree(home, ignore_errors=True)
    (home / ".jupyter").mkdir(parents=True)
    url = f"http://127.0.0.1:{site.port}{site.prefix}".rstrip("/")
    text = CONFIGURATION[plugin].format(url=url, course=course)
    (home / ".jupyter" / "nbgrader_config.py").write_text(text)
    return home


def _run(
    site: OursOnHub, program: Path, home: Path, user: str, *arguments: str
) -> tuple[Command, str]:
    """Run a command of nbgrader in this folder. Raises RuntimeError if it fails."""
    environment = {
        **os.environ,
        "HOME": str(home),
        "JUPYTER_CONFIG_DIR": str(home / ".jupyter"),
        "JUPYTERHUB_API_TOKEN": site.tokens[user],
        "JUPYTERHUB_API_URL": site.hub.api_url,
        "JUPYTERHUB_USER": user,
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": "",
        "PYTHONWARNINGS": "ignore",
    }

    before = requests_of(site)
    begun = time.monotonic()
    done = subprocess.run(
        [str(program), *arguments],
        cwd=home,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - begun
    if done.returncode:
        raise RuntimeError(f"{program} {' '.join(arguments)}: {done.stdout[-3000:]}")
    return Command(requests_of(site) - before, seconds), done.stdout


def requests_of(site: OursOnHub) -> int:
    """Return how many requests the service has answered, without those about itself."""
    url = f"http://127.0.0.1:{site.port}{site.prefix}metrics"
    asked = urllib.request.Request(url, headers={"Authorization": f"token {site.tokens[ADMIN]}"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked) as reply:
        text = reply.read().decode()
    counted = re.findall(r'^ngshare_requests_total\{.*?route="(.*?)".*\} (\S+)$', text, re.M)
    return sum(int(float(value)) for route, value in counted if route not in ITSELF)


ITSELF = {"metrics", "healthz", "readyz", "start"}
"""Routes that no plugin requests; the Hub requests the start page now and then."""
