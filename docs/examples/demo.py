"""One class on an ngshare of its own, over HTTP: what ``make demo`` shows.

A course, a release, thirty students who fetch and submit, collection, feedback.
Every byte that comes back is compared with what was sent.
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
    """The service, spoken to as today's nbgrader plugin does."""

    def __init__(self, host: str, port: int) -> None:
        self.connection = http.client.HTTPConnection(host, port, timeout=30)

    def ask(self, method: str, path: str, user: str, **fields: str) -> dict:
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
    return json.dumps(
        [
            {"path": path, "content": base64.b64encode(content).decode()}
            for path, content in files.items()
        ]
    )


def same(reply: dict, files: dict[str, bytes]) -> int:
    """Compare a tree with what was sent; return how many bytes were compared."""
    received = {file["path"]: base64.b64decode(file["content"]) for file in reply["files"]}
    if received != files:
        sys.exit("Bytes came back that are not those that were sent.")
    return sum(len(content) for content in files.values())


def show(done: int, total: int, what: str) -> None:
    """A progress bar on a terminal, and nothing elsewhere."""
    if sys.stdout.isatty():
        filled = 30 * done // total
        end = "\n" if done == total else ""
        print(f"\r{what:<24} [{'#' * filled:<30}] {done}/{total}", end=end, flush=True)


def start(folder: Path) -> tuple[subprocess.Popen[str], str, int]:
    """Start the service on a free port; return its process and where it listens."""
    log = folder / "ngshare.log"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JUPYTERHUB_")}
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                *(
                    sys.executable,
                    "-m",
                    "ngshare",
                    "--vngshare",
                    "--port",
                    "0",
                    "--admins",
                    "admin",
                ),
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


def hold_class(exchange: Exchange) -> list[tuple[str, str]]:
    """Go through one assignment; return what happened, line by line."""
    course, name = "Physics 101", "ps1"
    students = [f"student{number:02}" for number in range(1, STUDENTS + 1)]
    task = {
        "problem.ipynb": b'{"cells": []}' * 2000,
        "data/measured.csv": b"time,height\n" * 5000,
    }
    work, moments = {}, {}
    compared = 0
    began = time.monotonic()

    exchange.ask("POST", f"course/{course}", "admin", instructors='["ada"]')
    roster = [
        {"username": student, "first_name": "", "last_name": student, "email": ""}
        for student in students
    ]
    exchange.ask("POST", f"students/{course}", "ada", students=json.dumps(roster))
    exchange.ask("POST", f"assignment/{course}/{name}", "ada", files=encode(task))
    for done, student in enumerate(students, 1):
        compared += same(exchange.ask("GET", f"assignment/{course}/{name}", student), task)
        work[student] = {**task, "problem.ipynb": f'"by {student}"'.encode() * 2000}
        reply = exchange.ask(
            "POST", f"submission/{course}/{name}", student, files=encode(work[student])
        )
        moments[student] = reply["timestamp"]
        show(done, STUDENTS, "fetch and submit")
    listed = exchange.ask("GET", f"submissions/{course}/{name}", "ada")["submissions"]
    if {one["student_id"]: one["timestamp"] for one in listed} != moments:
        sys.exit("The list of submissions is not what was submitted.")
    for done, student in enumerate(students, 1):
        reply = exchange.ask("GET", f"submission/{course}/{name}/{student}", "ada")
        compared += same(reply, work[student])
        show(done, STUDENTS, "collect")
    for done, student in enumerate(students, 1):
        path = f"feedback/{course}/{name}/{student}"
        page = {"problem.html": f"<p>Well done, {student}</p>".encode()}
        exchange.ask("POST", path, "ada", timestamp=moments[student], files=encode(page))
        reply = exchange.ask("GET", path, student, timestamp=moments[student])
        compared += same(reply, page)
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
            for what, happened in hold_class(Exchange(host, port)):
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
