"""The extension in a real Jupyter server, whose policy is the one of a user's server on a Hub."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from ngshare.exchange.server_extension.menus import FOR_INSTRUCTORS
from tests.exchange.running_service import RunningService
from tests.hub.jupyter_servers import CONFIGURATION_FOLDER, EXTENSION, NBGRADER_CONFIG, ROOT
from tests.hub.running import free_ports, wait_for

TOKEN = "token-of-the-test"
NO_FRAMES = "frame-ancestors 'none'; report-uri /csp"


class JupyterServer:
    """A Jupyter server of a user, without a Hub but with a Hub's policy on frames."""

    def __init__(self, folder: Path, service: str, user: str) -> None:
        [port] = free_ports(1)
        self.url = f"http://127.0.0.1:{port}/"
        self.home = folder / user
        config = folder / f"{user}-config"
        for each in (self.home, config / CONFIGURATION_FOLDER):
            each.mkdir(parents=True)
        (config / "nbgrader_config.py").write_text(NBGRADER_CONFIG)
        shutil.copy(EXTENSION, config / CONFIGURATION_FOLDER)
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"token {TOKEN}"
        self.log = folder / f"{user}.log"
        headers = {"Content-Security-Policy": NO_FRAMES}
        command = [
            *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
            *(f"--ServerApp.port={port}", "--ServerApp.port_retries=0"),
            f"--ServerApp.tornado_settings={ {'headers': headers}!r}",
            f"--IdentityProvider.token={TOKEN}",
        ]
        environment = {
            **os.environ,
            "HOME": str(self.home),
            "JUPYTER_CONFIG_PATH": str(config),
            "JUPYTERHUB_USER": user,
            "NGSHARE_URL": service,
            "PYTHONPATH": str(ROOT),
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.home,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send a request as the user's browser does."""
        return self.session.request(method, self.url + path, timeout=60, **options)

    def get(self, path: str) -> requests.Response:
        """Return a page, or what it redirects to."""
        return self.request("GET", path)

    def wait(self) -> None:
        """Wait until the server answers."""

        def answers() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            try:
                return self.get("api/status").ok
            except requests.ConnectionError:
                return False

        wait_for(answers, "the Jupyter server answers", 300)

    def close(self) -> None:
        """End the server."""
        self.process.kill()
        self.process.wait()
        self.session.close()

    def hidden(self) -> set[str]:
        """Return those of nbgrader's plugins for instructors that JupyterLab's page disables."""
        found = re.search(r'"disabledExtensions": (\[[^]]*\])', self.get("lab").text)
        assert found
        return {plugin for plugin in FOR_INSTRUCTORS if f'"{plugin}"' in found[1]}


@pytest.fixture
def database_url(migrated: Path, tmp_path: Path) -> str:
    """The URL of an SQLite database; the kind of the service's database does not matter here."""
    return f"sqlite:///{shutil.copy(migrated, tmp_path / 'ngshare.db')}"


@pytest.fixture
def servers(running: RunningService, tmp_path: Path) -> Iterator[dict[str, JupyterServer]]:
    """The servers of an instructor and of a student."""
    servers = {user: JupyterServer(tmp_path, running.url, user) for user in ("ada", "sam")}
    try:
        for server in servers.values():
            server.wait()
        yield servers
    finally:
        for server in servers.values():
            server.close()


def test_nbgraders_tabs(running: RunningService, servers: dict[str, JupyterServer]) -> None:
    ada, sam = servers["ada"], servers["sam"]

    # Without a login the page of the courses tells nothing, and takes no choice.
    for method in ("GET", "POST"):
        page = requests.request(method, f"{ada.url}ngshare/course", allow_redirects=False)
        assert page.status_code in (302, 403)
    assert ada.get("ngshare/course").ok

    # Before there is a course, the tabs say so.
    answer = sam.get("courses").json()
    assert answer["success"] is False
    assert "The exchange knows you as 'sam': ask your instructor" in answer["value"]
    assert "You do not teach a course yet" in ada.get("formgrader").text
    assert ada.get("formgrader/api/students").status_code == 409

    # The only course is formgrader's, in a folder of its own; only its pages may be framed.
    running.create_course("physics", "sam")
    page = ada.get("formgrader")
    assert "Course: <strong>physics</strong>" in page.text
    assert "Change course" not in page.text
    policy = page.headers["Content-Security-Policy"]
    assert policy == "frame-ancestors 'self'; report-uri /csp"
    assert ada.get("lab").headers["Content-Security-Policy"] == NO_FRAMES
    assert (ada.home / "physics" / "gradebook.db").exists()
    assert (ada.hidden(), sam.hidden()) == (set(), set(FOR_INSTRUCTORS))
    assert sam.get("courses").json() == {"success": True, "value": ["physics"]}

    # Manage Students shows and changes the roster; a refusal changes nothing.
    students = ada.get("formgrader/api/students").json()
    assert [student["id"] for student in students] == ["sam"]
    pat = {"first_name": "Pat", "last_name": None, "email": None}
    assert ada.request("PUT", "formgrader/api/student/pat", json=pat).ok
    assert {"username": "pat", "first_name": "Pat"}.items() <= roster(running)["pat"].items()
    assert ada.request("PUT", "formgrader/api/student/sam", json={}).ok  # who stays as they are
    refused = ada.request("PUT", "formgrader/api/student/ada", json={})
    assert (refused.status_code, set(refused.json())) == (502, {"message"})
    known = {student["id"] for student in ada.get("formgrader/api/students").json()}
    assert known == {"pat", "sam"}

    # Of two courses one is chosen: by the page, and with the Course List of the same site.
    running.create_course("maths")
    page = ada.get("formgrader")
    assert page.url == ada.url + "ngshare/course"
    listed = ada.get("formgraders").json()["value"]
    assert [course["course_id"] for course in listed] == ["maths", "physics"]
    path = listed[0]["url"].removeprefix(ada.url)
    assert ada.get(path).url == ada.url + "ngshare/course"  # as from another site
    ada.session.headers["Sec-Fetch-Site"] = "same-origin"
    page = ada.get(path)
    assert "Course: <strong>maths</strong>" in page.text
    assert "Change course" in page.text
    chosen = ada.request("POST", "ngshare/course", data={"course": "physics"})
    assert "Course: <strong>physics</strong>" in chosen.text
    assert "Course: <strong>physics</strong>" in ada.get("formgrader").text

    # Failures are explained.
    result = sam.request(
        "POST", "assignments/fetch", json={"course_id": "physics", "assignment_id": "ps1"}
    ).json()
    assert result["success"] is False
    assert result["value"] == "Assignment not found"


def roster(running: RunningService) -> dict[str, dict[str, str | None]]:
    """Return the students of the course, by name."""
    students = running.call("GET", "students", "physics")["students"]
    return {student["username"]: student for student in students}
