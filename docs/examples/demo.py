"""Run one class over HTTP on a temporary ngshare, for ``make demo``.

Create a course, release an assignment, let thirty students fetch it and submit, collect, and give
feedback. Every downloaded byte is compared with the byte that was uploaded.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import quote, urlencode

STUDENTS = 30


class Exchange:
    """A client of the service that sends requests as the current nbgrader plugin does."""

    def __init__(self, host: str, port: int) -> None:
        self.connection = http.client.HTTPConnection(host, port, timeout=30)

    def request(self, method: str, path: str, user: str, **fields: str) -> dict:
        """Send a request as this user; return the reply. Exit when it is a failure."""
        form = urlencode({"user": user, **fields})
        url = "/api/" + "/".join(quote(part, safe="") for part in path.split("/"))
        if method == "POST":
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            self.connection.request(method, url, form, kind)
        else:
            self.connection.request(method, f"{url}?{form}")
        reply = json.loads(self.connection.getresponse().read())
        if not reply["success"]:
            sys.exit(f"{method} {path} as {user}: {reply['message']}")
        return reply


def encode(files: dict[str, bytes]) -> str:
    """Return a tree of files as the field ``files`` of a request."""
    return json.dumps(
        [
            {"path": path, "content": base64.b64encode(content).decode()}
            for path, content in files.items()
        ]
    )


def compare(reply: dict, files: dict[str, bytes]) -> int:
    """Return how many bytes the tree in a reply has. Exit unless it equals the uploaded files."""
    received = {file["path"]: base64.b64decode(file["content"]) for file in reply["files"]}
    if received != files:
        sys.exit("Bytes came back that are not those that were sent.")
    return sum(len(content) for content in files.values())


def show(done: int, total: int, what: str) -> None:
    """Show a progress bar, if the output is a terminal."""
    if sys.stdout.isatty():
        filled = 30 * done // total
        end = "\n" if done == total else ""
        print(f"\r{what:<24} [{'#' * filled:<30}] {done}/{total}", end=end, flush=True)


def start(folder: Path) -> tuple[subprocess.Popen[str], str, int]:
    """Start the service on a free port; return its process, its host and its port."""
    log = folder / "ngshare.log"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JUPYTERHUB_")}
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "ngshare", "--vngshare", "--port", "0"),
                *("--admins", "admin"),
                *("--database", f"sqlite:///{folder}/ngshare.db", "--storage", f"{folder}/files"),
            ],
            stdout=output,
            stderr=output,
            text=True,
            env=environment,
        )
    for _ in range(300):
        found = re.search(r"listens on http://([^:]+):(\d+)", log.read_text())
        if found:
            return process, found[1], int(found[2])
        if process.poll() is not None:
            break
        time.sleep(0.1)
    sys.exit(f"ngshare did not start:\n{log.read_text()}")


def run_class(exchange: Exchange) -> list[tuple[str, str]]:
    """Run one assignment from release to feedback; return the lines of the summary."""
    course, name = "Physics 101", "ps1"
    students = [f"student{number:02}" for number in range(1, STUDENTS + 1)]
    task = {
        "problem.ipynb": b'{"cells": []}' * 2000,
        "data/measured.csv": b"time,height\n" * 5000,
    }
    work, timestamps = {}, {}
    compared = 0
    began = time.monotonic()

    exchange.request("POST", f"course/{course}", "admin", instructors='["ada"]')
    roster = [
        {"username": student, "first_name": "", "last_name": student, "email": ""}
        for student in students
    ]
    exchange.request("POST", f"students/{course}", "ada", students=json.dumps(roster))
    exchange.request("POST", f"assignment/{course}/{name}", "ada", files=encode(task))
    for done, student in enumerate(students, 1):
        compared += compare(exchange.request("GET", f"assignment/{course}/{name}", student), task)
        work[student] = {**task, "problem.ipynb": f'"by {student}"'.encode() * 2000}
        reply = exchange.request(
            "POST", f"submission/{course}/{name}", student, files=encode(work[student])
        )
        timestamps[student] = reply["timestamp"]
        show(done, STUDENTS, "fetch and submit")
    listed = exchange.request("GET", f"submissions/{course}/{name}", "ada")["submissions"]
    if {each["student_id"]: each["timestamp"] for each in listed} != timestamps:
        sys.exit("The list of submissions is not what was submitted.")
    for done, student in enumerate(students, 1):
        reply = exchange.request("GET", f"submission/{course}/{name}/{student}", "ada")
        compared += compare(reply, work[student])
        show(done, STUDENTS, "collect")
    for done, student in enumerate(students, 1):
        path = f"feedback/{course}/{name}/{student}"
        page = {"problem.html": f"<p>Well done, {student}</p>".encode()}
        exchange.request("POST", path, "ada", timestamp=timestamps[student], files=encode(page))
        reply = exchange.request("GET", path, student, timestamp=timestamps[student])
        compared += compare(reply, page)
        show(done, STUDENTS, "feedback")
    return [
        ("course", f"{course}, taught by ada"),
        ("released", f"{name}, {len(task)} files"),
        ("fetched", f"by {STUDENTS} students"),
        ("submitted", f"{len(listed)} submissions"),
        ("collected", f"{STUDENTS} submissions"),
        ("feedback", f"given to and fetched by {STUDENTS} students"),
        ("compared", f"{compared:,} bytes, all equal"),
        ("time", f"{time.monotonic() - began:.1f} s"),
    ]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="ngshare-demo-") as folder:
        process, host, port = start(Path(folder))
        try:
            print("ngshare runs on SQLite and a local folder. One class, over HTTP:")
            for what, happened in run_class(Exchange(host, port)):
                print(f"  {what:<10} {happened}")
            address = f"http://{host}:{port}/api/?user=ada"
            if sys.stdout.isatty():
                print(f"Open {address} to see it as ada does. Ctrl-C ends it.", flush=True)
                process.wait()
            else:
                print(f"On a terminal it would stay at {address} until Ctrl-C.")
        except KeyboardInterrupt:
            print()
        finally:
            process.terminate()
            process.wait(30)


if __name__ == "__main__":
    main()
