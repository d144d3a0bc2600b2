"""The least that such a service must do, on Tornado alone: the measure of what is possible.

One process, one thread. A submission is parsed as Tornado parses forms, decoded, hashed,
written with one fsync and named in one durable commit. A download reads its files and
encodes them. A small GET replies with a little JSON and touches nothing. Nobody is
identified, nothing is allowed or refused, no history is kept.

    python -m benchmarks.bare PORT FOLDER
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import secrets
import sqlite3
import sys
from pathlib import Path
from typing import Any

from tornado.web import Application, RequestHandler

SCHEMA = """
CREATE TABLE IF NOT EXISTS submissions (
    id INTEGER PRIMARY KEY, assignment TEXT, student TEXT, time TEXT, name TEXT, files TEXT);
CREATE INDEX IF NOT EXISTS by_student ON submissions (assignment, student, id);
CREATE TABLE IF NOT EXISTS students (username TEXT PRIMARY KEY, person TEXT);
"""


class Bare:
    """What the handlers share."""

    def __init__(self, folder: Path) -> None:
        self.files = folder / "files"
        self.files.mkdir(parents=True, exist_ok=True)
        self.database = sqlite3.connect(folder / "bare.db", isolation_level=None)
        self.database.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; BEGIN;" + SCHEMA + "COMMIT;"
        )

    def keep(self, assignment: str, student: str, text: str) -> None:
        tree = []
        whole = []
        for file in json.loads(text):
            content = base64.b64decode(file["content"])
            md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
            tree.append((file["path"], len(content), md5, hashlib.sha256(content).hexdigest()))
            whole.append(content)
        name = secrets.token_hex(16)
        with open(self.files / name, "xb", buffering=0) as out:
            out.write(b"".join(whole))
            os.fsync(out.fileno())
        self.database.execute(
            "INSERT INTO submissions (assignment, student, time, name, files)"
            " VALUES (?, ?, datetime('now'), ?, ?)",
            (assignment, student, name, json.dumps(tree)),
        )

    def read(self, assignment: str, student: str) -> dict[str, Any]:
        name, files = self.database.execute(
            "SELECT name, files FROM submissions WHERE assignment = ? AND student = ?"
            " ORDER BY id DESC LIMIT 1",
            (assignment, student),
        ).fetchone()
        whole = (self.files / name).read_bytes()
        tree = []
        start = 0
        for path, size, md5, _ in json.loads(files):
            content = base64.b64encode(whole[start : start + size]).decode()
            tree.append({"path": path, "content": content, "checksum": md5})
            start += size
        return {"success": True, "files": tree}


class Small(RequestHandler):
    """Any of the GETs of ``nbgrader list``, and the questions about health."""

    def get(self) -> None:
        self.write({"success": True, "courses": ["physics101"]})


class Tree(RequestHandler):
    """Submit, release and give feedback; fetch and collect."""

    def initialize(self, bare: Bare) -> None:
        self.bare = bare

    def post(self, assignment: str, student: str) -> None:
        self.bare.keep(assignment, student, self.get_argument("files"))
        self.write({"success": True})

    def get(self, assignment: str, student: str) -> None:
        self.write(self.bare.read(assignment, student))


class Listing(RequestHandler):
    """Every submission to an assignment."""

    def initialize(self, bare: Bare) -> None:
        self.bare = bare

    def get(self, assignment: str) -> None:
        rows = self.bare.database.execute(
            "SELECT student, time FROM submissions WHERE assignment = ? ORDER BY id", (assignment,)
        )
        found = [{"student_id": student, "timestamp": time} for student, time in rows]
        self.write({"success": True, "submissions": found})


class Roster(RequestHandler):
    """Many students at once."""

    def initialize(self, bare: Bare) -> None:
        self.bare = bare

    def post(self) -> None:
        people = json.loads(self.get_argument("students"))
        self.bare.database.execute("BEGIN")
        self.bare.database.executemany(
            "INSERT OR REPLACE INTO students VALUES (?, ?)",
            [(person["username"], json.dumps(person)) for person in people],
        )
        self.bare.database.execute("COMMIT")
        self.write({"status": [{"username": each["username"], "success": True} for each in people]})


async def serve(port: int, folder: Path) -> None:
    """Serve until ended."""
    bare = {"bare": Bare(folder)}
    application = Application(
        [
            (r"/small|/healthz", Small),
            (r"/tree/([^/]+)/([^/]+)", Tree, bare),
            (r"/list/([^/]+)", Listing, bare),
            (r"/roster", Roster, bare),
        ]
    )
    application.listen(port, "127.0.0.1", max_buffer_size=2**30)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
